"""ICMP errors about a connection: evidence, and no packets."""

import pytest

from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.shared import HOST, MOST_ERRORS, NETWORK, PORT, PROHIBITED, TOO_BIG, V4, V6
from tcplab.core.segment import Endpoint

CLIENT, SERVER, ROUTER = ("10.0.0.1", 40000), ("10.9.0.2", 5432), "10.0.0.254"
CLIENT6, SERVER6, ROUTER6 = ("fd00::1", 40000), ("fd09::2", 5432), "fd00::fe"


def ip(source, destination):
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    return (IPv6 if ":" in source else IP)(src=source, dst=destination)


def segment(mine, flags, seq, ack=0, payload=b"", ends=(CLIENT, SERVER)):
    from scapy.layers.inet import TCP

    (src, sport), (dst, dport) = ends if mine else ends[::-1]
    return ip(src, dst) / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack) / payload


def error(quoted, kind, code, *, mtu=0, keep=28, sender=ROUTER):
    """What `sender` says of a segment: its IP header and a few bytes more."""
    from scapy.layers.inet import ICMP
    from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig

    whole = bytes(quoted)[:keep]
    if ":" not in sender:
        return ip(sender, quoted.src) / ICMP(type=kind, code=code, nexthopmtu=mtu) / whole
    if kind == 2:
        return ip(sender, quoted.src) / ICMPv6PacketTooBig(mtu=mtu) / whole
    return ip(sender, quoted.src) / ICMPv6DestUnreach(code=code) / whole


def capture_of(path, *packets, vlan=False):
    """(second, packet) each."""
    from scapy.layers.l2 import Dot1Q, Ether
    from scapy.utils import RawPcapWriter

    writer = RawPcapWriter(str(path), linktype=1)
    writer.write_header(None)
    for t, packet in packets:
        link = Ether() / Dot1Q(vlan=7) if vlan else Ether()
        writer.write_packet(bytes(link / packet), sec=int(t), usec=round(t % 1 * 1e6))
    writer.close()
    return read_capture(path)


SYN = segment(True, "S", 99)
HANDSHAKE = (0, SYN), (0.1, segment(False, "SA", 499, 100)), (0.2, segment(True, "A", 100, 500))


def only(capture, code):
    (connection,) = diagnose(capture).connections
    (finding,) = (each for each in connection.findings if each.code == code)
    return connection, finding


@pytest.mark.parametrize("vlan", [False, True])
@pytest.mark.parametrize(
    ("code", "says", "finding"),
    [(0, NETWORK, "unanswered_syn"), (1, HOST, "unanswered_syn"), (3, PORT, "refused"),
     (9, PROHIBITED, "refused"), (10, PROHIBITED, "refused"), (13, PROHIBITED, "refused")],
)  # fmt: skip
def test_a_connect_that_icmp_ends(code, says, finding, vlan, tmp_path):
    """Linux gives connect() up at once: no retransmission follows."""
    capture = capture_of(tmp_path / "x.pcap", (0, SYN), (0.05, error(SYN, 3, code)), vlan=vlan)
    connection, found = only(capture, finding)
    assert len(capture) == 1 and len(connection.findings) == 1
    assert connection.state == {"refused": "refused", "unanswered_syn": "unanswered"}[finding]
    assert (found.facts["icmp"], found.facts["icmp_from"], found.facts["icmp_frames"]) == (says, ROUTER, [2])
    assert found.frames == (1,) and ROUTER in found.says and says in found.says


def test_an_answer_of_the_server_counts_for_more(tmp_path):
    reset = segment(False, "RA", 0, 100)
    capture = capture_of(tmp_path / "x.pcap", (0, SYN), (0.1, error(SYN, 3, 1)), (0.2, reset))
    _, found = only(capture, "refused")
    assert found.frames == (1, 3) and found.facts["icmp"] == HOST
    capture = capture_of(tmp_path / "x.pcap", *HANDSHAKE, (0.3, error(SYN, 3, 3)))
    assert not diagnose(capture).connections[0].findings


def test_one_syn_without_any_answer_says_nothing_yet(tmp_path):
    capture = capture_of(
        tmp_path / "x.pcap",
        (0, SYN),
        (9, error(segment(True, "S", 99, ends=(("10.0.0.7", 1), SERVER)), 3, 1)),
    )
    assert not diagnose(capture).connections[0].findings


def dying(tmp_path, *errors):
    query = segment(True, "PA", 100, 500, b"x" * 1400)
    again = [(t, query) for t in (1, 1.2, 1.6, 2.4, 4.0)]
    return capture_of(
        tmp_path / "x.pcap",
        *sorted([*HANDSHAKE, *again, *((t, error(query, *e)) for t, *e in errors)], key=lambda each: each[0]),
    )


