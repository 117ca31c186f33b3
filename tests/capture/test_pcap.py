"""A trace as a pcap file: what tshark and scapy find in it is what the trace says."""

import io
import subprocess
from dataclasses import replace

import pytest

from conftest import need
from tcplab.bench import run
from tcplab.capture import CaptureError
from tcplab.capture.pcap import EPOCH_S, FILLER, filler, pcap_bytes, window_field, write_pcap
from tcplab.core.segment import SYN, Endpoint, Segment
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.experiments import EXPERIMENTS
from transcript import CLIENT, EXCHANGE, HANDSHAKE, SERVER, trace

DEATH = (
    EXCHANGE
    + """
    7200    c A   40 201 lost
    7275    c A   40 201 lost
    7350    c RA  41 201 lost
"""
)
LOSSES = (
    EXCHANGE
    + """
    1       c PA  41 201 1448 lost
    1.2     c PA  41 201 1448
    1.201   s A   201 1489 w=0
    1.5     c A   1488 201
    1.501   s A   201 1489 w=64000
    1.502   s FA  201 1489 lost
    1.702   s FA  201 1489
    1.703   c FA  1489 202
    1.704   s A   202 1490
"""
)
REUSE = (
    EXCHANGE
    + """
    1       c RA  41 201
    2       c S   70000 0
    2.001   s SA  90000 70001
    2.002   c A   70001 90001
    2.003   s PA  90001 70001 14
"""
)
MIDSTREAM = """
    0       s PA  201 41 1000
    0.002   c A   41 1201
    1       s PA  1201 41 1
    1.002   c R   41 0
"""
STORIES = {"death": DEATH, "losses": LOSSES, "reuse": REUSE, "midstream": MIDSTREAM}
FIELDS = (
    "frame.time_relative", "ip.src", "tcp.srcport", "tcp.flags", "tcp.len", "tcp.seq", "tcp.ack",
    "tcp.window_size", "tcp.checksum.status", "ip.checksum.status", "_ws.malformed", "_ws.expert.severity",
)  # fmt: skip
GOOD, ERROR = "1", 0x00800000


