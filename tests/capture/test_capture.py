"""Reading captures: containers, link types, connections, and what stands beside them."""

import gzip
import io
import json
import logging
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.capture import CaptureError
from tcplab.capture.capture import read_capture
from tcplab.capture.pcap import pcap_bytes, write_pcap
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint
from tcplab.core.text import SECOND
from transcript import EXCHANGE, HANDSHAKE, trace

logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop  # noqa: E402
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1Q, Ether, Loopback  # noqa: E402
from scapy.utils import PcapNgWriter, RawPcapWriter  # noqa: E402

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
DEATH = (
    EXCHANGE
    + """
    7200    c A   40 201 lost
    7275    c A   40 201 lost
    7350    c RA  41 201 lost
"""
)
ETHERNET = 1


def pcap(path, *packets, link=ETHERNET, nano=False, endian="<", wire=None):
    """Write packets, each (seconds, packet) or a packet a second."""
    file = io.BytesIO()
    writer = RawPcapWriter(file, linktype=link or None, nano=nano, endianness=endian)
    writer.linktype = link
    writer.write_header(None)
    for number, each in enumerate(packets):
        t, packet = each if isinstance(each, tuple) else (number, each)
        fraction = round(t % 1 * (10**9 if nano else 10**6))
        writer.write_packet(bytes(packet), sec=int(t), usec=fraction, wirelen=wire)
    path.write_bytes(file.getvalue())
    return path


def ask(flags="S", seq=100, ack=0, payload=b"", port=40000, **tcp):
    return IP(src="10.0.0.1", dst="10.0.0.2") / TCP(
        sport=port, dport=5432, flags=flags, seq=seq, ack=ack, **tcp
    ) / payload  # fmt: skip


def answer(flags="SA", seq=500, ack=101, payload=b"", port=40000, **tcp):
    return IP(src="10.0.0.2", dst="10.0.0.1") / TCP(
        sport=5432, dport=port, flags=flags, seq=seq, ack=ack, **tcp
    ) / payload  # fmt: skip


# --- what is written is read back ---


@pytest.mark.parametrize("timestamps", [False, True])
def test_what_was_written_is_read_back(tmp_path, timestamps):
    told = trace(DEATH, offset=(2**32 - 20, 2**32 - 100), timestamps=timestamps)
    write_pcap(told, tmp_path / "death.pcap")
    capture = read_capture(tmp_path / "death.pcap")
    (ends,) = capture.connections
    assert ends == (Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432))
    again = capture.connection(0)
    assert (again.experiment, again.bench, again.hosts) == ("death.pcap", "capture", told.hosts)
    assert [p.kind for p in again.packets][-3:] == ["keepalive", "keepalive", ""]
    assert sorted(again.relative()) == sorted(told.relative())
    for back, packet in zip(again.packets, sorted(told.packets, key=seen_by_client), strict=True):
        assert back.t == back.arrives == seen_by_client(packet)
        window = packet.segment.window
        if not packet.segment.flags & SYN:
            window = window >> 7 << 7
        assert back.segment == replace(packet.segment, window=window)
    assert len(capture) == len(told.packets) and capture.warnings == () and again.warnings == []


def seen_by_client(packet):
    return packet.t if packet.sender == "client" else packet.arrives


