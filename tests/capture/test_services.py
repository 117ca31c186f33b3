"""Which database is spoken to: real first bytes on odd ports, and bytes from the protocols' texts."""

import struct
from pathlib import Path

import pytest

from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.findings.story import services, spoken
from tcplab.capture.pcap import scapy

STORED = Path(__file__).parents[2] / "data" / "captures"
#: Nobody's port.
ODD = 24680
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", ODD)


def write(path, *segments):
    """(from the client, flags, seq, ack, payload) each."""
    names = scapy()
    writer = names.RawPcapWriter(str(path), linktype=1)
    writer.write_header(None)
    for t, (mine, flags, seq, ack, payload) in enumerate(segments):
        (src, sport), (dst, dport) = (CLIENT, SERVER) if mine else (SERVER, CLIENT)
        tcp = names.TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack)
        writer.write_packet(bytes(names.Ether() / names.IP(src=src, dst=dst) / tcp / payload), sec=t, usec=0)
    writer.close()
    return read_capture(path)


def conversation(path, client, server, *, begun=False):
    """A handshake, then what each side says first; without the handshake when it had begun before."""
    handshake = (True, "S", 99, 0, b""), (False, "SA", 499, 100, b""), (True, "A", 100, 500, b"")
    said = (False, "PA", 500, 100, server), (True, "PA", 100, 500 + len(server), client)
    return write(path, *(() if begun else handshake), *(each for each in said if each[4]))


def on_an_odd_port(name, path):
    """A recording of a real database, its server's port replaced."""
    capture = read_capture(STORED / f"{name}.pcap")
    (_, server), content = capture.connections[0], (STORED / f"{name}.pcap").read_bytes()
    at = 24
    changed = bytearray(content)
    while at < len(content):
        size = int.from_bytes(content[at + 8 : at + 12], "little")
        ports = at + 16 + 14 + 20
        for place in (ports, ports + 2):
            if content[place : place + 2] == server.port.to_bytes(2):
                changed[place : place + 2] = ODD.to_bytes(2)
        at += 16 + size
    path.write_bytes(changed)
    return read_capture(path)


