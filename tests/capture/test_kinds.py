"""Kinds of strangers' captures: each file in `cases/` stands for one, and other forms of it are made here."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.pcap import write_pcap
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, Segment
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Packet, Trace

CASES = Path(__file__).parent / "cases"
CLIENT, SERVER = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)
ENDS = {"client": (CLIENT, SERVER), "server": (SERVER, CLIENT)}
OTHER = {"client": "server", "server": "client"}
DATA = PSH | ACK

#: What each file shows: codes and state of its first connection.
RIGHT = {
    "01_fin_never_acked": ({"idle_then_dead", "dead_peer", "closed_by_client"}, "dead"),
    "02_connect_took_63s": ({"slow_connect"}, "open"),
    "02b_syn7_then_synack": ({"slow_connect"}, "open"),
    "03_synack_never_acked": ({"handshake_incomplete"}, "unanswered"),
    "04_synack_never_acked_rst": ({"handshake_incomplete"}, "reset"),
    "05_only_psh_captured": ({"midstream"}, "open"),
    "06_last_segment_never_repeated": (set(), "open"),
    "07_midstream_keepalive_60s": ({"keepalive", "midstream"}, "open"),
    "09_rst_after_goodbye": ({"closed_by_client", "reset_after_close"}, "reset"),
    "10_tls_goodbye_rst": ({"closed_by_client", "reset_after_close", "reset_by_server"}, "reset"),
    "11_syn_meets_old_connection": ({"slow_connect", "stale_half"}, "open"),
    "12_reordered_ack_behind_fin": ({"closed_by_client"}, "closed"),
    "13_synack_again_then_works": (set(), "open"),
    "15_rst_into_time_wait": ({"closed_by_server"}, "closed"),
}


def of_case(name):
    return diagnose(read_capture(CASES / f"{name}.pcap"))


def codes(connection):
    return {finding.code for finding in connection.findings}


def facts(connection, code):
    (finding,) = (each for each in connection.findings if each.code == code)
    return finding.facts


@pytest.mark.parametrize("name", RIGHT)
def test_every_case(name):
    first, *others = of_case(name).connections
    assert (codes(first), first.state) == RIGHT[name]
    assert all(not each.findings and each.state == "open" for each in others)


def test_numbers_of_the_cases():
    (finding, *_) = (of_case(name).connections[0] for name in ("02_connect_took_63s",))
    assert facts(finding, "slow_connect") == {"attempts": 7, "took_s": pytest.approx(63, abs=0.01)}
    (cut,) = of_case("02b_syn7_then_synack").connections
    assert facts(cut, "slow_connect") == {"attempts": 7, "took_s": pytest.approx(63, abs=0.01)}
    for name in ("03_synack_never_acked", "04_synack_never_acked_rst"):
        assert facts(of_case(name).connections[0], "handshake_incomplete") == {"attempts": 6}
    (probed,) = of_case("07_midstream_keepalive_60s").connections
    assert facts(probed, "keepalive") == {"side": "client", "count": 4, "idle_s": pytest.approx(60, abs=0.01)}
    dead = facts(of_case("01_fin_never_acked").connections[0], "idle_then_dead")
    assert (dead["side"], dead["attempts"], round(dead["idle_s"])) == ("client", 9, 600)
    (ended,) = of_case("15_rst_into_time_wait").connections
    assert facts(ended, "closed_by_server") == {"complete": True, "time_wait_on": None}


def capture_of(tmp_path, *segments, rest_s=1.0, windows=MappingProxyType({})):
    """A capture of (milliseconds, who, flags, seq, ack, length) each, and `rest_s` of silence after them.

    `windows` are those other than 1000, by the milliseconds of their segment.
    """
    packets = [
        Packet(
            round(t * MILLISECOND),
            who,
            OTHER[who],
            Segment(*ENDS[who], seq, ack, flags, windows.get(t, 1000), length),
        )
        for t, who, flags, seq, ack, length in segments
    ]
    packets = [replace(each, arrives=each.t) for each in packets]
    beacon = Segment(Endpoint("10.0.0.9", 9), Endpoint("10.0.0.8", 8), 1, 1, ACK, 1000)
    end = packets[-1].t + round(rest_s * SECOND)
    packets.append(Packet(end, "client", "server", beacon, arrives=end))
    hosts = {"client": CLIENT.address, "server": SERVER.address}
    trace = Trace("made", "model", hosts=hosts, packets=packets, end=end)
    write_pcap(trace, tmp_path / "made.pcap")
    return read_capture(tmp_path / "made.pcap")


def only(tmp_path, *segments, **options):
    """The first connection of such a capture; the other one is what ends the file."""
    return diagnose(capture_of(tmp_path, *segments, **options)).connections[0]


HANDSHAKE = (
    (0, "client", SYN, 99, 0, 0),
    (1, "server", SYN | ACK, 499, 100, 0),
    (2, "client", ACK, 100, 500, 0),
)
QUERY = (
    (10, "client", DATA, 100, 500, 40),
    (11, "server", DATA, 500, 140, 60),
    (12, "client", ACK, 140, 560, 0),
)
BEGINNING = (*HANDSHAKE, *QUERY)
#: From 20 s on, in milliseconds: growing gaps.
GROWING = [20_000 + 200 * (2**n - 1) for n in range(8)]


# --- nothing comes back ---


@pytest.mark.parametrize("side", OTHER)
def test_a_fin_that_nothing_answers(tmp_path, side):
    numbers = {"client": (140, 560), "server": (560, 140)}[side]
    fins = [(t, side, FIN | ACK, *numbers, 0) for t in GROWING]
    found = only(tmp_path, *BEGINNING, *fins)
    assert codes(found) == {"dead_peer", "idle_then_dead", f"closed_by_{side}"} and found.state == "dead"
    assert facts(found, "dead_peer")["attempts"] == len(fins)
    assert facts(found, "idle_then_dead")["side"] == side


def test_a_fin_behind_data_that_nothing_answers(tmp_path):
    data = [(t, "client", DATA, 140, 560, 5) for t in GROWING]
    fin = (20_001, "client", FIN | ACK, 145, 560, 0)
    found = only(tmp_path, *BEGINNING, data[0], fin, *data[1:])
    assert {"dead_peer", "idle_then_dead"} <= codes(found) and found.state == "dead"
    assert facts(found, "dead_peer")["attempts"] == len(data)


def test_what_was_sent_once_is_never_dead(tmp_path):
    """Data, or a FIN, however long the file goes on after it."""
    for flags, length in ((DATA, 21), (FIN | ACK, 0)):
        found = only(tmp_path, *BEGINNING, (20_000, "client", flags, 140, 560, length), rest_s=300)
        assert not codes(found) & {"dead_peer", "idle_then_dead"} and found.state != "dead"


def test_what_was_sent_twice_after_a_silence_and_not_after_a_second(tmp_path):
    for t, expected in ((20_000, {"idle_then_dead"}), (500, set())):
        sent = [(at, "client", DATA, 140, 560, 5) for at in (t, t + 220)]
        assert codes(only(tmp_path, *BEGINNING, *sent, rest_s=60)) == expected


def test_a_sender_whose_ack_numbers_go_on_is_not_dead(tmp_path):
    """Its peer's answers exist, and do not pass the point of capture."""
    sent = [(t, "client", DATA, 140, 560 + 60 * n, 5) for n, t in enumerate(GROWING)]
    assert not codes(only(tmp_path, *BEGINNING, *sent)) & {"dead_peer", "idle_then_dead", "one_way"}