def test_importing_the_capture_package_does_not_import_scapy():
    import subprocess
    import sys

    code = "import sys, tcplab.capture.pcap, tcplab.capture.capture; print('scapy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# --- containers ---


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_either_byte_order_and_resolution(tmp_path, nano, endian):
    file = pcap(tmp_path / "x.pcap", (7.25, ask()), (7.5, answer()), link=101, nano=nano, endian=endian)
    capture = read_capture(file)
    assert [packet.t for packet in capture.packets] == [0, SECOND // 4]
    assert (capture.began, capture.ended) == (7_250_000_000, 7_500_000_000)


def test_pcapng(tmp_path):
    file = tmp_path / "x.pcapng"
    with PcapNgWriter(str(file)) as writer:
        for t, packet in ((1.5, Ether() / ask()), (2.75, Ether() / answer())):
            packet.time = t
            writer.write(packet)
    capture = read_capture(file)
    assert [packet.t for packet in capture.packets] == [0, 1_250_000_000]
    assert [packet.segment.letters for packet in capture.packets] == ["S", "SA"]


def test_gzip(tmp_path):
    plain = pcap(tmp_path / "x.pcap", Ether() / ask(), Ether() / answer())
    packed = tmp_path / "x.pcap.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert len(read_capture(packed)) == 2


def test_a_path_may_be_a_text(tmp_path):
    assert len(read_capture(str(pcap(tmp_path / "x.pcap", Ether() / ask())))) == 1


# --- link types and network layers ---


@pytest.mark.parametrize(
    ("link", "wrap"),
    [
        (1, lambda p: Ether() / p),
        (1, lambda p: Ether() / Dot1Q(vlan=7) / p),
        (101, lambda p: p),
        (12, lambda p: p),
        (228, lambda p: p),
        (113, lambda p: CookedLinux(proto=0x800) / p),
        (276, lambda p: CookedLinuxV2(proto=0x800) / p),
        (0, lambda p: Loopback(type=2) / p),
    ],
    ids=["ethernet", "vlan", "raw", "raw-12", "ipv4", "cooked", "cooked-2", "loopback"],
)
def test_link_types(tmp_path, link, wrap):
    file = pcap(tmp_path / "x.pcap", wrap(ask(flags="PA", payload=b"select 1")), link=link)
    (packet,) = read_capture(file).packets
    assert packet.segment.source == ("10.0.0.1", 40000)
    assert (packet.segment.flags, packet.segment.length) == (PSH | ACK, 8)


def test_bits_beside_the_link_type_are_not_part_of_it(tmp_path):
    file = pcap(tmp_path / "x.pcap", Ether() / ask())
    content = bytearray(file.read_bytes())
    content[23] = 0x14  # frame check sequence of four bytes, as Wireshark marks it
    file.write_bytes(content)
    assert len(read_capture(file)) == 1


@pytest.mark.parametrize("extension", [False, True])
def test_ipv6(tmp_path, extension):
    network = IPv6(src="fd00::1", dst="fd00::2")
    if extension:
        network /= IPv6ExtHdrHopByHop()
    file = pcap(tmp_path / "x.pcap", Ether() / network / TCP(sport=40000, dport=5432, flags="PA") / b"12345")
    (packet,) = read_capture(file).packets
    assert packet.segment.source == Endpoint("fd00::1", 40000)
    assert packet.segment.length == 5


def test_what_is_no_tcp_is_left_out_and_frames_keep_their_numbers(tmp_path):
    quoted = IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=13) / ask()
    file = pcap(
        tmp_path / "x.pcap",
        Ether() / ARP(),
        Ether() / ask(),
        Ether() / IP() / UDP() / b"dns",
        Ether() / quoted,
        Ether() / answer("RA", seq=0),
        Ether() / b"garbage of some other protocol",
    )
    capture = read_capture(file)
    assert capture.frames(0) == [2, 5] and len(capture) == 2
    assert capture.ended - capture.began == 5 * SECOND
    assert capture.connection(0).end == 5 * SECOND


def test_length_is_what_the_header_says(tmp_path):
    """Ethernet pads short frames, a snap length cuts long ones, and a card may cut segments itself."""
    padded = bytes(Ether() / ask("A", payload=b"x")) + b"\0" * 20
    cut = bytes(Ether() / ask("PA", payload=b"y" * 1000))[:60]
    offloaded = bytearray(bytes(Ether() / ask("PA", payload=b"z" * 3000)))
    offloaded[16:18] = b"\0\0"
    file = pcap(tmp_path / "x.pcap", padded, cut, bytes(offloaded))
    assert [packet.segment.length for packet in read_capture(file).packets] == [1, 1000, 3000]