def tshark(path, *fields):
    """One tuple of texts for each packet, as tshark dissects it with checksums verified."""
    command = [need("tshark"), "-r", str(path), "-n", "-T", "fields", "-E", "separator=|"]
    for name in ("tcp.check_checksum", "ip.check_checksum"):
        command += ["-o", f"{name}:TRUE"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [tuple(line.split("|")) for line in done.stdout.splitlines()]


def seen(trace, at):
    """What a capture on host `at` must show: (time, packet, relative numbers)."""
    lines = []
    for packet, relative in zip(trace.packets, trace.relative(), strict=True):
        if packet.sender == at and packet.kind != "forged":
            lines.append((packet.t, packet, relative))
        elif packet.receiver == at and packet.arrives is not None:
            lines.append((packet.arrives, packet, relative))
    return sorted(lines, key=lambda line: line[0])


@pytest.mark.parametrize("offset", [(0, 0), (2**32 - 20, 2**32 - 100)], ids=["plain", "wraps"])
@pytest.mark.parametrize("at", ["client", "server"])
@pytest.mark.parametrize("name", STORIES)
def test_tshark_finds_the_same_and_nothing_malformed(tmp_path, name, at, offset):
    told = trace(STORIES[name], offset=offset, timestamps=name == "losses")
    compare(told, at, tmp_path / "story.pcap", windows=name != "midstream")


@pytest.mark.parametrize("changed", ["quick", "another end"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_tshark_agrees_about_every_experiment(tmp_path, name, changed):
    """Relative numbers, flags and lengths as on the client; and once at the server."""
    kind = EXPERIMENTS[name]
    other_ends = {
        "handshake_and_close": {"closer": "both"},
        "fin_or_rst": {"ending": "kill_unread", "client": "idle"},
        "unanswered_connect": {"fate": "reject"},
        "rst_in_window": {"offset": -1, "sack_hole": True},
        "keepalive": {"peer": "moved"},
        "idle_firewall": {"expired": "reset_both"},
        "stale_reject": {"in_flight": 0},
        "client_gone": {"how": "kill"},
        "proxy_legs": {"broken": "client"},
        "dead_peer": {"sack": False},
        "slow_reader": {"peer": "offline"},
        "port_range": {"sources": 2, "destinations": 2, "connects": 25},
        "time_wait": {"tw_reuse": 1, "wait_s": 1.3},
        "why_time_wait": {"purpose": "old_duplicate", "time_wait": "refused"},
        "bind_or_connect": {"then": "connect"},
        "accept_queue": {"concurrent": False, "accept_after_s": 2},
    }
    experiment = kind.from_values({**kind.quick, **(other_ends[name] if changed == "another end" else {})})
    told = run(experiment)
    other_end = "server" if "server" in told.hosts else list(told.hosts)[-1]
    compare(told, "client" if changed == "quick" else other_end, tmp_path / "run.pcap")


def compare(told, at, file, windows=True):
    """What tshark finds in the capture of host `at` is what the trace says."""
    write_pcap(told, file, at=at)
    found, expected = tshark(file, *FIELDS), seen(told, at)
    assert len(found) == len(expected)
    for line, (moment, packet, relative) in zip(found, expected, strict=True):
        segment = packet.segment
        time, source, port, flags, length, seq, ack, window, tcp_sum, ip_sum, malformed, severity = line
        assert float(time) == pytest.approx((moment - expected[0][0]) / SECOND, abs=1e-9)
        assert (source, int(port)) == segment.source
        assert (int(flags, 16), int(length)) == (segment.flags, segment.length)
        assert (int(seq), int(ack or 0)) == relative
        assert (tcp_sum, ip_sum, malformed) == (GOOD, GOOD, "")
        assert all(int(each) < ERROR for each in severity.split(",") if each)
        if windows:
            assert 0 <= segment.window - int(window) < (1 if segment.flags & SYN else 128)


@pytest.mark.parametrize("port", [1521, 3306, 5432, 6379, 27017, 443])
def test_the_filler_makes_no_dissector_complain(tmp_path, port):
    write_pcap(trace(LOSSES, port=port), tmp_path / "story.pcap")
    for malformed, severity in tshark(tmp_path / "story.pcap", "_ws.malformed", "_ws.expert.severity"):
        assert not malformed
        assert all(int(each) < ERROR for each in severity.split(",") if each)


def test_tshark_calls_probes_and_retransmissions_by_the_same_names(tmp_path):
    write_pcap(trace(DEATH), tmp_path / "death.pcap")
    (*_, one, two, _) = tshark(tmp_path / "death.pcap", "tcp.analysis.keep_alive")
    assert one != ("",) and two != ("",)
    write_pcap(trace(LOSSES), tmp_path / "losses.pcap")
    again = tshark(tmp_path / "losses.pcap", "tcp.analysis.retransmission", "tcp.len")
    assert [length for flag, length in again if flag] == ["1448"]


def packets(content):
    """The packets as scapy reads them back."""
    from scapy.utils import PcapReader

    return list(PcapReader(io.BytesIO(content)))


def test_each_host_sees_what_it_sent_and_what_reached_it():
    told = trace(LOSSES)
    at_client, at_server = pcap_bytes(told), pcap_bytes(told, at="server")
    sent_and_lost = [p for p in told.packets if p.fate == "lost"]
    assert [p.sender for p in sent_and_lost] == ["client", "server"]
    assert len(packets(at_client)) == len(packets(at_server)) == len(told.packets) - 1


def test_a_forged_segment_is_not_seen_where_it_claims_to_come_from():
    told = trace(EXCHANGE + "1  s R  201 0 is=forged")
    assert len(packets(pcap_bytes(told))) == len(told.packets)
    assert len(packets(pcap_bytes(told, at="server"))) == len(told.packets) - 1


def test_the_bytes_depend_on_the_trace_alone():
    assert pcap_bytes(trace(LOSSES)) == pcap_bytes(trace(LOSSES))


def test_time_counts_from_a_fixed_day_in_nanoseconds():
    told = trace(HANDSHAKE)
    for packet in told.packets:
        packet.t += 5_000_000_007
    told.packets[1].arrives = told.packets[2].t - 3
    content = pcap_bytes(told)
    assert content[:4] == b"\x4d\x3c\xb2\xa1"  # the nanosecond magic number, little endian
    times = [int(packet.time * SECOND) - EPOCH_S * SECOND for packet in packets(content)]
    assert times == [0, 2_000_000 - 3, 2_000_000]


def test_payload_is_readable_text_and_the_same_when_sent_again():
    from scapy.layers.inet import TCP

    told = packets(pcap_bytes(trace(LOSSES)))
    first, again = [bytes(p[TCP].payload) for p in told if len(p[TCP].payload) == 1448]
    assert first == again
    assert first.decode("ascii").isprintable() and "tcplab" in first.decode("ascii")


def test_filler_depends_on_the_position_in_the_stream():
    whole = filler(1, 1000)
    for position in (1, 2, 64, 65, 500):
        for length in (0, 1, 70, 200):
            assert filler(position, length) == whole[position - 1 : position - 1 + length]
    assert len(whole) == 1000 and whole.startswith(FILLER)


def test_macs_are_one_for_each_host():
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether

    told = packets(pcap_bytes(trace(EXCHANGE)))
    assert {(p[IP].src, p[Ether].src) for p in told} == {
        ("10.0.0.1", "02:00:00:00:00:01"),
        ("10.0.0.2", "02:00:00:00:00:02"),
    }
    assert all(p[Ether].src != p[Ether].dst for p in told)


@pytest.mark.parametrize("timestamps", [False, True])
def test_options_are_those_of_the_segment(timestamps):
    from scapy.layers.inet import TCP

    told = trace(EXCHANGE, timestamps=timestamps)
    blocks = ((500, 600), (700, 800), (900, 1000), (1100, 1200))
    told.packets[-1].segment = replace(told.packets[-1].segment, sack=blocks)
    syn, _, ack, *_, last = [dict(p[TCP].options) for p in packets(pcap_bytes(told))]
    assert (syn["MSS"], syn["WScale"], syn["SAckOK"]) == (1460, 7, b"")
    assert ("Timestamp" in syn) == ("Timestamp" in ack) == timestamps
    kept = blocks[:3] if timestamps else blocks  # a header has room for 40 bytes of options
    assert last["SAck"] == tuple(edge for block in kept for edge in block)
    assert "MSS" not in ack and "WScale" not in ack


def test_without_the_option_in_both_syns_windows_stand_unshifted():
    from scapy.layers.inet import TCP

    told = trace(HANDSHAKE)
    answer = told.packets[1]
    answer.segment = replace(answer.segment, window_scale=None)
    assert [p[TCP].window for p in packets(pcap_bytes(told))] == [65535, 65535, 65535]
    assert [p[TCP].window for p in packets(pcap_bytes(trace(HANDSHAKE)))] == [65535, 65535, 65535 >> 7]


@pytest.mark.parametrize(
    ("window", "scale", "field"),
    [(0, 7, 0), (1, 7, 1), (127, 7, 1), (128, 7, 1), (65536, 7, 512), (65535, 0, 65535), (10**6, 0, 65535)],
)
def test_an_open_window_never_looks_closed_and_fits_the_field(window, scale, field):
    assert window_field(Segment(CLIENT, SERVER, 0, 0, 0, window), scale) == field


def test_ipv6_addresses_make_ipv6_packets():
    from scapy.layers.inet6 import IPv6

    told = trace(HANDSHAKE)
    six = {CLIENT: Endpoint("fd00::1", 40000), SERVER: Endpoint("fd00::2", 5432)}
    for packet in told.packets:
        segment = packet.segment
        packet.segment = replace(segment, source=six[segment.source], destination=six[segment.destination])
    assert [p[IPv6].src for p in packets(pcap_bytes(told))] == ["fd00::1", "fd00::2", "fd00::1"]


def test_a_host_that_is_not_there_is_named():
    with pytest.raises(CaptureError, match=r"at = 'proxy' is not a host of this trace: client, server\."):
        pcap_bytes(trace(HANDSHAKE), at="proxy")


def test_a_trace_without_segments_says_so():
    with pytest.raises(CaptureError, match="port_churn has no segments"):
        pcap_bytes(Trace("port_churn", "model", hosts={"client": "10.0.0.1"}))


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CaptureError, match=r"nowhere/x\.pcap can't be written: No such file or directory\."):
        write_pcap(trace(HANDSHAKE), tmp_path / "nowhere" / "x.pcap")