def test_every_frame_twice_is_folded_by_both_readers(monkeypatch):
    for numpy in (True, False):
        monkeypatch.setattr("tcplab.capture.capture.find_spec", lambda name, there=numpy: there)
        diagnosis = of_case("08_every_frame_twice")
        assert diagnosis.packets == 30 and [each.code for each in diagnosis.warnings] == ["duplicates"]
        assert codes(diagnosis.connections[0]) == {"closed_by_client"}


def test_erspan():
    assert len(read_capture(CASES / "14_erspan2.pcap")) == 2


# --- one direction is broken ---


@pytest.mark.parametrize("side", OTHER)
def test_one_way(tmp_path, side):
    """What one side sends does not arrive; the other one goes on with its own data, or probes."""
    mine, theirs = {"client": (140, 560), "server": (560, 140)}[side], OTHER[side]
    sent = [(t, side, DATA, mine[0], mine[1] + 7 * (t > 21_500), 5) for t in GROWING]
    lives = [(t, theirs, DATA, mine[1], mine[0], 7) for t in (21_500, 23_000, 29_000)]
    found = only(tmp_path, *BEGINNING, *sorted((*sent, *lives)), rest_s=30)
    assert "one_way" in codes(found) and found.state == "dead"
    assert not codes(found) & {"dead_peer", "idle_then_dead"}
    told = facts(found, "one_way")
    assert (told["broken"], told["attempts"]) == (f"{side}_to_{theirs}", len(sent))