@pytest.mark.parametrize("size", range(14, 54))
def test_a_packet_that_was_cut_inside_its_headers_is_left_out(tmp_path, size):
    whole = bytes(Ether() / ask("PA", payload=b"y" * 100))
    file = pcap(tmp_path / "x.pcap", whole[:size], whole)
    assert [packet.frame for packet in read_capture(file).packets] == [2]


def test_options(tmp_path):
    told = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (77, 0)), ("NOP", None), ("WScale", 15)]
    blocks = [("NOP", None), ("NOP", None), ("SAck", (10, 20, 30, 40))]
    file = pcap(tmp_path / "x.pcap", ask(options=told), ask("A", options=blocks), link=101)
    syn, ack = (packet.segment for packet in read_capture(file).packets)
    assert (syn.mss, syn.sack_permitted, syn.timestamps) == (1400, True, (77, 0))
    assert syn.window_scale == 14  # RFC 7323 section 2.3: more counts as 14
    assert ack.sack == ((10, 20), (30, 40)) and ack.timestamps is None


def test_broken_options_do_no_harm(tmp_path):
    syn = bytearray(bytes(ask(options=[("MSS", 1400), ("NOP", None), ("WScale", 7)])))
    for length in range(8):
        syn[41] = length
        (packet,) = read_capture(pcap(tmp_path / "x.pcap", bytes(syn), link=101)).packets
        assert packet.segment.flags == SYN


# --- connections ---


def test_connections_are_incarnations_of_a_four_tuple(tmp_path):
    file = pcap(
        tmp_path / "x.pcap",
        ask("S", 100), answer("SA", 500, 101), ask("A", 101, 501),
        ask("S", 9, port=40001),
        ask("FA", 101, 501), answer("FA", 501, 102), ask("A", 102, 502),
        ask("S", 70000), answer("SA", 900, 70001),
        answer("RA", 0, 10, port=40001),
        link=101,
    )  # fmt: skip
    capture = read_capture(file)
    assert [capture.frames(i) for i in range(3)] == [[1, 2, 3, 5, 6, 7], [4, 10], [8, 9]]
    assert [client.port for client, _ in capture.connections] == [40000, 40001, 40000]
    assert [server for _, server in capture.connections] == [("10.0.0.2", 5432)] * 3
    columns = capture.columns
    assert columns["connection"].tolist() == [0, 0, 0, 1, 0, 0, 0, 2, 2, 1]
    assert columns["frame"].tolist() == list(range(1, 11)) and columns["flags"][0] == SYN
    assert {len(column) for column in columns.values()} == {len(capture)}


def test_time_decides_about_the_order_not_the_file(tmp_path):
    file = pcap(tmp_path / "x.pcap", (2, answer()), (1.001, ask()), link=101)
    capture = read_capture(file)
    assert capture.frames(0) == [2, 1]
    assert capture.connections == [(Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432))]


@pytest.mark.parametrize(
    ("sport", "dport", "flags", "client"),
    [
        (5432, 40000, "S", 5432),  # who sends the SYN asks, whatever the ports
        (5432, 40000, "SA", 40000),
        (5432, 40000, "PA", 40000),
        (40000, 3306, "PA", 40000),
        (443, 33000, "A", 33000),
        (6379, 22, "A", 6379),  # both known: the lower port serves
        (40000, 41000, "A", 41000),
    ],
)
def test_who_is_the_client(tmp_path, sport, dport, flags, client):
    packet = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=sport, dport=dport, flags=flags, ack=1)
    capture = read_capture(pcap(tmp_path / "x.pcap", packet, link=101))
    ((asking, serving),) = capture.connections
    assert {asking.port, serving.port} == {sport, dport} and asking.port == client
    assert capture.connection(0).hosts == {"client": asking.address, "server": serving.address}