def test_a_dead_peer_whose_router_says_so(tmp_path):
    _, found = only(dying(tmp_path, (1.9, 3, 1), (3.9, 3, 1)), "dead_peer")
    assert found.facts["icmp"] == HOST and found.facts["icmp_frames"] == [7, 9]
    assert f"{ROUTER} said twice by ICMP: host unreachable" in found.says
    assert "icmp" not in only(dying(tmp_path), "dead_peer")[1].facts


def test_packets_that_do_not_fit(tmp_path):
    query = segment(True, "PA", 100, 500, b"x" * 1400)
    told = (1.1, error(query, 3, 4, mtu=1280))
    lost = capture_of(
        tmp_path / "x.pcap", *HANDSHAKE, (1, query), told, (1.3, query), (1.9, query), (3.1, query)
    )
    _, found = only(lost, "dead_peer")
    assert (found.facts["icmp"], found.facts["mtu"]) == (TOO_BIG, 1280) and "1,280 bytes" in found.says
    smaller = segment(True, "A", 100, 500, b"x" * 700), segment(True, "PA", 800, 500, b"x" * 700)
    heard = capture_of(
        tmp_path / "x.pcap", *HANDSHAKE, (1, query), told, *((1.2, each) for each in smaller),
        (1.3, segment(False, "A", 500, 1500)),
    )  # fmt: skip
    _, found = only(heard, "retransmission")
    assert found.facts["mtu"] == 1280


def test_version_6(tmp_path):
    ends = CLIENT6, SERVER6
    syn = segment(True, "S", 99, ends=ends)
    for kind, code, finding, says in ((1, 4, "refused", PORT), (1, 3, "unanswered_syn", HOST)):
        told = error(syn, kind, code, keep=48, sender=ROUTER6)
        capture = capture_of(tmp_path / "x.pcap", (0, syn), (0.1, told))
        _, found = only(capture, finding)
        assert (found.facts["icmp"], found.facts["icmp_from"]) == (says, ROUTER6)
    big = error(syn, 2, 0, mtu=1280, keep=60, sender=ROUTER6)
    (quote,) = capture_of(tmp_path / "x.pcap", (0, syn), (0.1, big)).table.quotes
    assert (quote.says, quote.mtu, quote.source, quote.seq) == (TOO_BIG, 1280, Endpoint(*CLIENT6), 99)


def test_the_connection_that_was_meant(tmp_path):
    """Two connections on one four-tuple: an error belongs to the one that had begun."""
    close = (
        (1, segment(True, "FA", 100, 500)), (1.1, segment(False, "FA", 500, 101)),
        (1.2, segment(True, "A", 101, 501)),
    )  # fmt: skip
    second = segment(True, "S", 70_000)
    packets = *HANDSHAKE, *close, (70, second), (70.1, error(second, 3, 13))
    first, last = diagnose(capture_of(tmp_path / "x.pcap", *packets)).connections
    assert "refused" not in {each.code for each in first.findings}
    assert "refused" in {each.code for each in last.findings}


@pytest.mark.parametrize("keep", range(28))
def test_half_a_quotation_is_none(keep, tmp_path):
    capture = capture_of(tmp_path / "x.pcap", (0, SYN), (0.1, error(SYN, 3, 1, keep=keep)))
    assert not capture.table.quotes and len(capture) == 1


def test_what_is_no_error_about_tcp(tmp_path):
    from scapy.layers.inet import ICMP, UDP

    query = ip("10.0.0.1", "10.0.0.9") / UDP(sport=5353, dport=53) / bytes(20)
    echo = ip(ROUTER, CLIENT[0]) / ICMP(type=8) / bytes(56)
    redirect = error(SYN, 5, 1)
    capture = capture_of(tmp_path / "x.pcap", (0, SYN), (1, error(query, 3, 3)), (2, echo), (3, redirect))
    assert not capture.table.quotes and capture.table.packets == 4


def test_no_more_than_can_be_held(tmp_path, monkeypatch):
    monkeypatch.setattr("tcplab.capture.shared.MOST_ERRORS", 5)
    told = [(1 + i, error(SYN, 3, 1)) for i in range(20)]
    capture = capture_of(tmp_path / "x.pcap", (0, SYN), *told)
    assert len(capture.table.quotes) == 5 < MOST_ERRORS and capture.table.packets == 21


def test_every_word_is_said_in_both_versions():
    assert set(V4.values()) == set(V6.values())