def test_a_closed_window_is_no_broken_direction(tmp_path):
    """It answers: the data arrived, and there was no room."""
    shut = [(t, "server", ACK, 560, 140, 0) for t in (21_500, 23_000, 29_000)]
    sent = [(t, "client", DATA, 140, 560, 5) for t in GROWING]
    for window, expected in ((1000, True), (0, False)):
        found = only(tmp_path, *BEGINNING, *sorted((*sent, *shut)), windows={t: window for t, *_ in shut})
        assert ("one_way" in codes(found)) is expected


# --- beginnings ---


def test_a_slow_connect_counts_until_the_clients_ack(tmp_path):
    syns = [(t, "client", SYN, 99, 0, 0) for t in (0, 1000, 3000)]
    synacks = [(t, "server", SYN | ACK, 499, 100, 0) for t in (3001, 4001)]
    found = only(tmp_path, *syns, *synacks, (4002, "client", ACK, 100, 500, 0))
    assert facts(found, "slow_connect") == {"attempts": 3, "took_s": pytest.approx(4.002)}


def test_a_syn_ack_that_the_client_resets_is_no_connect(tmp_path):
    syns = [(t, "client", SYN, 99, 0, 0) for t in (0, 1000, 3000)]
    late = (9000, "server", SYN | ACK, 499, 100, 0), (9001, "client", RST, 100, 0, 0)
    assert "slow_connect" not in codes(only(tmp_path, *syns, *late))


@pytest.mark.parametrize("flags", [RST, RST | ACK])
@pytest.mark.parametrize("side", OTHER)
def test_a_handshake_that_never_completes_and_a_reset(tmp_path, side, flags):
    synacks = [(t, "server", SYN | ACK, 499, 100, 0) for t in (1, 1001, 3001)]
    number = {"client": (100, 500), "server": (500, 100)}[side]
    reset = (7000, side, flags, *number, 0)
    found = only(tmp_path, HANDSHAKE[0], *synacks, reset)
    assert facts(found, "handshake_incomplete") == {"attempts": 3} and found.state == "reset"
    assert all(each.facts.get("kind") != "abort" for each in found.findings)


@pytest.mark.parametrize("soon", [4, 400])
def test_a_syn_ack_that_comes_again_too_soon_is_no_ghost(tmp_path, soon):
    found = only(tmp_path, *HANDSHAKE, (soon, "server", SYN | ACK, 499, 100, 0), rest_s=30)
    assert "ghost_suspected" not in codes(found)


def test_a_ghost_and_a_server_that_serves(tmp_path):
    repeated = [(t, "server", SYN | ACK, 499, 100, 0) for t in (1001, 3001)]
    assert "ghost_suspected" in codes(only(tmp_path, *HANDSHAKE, *repeated))
    serves = (3500, "client", DATA, 100, 500, 9), (3501, "server", ACK, 500, 109, 0)
    assert "ghost_suspected" not in codes(only(tmp_path, *HANDSHAKE, *repeated, *serves))
    speaks = (3500, "server", DATA, 500, 100, 9)
    assert "ghost_suspected" not in codes(only(tmp_path, *HANDSHAKE, *repeated, speaks))


def test_a_syn_that_meets_an_older_connection_and_gives_up(tmp_path):
    """The server answers each SYN with its challenge ACK, and the RST does not arrive."""
    asked = [
        packet
        for t in (0, 1000, 3000)
        for packet in (
            (t, "client", SYN, 99, 0, 0),
            (t + 1, "server", ACK, 9000, 7000, 0),
            (t + 2, "client", RST, 7000, 0, 0),
        )
    ]
    found = only(tmp_path, *asked)
    assert codes(found) == {"stale_half"}


def test_an_old_connection_in_the_file_and_the_next_one(tmp_path):
    old = (5000, "client", SYN, 77_000, 0, 0), (5001, "server", ACK, 560, 140, 0)
    reset = (5002, "client", RST, 140, 0, 0)
    new = (6000, "client", SYN, 77_000, 0, 0), (6001, "server", SYN | ACK, 88_000, 77_001, 0)
    done = (6002, "client", ACK, 77_001, 88_001, 0)
    found = diagnose(capture_of(tmp_path, *BEGINNING, *old, reset, *new, done)).connections
    assert "stale_half" in codes(found[0]) and codes(found[1]) == {"port_reused", "slow_connect"}
    assert facts(found[1], "slow_connect")["attempts"] == 2


# --- keepalive ---


def test_a_bare_ack_one_below_is_a_probe_only_after_a_second(tmp_path):
    for later, expected in ((4, set()), (800, set()), (1000, {"keepalive"}), (60_000, {"keepalive"})):
        probe = (12 + later, "client", ACK, 139, 560, 0), (13 + later, "server", ACK, 560, 140, 0)
        found = only(tmp_path, *BEGINNING, *probe)
        assert codes(found) == expected
        assert all(each.facts["idle_s"] >= 0.9 for each in found.findings)