def test_windows_are_scaled_when_both_syns_were_seen(tmp_path):
    scale = [("WScale", 7)]
    file = pcap(
        tmp_path / "x.pcap",
        ask("S", 100, window=1000, options=scale),
        answer("SA", 500, 101, window=2000, options=[("WScale", 3)]),
        ask("A", 101, 501, window=10),
        answer("A", 501, 101, window=10),
        link=101,
    )
    capture = read_capture(file)
    told = capture.connection(0)
    assert [packet.segment.window for packet in told.packets] == [1000, 2000, 1280, 80]
    assert told.warnings == []
    assert [packet.segment.window for packet in capture.packets] == [1000, 2000, 10, 10]


def test_one_side_without_the_option_means_no_scale_for_either(tmp_path):
    file = pcap(
        tmp_path / "x.pcap",
        ask("S", 100, window=1000, options=[("WScale", 7)]),
        answer("SA", 500, 101, window=2000),
        ask("A", 101, 501, window=10),
        link=101,
    )
    told = read_capture(file).connection(0)
    assert [packet.segment.window for packet in told.packets] == [1000, 2000, 10]
    assert told.warnings == []


@pytest.mark.parametrize(
    "first", [[], [ask("S", 100, options=[("WScale", 7)])], [answer("SA", 500, 101, options=[("WScale", 7)])]]
)
def test_without_both_syns_the_window_stands_as_it_is_and_a_warning_says_so(tmp_path, first):
    file = pcap(tmp_path / "x.pcap", *first, ask("A", 101, 501, window=10), link=101)
    told = read_capture(file).connection(0)
    assert told.packets[-1].segment.window == 10
    (warning,) = told.warnings
    assert "both SYNs" in warning and warning.endswith(".")


def test_no_warning_about_windows_that_nobody_shows(tmp_path):
    syn, reset = ask("S", options=[("WScale", 7)]), answer("RA", 0, window=0)
    refused = pcap(tmp_path / "x.pcap", syn, reset, link=101)
    assert read_capture(refused).connection(0).warnings == []


@pytest.mark.parametrize("i", [-1, 1, 7])
def test_a_connection_that_is_not_there_is_named(tmp_path, i):
    capture = read_capture(pcap(tmp_path / "x.pcap", ask(), link=101))
    with pytest.raises(CaptureError, match=rf"x\.pcap has no connection {i}: it has number 0\."):
        capture.connection(i)


LONG = Path(__file__).resolve().parents[2] / "data" / "captures" / "lesson_client_write.pcap"


@given(st.integers(1, 40))
def test_the_beginning_alone_is_that_of_the_whole(first):
    capture = read_capture(LONG)
    whole, beginning = capture.connection(0), capture.connection(0, first=first)
    assert beginning.packets == whole.packets[:first] and beginning.warnings == whole.warnings
    if first < len(whole.packets):
        cut = whole.packets[first].t
        assert beginning.end == whole.packets[first - 1].t
        assert beginning.calls == [call for call in whole.calls if call.t < cut]
        assert beginning.notes[-1].text == f"{len(whole.packets) - first} more segments follow"
    else:
        assert beginning == whole


@given(st.integers(1, 40))
def test_the_end_alone_is_that_of_the_whole_and_says_so(last):
    capture = read_capture(LONG)
    whole, end = capture.connection(0), capture.connection(0, last=last)
    assert [(p.t, p.segment) for p in end.packets] == [(p.t, p.segment) for p in whole.packets[-last:]]
    assert (end.end, end.hosts) == (whole.end, whole.hosts)
    said = [f"Only the last {last} of {len(whole.packets)} segments are looked at."]
    assert end.warnings == whole.warnings + (said if last < len(whole.packets) else [])


@pytest.mark.parametrize("part", [{"first": 0}, {"last": -3}, {"first": 3, "last": 3}])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(CaptureError, match=f"^{next(iter(part))} "):
        read_capture(LONG).connection(0, **part)