RECORDED = {
    "postgres_terminate_backend": "PostgreSQL", "postgres_kill9_unread": "PostgreSQL", "redis_kill9": "Redis",
    "redis_offline": "Redis", "mariadb_kill": "MariaDB", "mariadb_quit": "MariaDB",
    "proxy_pgbouncer_front": "PostgreSQL",
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_a_real_database_on_a_port_that_says_nothing(name, tmp_path):
    capture = on_an_odd_port(name, tmp_path / "odd.pcap")
    assert capture.connections[0][1].port == ODD
    assert services(capture)[0] == RECORDED[name]
    assert diagnose(capture).connections[0].service == RECORDED[name]


def test_without_payload_the_port_tells():
    assert diagnose(read_capture(STORED / "postgres_closed_port.pcap")).connections[0].service == "PostgreSQL"


#: The example of MS-TDS 4.1.
PRELOGIN = bytes.fromhex(
    "12 01 00 2F 00 00 01 00 00 00 1A 00 06 01 00 20 00 01 02 00 21 00 01 03 00 22 00 04 04 00 26 00 01 FF "
    "09 00 00 00 00 00 01 00 B8 0D 00 00 01"
)
CONNECT = struct.pack(">HHBBHHHHH", 74, 0, 1, 0, 0, 319, 300, 0, 8192) + bytes(56)
TLS = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(range(40))
MYSQL = b"\x4a\0\0\0\x0a8.0.36\0" + bytes(60)

SAID = {
    "PostgreSQL asks for TLS": (struct.pack(">II", 8, 80877103), b"", "PostgreSQL"),
    "PostgreSQL asks for GSSAPI": (struct.pack(">II", 8, 80877104), b"", "PostgreSQL"),
    "PostgreSQL cancels": (struct.pack(">IIII", 16, 80877102, 4711, 1), b"", "PostgreSQL"),
    "PostgreSQL 18, protocol 3.2": (struct.pack(">IHH", 90, 3, 2) + b"user\0me\0", b"", "PostgreSQL"),
    "PostgreSQL tries a version to come": (
        struct.pack(">IHH", 90, 3, 9999) + b"user\0me\0",
        b"",
        "PostgreSQL",
    ),
    "MySQL": (b"", MYSQL, "MySQL"),
    "MySQL is full": (b"", b"\x17\0\0\0\xff\x10\x04Too many connections", "MySQL"),
    "MariaDB 11": (b"", b"\x60\0\0\0\x0a11.4.2-MariaDB-log\0" + bytes(60), "MariaDB"),
    "Redis": (b"*1\r\n$4\r\nPING\r\n", b"", "Redis"),
    "Oracle": (CONNECT, b"", "Oracle"),
    "SQL Server": (PRELOGIN, b"", "SQL Server"),
    "MongoDB": (struct.pack("<iiii", 300, 1, 0, 2013) + bytes(40), b"", "MongoDB"),
    "MongoDB, an old driver": (struct.pack("<iiii", 300, 846930886, 0, 2004) + bytes(40), b"", "MongoDB"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", None),
    "TLS": (TLS, TLS, None),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", None),
    "zeros": (bytes(64), bytes(64), None),
    "text": (b"tcplab writes filler text where a database", b"tcplab writes filler text", None),
}


@pytest.mark.parametrize("case", SAID)
def test_what_the_first_bytes_say(case, tmp_path):
    client, server, name = SAID[case]
    assert spoken(client, server) == name
    capture = conversation(tmp_path / "x.pcap", client, server)
    assert services(capture) == [name]


def test_only_first_bytes_count(tmp_path):
    client, _, name = SAID["Redis"]
    assert services(conversation(tmp_path / "x.pcap", client, b"")) == [name]
    assert services(conversation(tmp_path / "x.pcap", client, b"", begun=True)) == [None]
    # Behind a byte that is missing in the capture nothing is the beginning any more.
    handshake = (True, "S", 99, 0, b""), (False, "SA", 499, 100, b""), (True, "A", 100, 500, b"")
    assert services(write(tmp_path / "x.pcap", *handshake, (True, "PA", 101, 500, client))) == [None]


@pytest.mark.parametrize(
    ("port", "case", "name"),
    [(5432, "MySQL", "MySQL"), (6432, "PostgreSQL cancels", "PgBouncer"), (3306, "TLS", "MySQL"),
     (3306, "MariaDB 11", "MariaDB"), (6379, "HTTP", "Redis"),
     (26257, "PostgreSQL asks for TLS", "CockroachDB")],
)  # fmt: skip
def test_bytes_against_the_port(port, case, name, tmp_path, monkeypatch):
    """What is known of the protocol beats the port; a product that speaks it keeps its name."""
    monkeypatch.setitem(globals(), "SERVER", (SERVER[0], port))
    assert services(conversation(tmp_path / "x.pcap", *SAID[case][:2])) == [name]


def test_each_flow_has_its_own(tmp_path, monkeypatch):
    """Several servers in one file, read in pieces of whatever size."""
    content = b""
    for i, case in enumerate(SAID):
        monkeypatch.setitem(globals(), "CLIENT", (CLIENT[0], 41000 + i))
        conversation(tmp_path / "x.pcap", *SAID[case][:2])
        content += (tmp_path / "x.pcap").read_bytes()[24 if content else 0 :]
    monkeypatch.setattr("tcplab.capture.file.CHUNK", 1000)
    (tmp_path / "x.pcap").write_bytes(content)
    capture = read_capture(tmp_path / "x.pcap")
    names = {
        client.port - 41000: name
        for (client, _), name in zip(capture.connections, services(capture), strict=True)
    }
    assert [names[i] for i in range(len(SAID))] == [name for _, _, name in SAID.values()]