def test_both_sides_probe_at_nearly_the_same_moment(tmp_path):
    """A probe that arrives does not set the other side's timer back."""
    probes = [
        (60_012, "client", ACK, 139, 560, 0), (60_013, "server", ACK, 560, 140, 0),
        (60_111, "server", ACK, 559, 140, 0), (60_112, "client", ACK, 140, 560, 0),
    ]  # fmt: skip
    found = only(tmp_path, *BEGINNING, *probes)
    told = {each.facts["side"]: each.facts["idle_s"] for each in found.findings}
    assert told == {"client": pytest.approx(60, abs=0.1), "server": pytest.approx(60.1, abs=0.1)}


def test_the_idle_time_of_the_first_probe_of_a_file_is_unknown(tmp_path):
    probe = (0, "client", ACK, 139, 560, 0), (1, "server", ACK, 560, 140, 0)
    assert facts(only(tmp_path, *probe), "keepalive")["idle_s"] is None
    unanswered = [(t, "client", ACK, 139, 560, 0) for t in (0, 5000, 10_000)]
    found = only(tmp_path, *unanswered, (15_000, "client", RST | ACK, 140, 560, 0))
    assert facts(found, "keepalive_death")["idle_s"] is None
    assert facts(found, "keepalive_death")["interval_s"] == 5


# --- ends ---


@pytest.mark.parametrize("flags", [RST, RST | ACK])
def test_a_reset_after_the_goodbye(tmp_path, flags):
    """Whether the FIN was acknowledged, whether data came with it, and also where the FINs cross the RST."""
    fin, acked = (5000, "client", FIN | ACK, 140, 560, 0), (5001, "server", ACK, 560, 141, 0)
    reset = (5002, "server", flags, 560, 141, 0)
    for end in (
        (fin, acked, reset),
        (fin, reset),
        ((5000, "server", flags, 560, 140, 0), (5000.2, *fin[1:])),
    ):
        found = only(tmp_path, *BEGINNING, *end)
        assert codes(found) == {"closed_by_client", "reset_after_close"}, end
        assert facts(found, "reset_after_close")["side"] == "server"


def test_a_reset_after_the_goodbye_and_more_data_ends_it(tmp_path):
    fin, data = (5000, "client", FIN | ACK, 140, 560, 0), (5001, "server", DATA, 560, 141, 30)
    found = only(tmp_path, *BEGINNING, fin, data, (5500, "server", RST | ACK, 590, 141, 0))
    assert "reset_by_server" in codes(found) and found.state == "reset"


CLOSE = (
    (5000, "server", FIN | ACK, 560, 140, 0),
    (5001, "client", FIN | ACK, 140, 561, 0),
    (5002, "server", ACK, 561, 141, 0),
)


@pytest.mark.parametrize(("number", "holder"), [(141, None), (139, "server"), (9000, "server")])
def test_a_reset_into_time_wait(tmp_path, number, holder):
    found = only(tmp_path, *BEGINNING, *CLOSE, (5003, "client", RST, number, 0, 0))
    assert codes(found) == {"closed_by_server"} and found.state == "closed"
    assert facts(found, "closed_by_server") == {"complete": True, "time_wait_on": holder}


@pytest.mark.parametrize(
    "end",
    [
        ((5000, "server", RST, 9000, 0, 0),),
        ((5000, "server", FIN | ACK, 9000, 4000, 0), (5001, "client", FIN | ACK, 4000, 9001, 0)),
    ],
)
def test_a_port_used_again_where_only_syn_fin_and_rst_are_in_the_file(tmp_path, end):
    again = (20_000, "client", SYN, 77_000, 0, 0), (20_001, "server", SYN | ACK, 88_000, 77_001, 0)
    found = diagnose(capture_of(tmp_path, *HANDSHAKE[:2], *end, *again)).connections
    assert "port_reused" in codes(found[1])
    told = facts(found[1], "port_reused")
    assert told["within_time_wait"] == (len(end) == 2) and told["after_s"] == pytest.approx(15, abs=0.1)
    assert "probe_only" not in codes(found[0]) and "reset_ignored" not in codes(found[0])
    assert len(end) == 2 or "reset_by_server" in codes(found[0])


# --- what the file lacks ---