def test_a_capture_without_tcp_is_no_error(tmp_path):
    capture = read_capture(pcap(tmp_path / "x.pcap", Ether() / ARP()))
    assert len(capture) == 0 and capture.connections == []
    with pytest.raises(CaptureError, match="no TCP at all"):
        capture.connection(0)


def test_a_capture_without_packets_is_no_error(tmp_path):
    assert len(read_capture(pcap(tmp_path / "x.pcap"))) == 0


# --- files that can't be read ---


def test_a_missing_file(tmp_path):
    with pytest.raises(CaptureError, match=r"nothing\.pcap does not exist\."):
        read_capture(tmp_path / "nothing.pcap")


def test_a_folder(tmp_path):
    with pytest.raises(CaptureError, match="can't be read: Is a directory"):
        read_capture(tmp_path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\xd4", "neither pcap nor pcapng"),
        (b"PK\x03\x04 a zip file", "neither pcap nor pcapng"),
        (b"\x1f\x8b not really gzip", "can't be uncompressed"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", r"x\.pcap is cut short after packet 0"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00", r"x\.pcap is cut short after packet 0"),
        (struct.pack("<4sII", b"\x0a\x0d\x0d\x0a", 12, 12), "not a readable capture file"),
    ],
)
def test_a_file_that_is_no_capture(tmp_path, content, why):
    file = tmp_path / "x.pcap"
    file.write_bytes(content)
    with pytest.raises(CaptureError, match=why) as said:
        read_capture(file)
    assert str(said.value).startswith("x.pcap") and "\n" not in str(said.value)


@pytest.mark.parametrize("cut", [1, 10, 70, 80])
@pytest.mark.parametrize("ending", ["pcap", "pcapng"])
def test_a_file_that_is_cut_short(tmp_path, ending, cut):
    file = tmp_path / f"x.{ending}"
    if ending == "pcap":
        pcap(file, Ether() / ask(payload=b"1" * 20), Ether() / answer(payload=b"1" * 20))
    else:
        with PcapNgWriter(str(file)) as writer:
            writer.write([Ether() / ask(payload=b"1" * 20), Ether() / answer(payload=b"1" * 20)])
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(CaptureError, match=rf"x\.{ending} is cut short after packet 1\. .*cut_short_ok=True"):
        read_capture(file, cut_short_ok=False)
    capture = read_capture(file)
    assert len(capture) == 1
    assert capture.connection(0).warnings[0] == f"x.{ending} is cut short after packet 1."


def test_a_link_type_that_cannot_be_read(tmp_path):
    with pytest.raises(CaptureError, match="link of type 105, which tcplab can't read"):
        read_capture(pcap(tmp_path / "x.pcap", b"wireless", link=105))