def session(requests=12, every=1000):
    """A healthy session in full: handshake, requests with their answers and ACKs, a goodbye."""
    packets = [*HANDSHAKE]
    mine, theirs = 100, 500
    for n in range(requests):
        t = 10 + n * every
        packets += [
            (t, "client", DATA, mine, theirs, 20), (t + 1, "server", ACK, theirs, mine + 20, 0),
            (t + 2, "server", ACK, theirs, mine + 20, 1448),
            (t + 3, "server", DATA, theirs + 1448, mine + 20, 300),
            (t + 4, "client", ACK, mine + 20, theirs + 1748, 0),
        ]  # fmt: skip
        mine, theirs = mine + 20, theirs + 1748
    t = 10 + requests * every
    return [
        *packets, (t, "client", FIN | ACK, mine, theirs, 0),
        (t + 1, "server", FIN | ACK, theirs, mine + 1, 0),
        (t + 2, "client", ACK, mine + 1, theirs + 1, 0),
    ]  # fmt: skip


FILTERS = {
    "client only": lambda t, who, flags, seq, ack, length: who == "client",
    "server only": lambda t, who, flags, seq, ack, length: who == "server",
    "client, midstream": lambda t, who, flags, seq, ack, length: who == "client" and t > 5,
    "server, midstream": lambda t, who, flags, seq, ack, length: who == "server" and t > 5,
    "push": lambda t, who, flags, seq, ack, length: flags & PSH,
    "no bare ACK": lambda t, who, flags, seq, ack, length: length or flags & (SYN | FIN),
    "SYN, FIN, RST": lambda t, who, flags, seq, ack, length: flags & (SYN | FIN | RST),
    "no data": lambda t, who, flags, seq, ack, length: not length,
}


@pytest.mark.parametrize("end", ["closed", "query again", "reset"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_filtered_session_says_so_and_nothing_that_needs_the_missing_half(tmp_path, name, end):
    packets = session()
    if end == "query again" and name == "SYN, FIN, RST":
        pytest.skip("of a handshake alone nobody can say that more followed")
    if end == "query again":  # that the file lacks the answers of
        packets = [
            *packets[:-3],
            *((t, "client", DATA, 340, 21476, 20) for t in (60_000, 60_300, 61_000, 62_000)),
        ]
        packets += [(62_100, "server", ACK, 21476, 360, 0), (62_200, "server", DATA, 21476, 360, 30)]
        packets += [(62_300, "client", ACK, 360, 21506, 0), (72_300, "client", DATA, 360, 21506, 5)]
    elif end == "reset":
        packets = [*packets[:-3], (60_000, "client", RST | ACK, 340, 21476, 0)]
    kept = [each for each in packets if FILTERS[name](*each)]
    diagnosis = diagnose(capture_of(tmp_path, *kept, rest_s=60))
    found = diagnosis.connections[0]
    kind = "one_sided" if "client" in name or "server" in name else "filtered"
    assert [each.code for each in diagnosis.warnings] == [kind]
    assert [each.code for each in found.warnings] == [kind]
    allowed = {"midstream", "retransmission", "reset_by_client", "closed_by_client", "reset_after_close"}
    assert codes(found) <= allowed and found.state != "dead"
    assert kind != "one_sided" or "closed_by_client" not in codes(found)


def test_a_whole_session_and_one_that_lost_a_packet_are_not_filtered(tmp_path):
    packets = session()
    for n in range(len(packets)):
        kept = packets[:n] + packets[n + 1 :] if n else packets
        diagnosis = diagnose(capture_of(tmp_path, *kept))
        assert not diagnosis.warnings and not diagnosis.connections[0].warnings, packets[n]


def test_an_unanswered_connection_in_a_file_of_one_direction(tmp_path):
    """Where the answers of others are not in the file, those of this one need not have been missing."""
    other = Endpoint("10.0.0.1", 40001)
    capture = capture_of(tmp_path, *(each for each in session() if each[1] == "client"))
    packets = [Packet(p.t, "client", "server", p.segment, arrives=p.t) for p in capture.packets]
    syns = [Segment(other, SERVER, 7, 0, SYN, 1000) for _ in range(4)]
    packets += [
        Packet(t * SECOND, "client", "server", syn, arrives=t * SECOND)
        for t, syn in zip((0, 1, 3, 7), syns, strict=True)
    ]
    packets.sort(key=lambda p: p.t)
    hosts = {"client": CLIENT.address, "server": SERVER.address}
    write_pcap(Trace("made", "model", hosts=hosts, packets=packets, end=packets[-1].t), tmp_path / "two.pcap")
    diagnosis = diagnose(read_capture(tmp_path / "two.pcap"))
    assert {each.code for each in diagnosis.warnings} == {"one_sided"}
    assert all(codes(each) <= {"midstream"} for each in diagnosis.connections)