@given(st.data())
def test_damage_anywhere_is_one_sentence_or_a_capture(tmp_path_factory, data):
    content = bytearray(pcap_bytes(trace(HANDSHAKE)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged.pcap"
    file.write_bytes(content)
    try:
        capture = read_capture(file, cut_short_ok=True)
    except CaptureError as error:
        assert "damaged.pcap" in str(error) and "\n" not in str(error)
    else:
        for i in range(len(capture.connections)):
            assert len(capture.connection(i).relative()) == len(capture.frames(i))


# --- the captures of a real PostgreSQL, and what stands beside a capture ---


def flags_of(name):
    return [packet.segment.flags & (SYN | FIN | RST) for packet in told(name).packets]


def told(name):
    return read_capture(CAPTURES / f"{name}.pcap").connection(0)


def test_a_terminated_session_of_postgresql():
    trace = told("postgres_terminate_backend")
    assert trace.linux.startswith("6.") and trace.hosts == {"client": "10.0.0.1", "server": "10.0.0.2"}
    assert flags_of("postgres_terminate_backend").count(FIN) == 1
    assert trace.packets[-1].segment.flags & RST and trace.packets[-1].sender == "server"
    assert any("terminating connection" in call.result for call in trace.calls if call.host == "client")
    states = [(sample.host, sample.state) for sample in trace.sockets]
    assert ("client", "CLOSE_WAIT") in states and ("client", "ESTABLISHED") in states
    assert trace.warnings == [] and trace.calls == sorted(trace.calls, key=lambda call: call.t)


def test_a_closed_port():
    assert flags_of("postgres_closed_port") == [SYN, RST]
    (call,) = told("postgres_closed_port").calls
    assert "Connection refused" in call.result and call.host == "client"


def test_every_stored_capture_can_be_read_with_its_sidecar():
    for file in CAPTURES.glob("*.pcap"):
        capture = read_capture(file)
        assert capture.sidecar.title and capture.sidecar.story and not capture.warnings
        connections = [capture.connection(i) for i in range(len(capture.connections))]
        assert connections and sum(len(each.packets) for each in connections) == len(capture)


def sidecar(path, **told):
    hosts = {"client": "10.0.0.1", "server": "10.0.0.2"}
    events = [{"t": 0.5, "host": "client", "call": "connect()", "result": "ok"}]
    states = [{"t": 0.5, "host": "server", "state": "SYN-RECV"}]
    content = {"title": "A title", "hosts": hosts, "linux": "6.1", "events": events, "states": states}
    path.with_suffix(".json").write_text(json.dumps({**content, **told}))


def test_the_sidecar_is_merged(tmp_path):
    file = pcap(tmp_path / "x.pcap", ask(), answer(), link=101)
    sidecar(file)
    capture = read_capture(file)
    trace = capture.connection(0)
    assert (capture.sidecar.title, trace.linux) == ("A title", "6.1")
    (call,) = trace.calls
    assert (call.t, call.began, call.host, call.call, call.result) == (
        SECOND // 2, SECOND // 2, "client", "connect()", "ok",
    )  # fmt: skip
    (sample,) = trace.sockets
    assert (sample.host, sample.state, sample.local.port, sample.remote.port) == (
        "server", "SYN_RECV", 5432, 40000,
    )  # fmt: skip


def test_the_sidecar_of_other_hosts_says_nothing_about_this_connection(tmp_path):
    file = pcap(tmp_path / "x.pcap", ask(), link=101)
    sidecar(file, hosts={"client": "10.0.0.7", "server": "10.0.0.2"})
    trace = read_capture(file).connection(0)
    assert trace.calls == [] and trace.sockets == [] and trace.warnings == []


def test_with_several_connections_nobody_knows_whose_calls_they_are(tmp_path):
    file = pcap(tmp_path / "x.pcap", ask(), ask(port=40001), link=101)
    sidecar(file)
    trace = read_capture(file).connection(1)
    assert trace.calls == [] and "2 connections" in trace.warnings[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "can't be read as JSON"),
        ('{"title": "x", "hosts": {}, "events": [{"host": "client", "call": ""}]}', "'t' is missing"),
        ('{"title": "x", "hosts": {}, "states": [{"t": 1, "host": "router", "state": "ESTAB"}]}', "'router'"),
        ('{"title": "x", "hosts": 7}', "is left out"),
        ('{"title": "x", "hosts": {}, "events": [{"t": "soon"}]}', "is left out"),
    ],
)
def test_a_sidecar_that_is_wrong_is_left_out_and_named(tmp_path, content, says):
    file = pcap(tmp_path / "x.pcap", ask(), link=101)
    file.with_suffix(".json").write_text(content)
    (warning,) = read_capture(file).warnings
    assert warning.startswith("x.json") and says in warning


@pytest.mark.parametrize("content", ["[]", "{}", '{"name": "some package"}', "3"])
def test_a_json_file_about_something_else_is_left_alone(tmp_path, content):
    file = pcap(tmp_path / "x.pcap", ask(), link=101)
    file.with_suffix(".json").write_text(content)
    assert read_capture(file).warnings == ()
