"""Recordings made by tcplab itself: how they are made, and what the stored ones must show."""

import json
import os
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from tcplab import cli
from tcplab.bench import sandbox as sandboxes
from tcplab.bench.sandbox import BenchError, TooBusy, why_not
from tcplab.capture import recordings
from tcplab.capture.capture import read_capture
from tcplab.capture.pcap import pcap_bytes
from tcplab.capture.plain import Frames
from tcplab.capture.recordings import SNAPLEN, record, wire_delay_ms
from tcplab.core.segment import FIN, RST, SYN, Endpoint
from tcplab.core.text import SECOND
from tcplab.core.trace import Call, Note, SocketSample
from tcplab.experiments import EXPERIMENTS
from transcript import EXCHANGE, HANDSHAKE, trace

STORED = Path(__file__).parents[2] / "data" / "captures"
DEATH = (
    EXCHANGE
    + """
    7200    c A   40 201 lost
    7275    c A   40 201 lost
    7350    c RA  41 201 lost
"""
)


@dataclass(frozen=True)
class Tale:
    """A story that is never run."""

    name: str = "tale"
    title: str = "A tale"
    linux: str = "6.18"
    seed: int = 1
    latency_ms: float = 1

    def sentence(self, told):
        return f"There were {len(told.packets)} segments."


def timed(found, ndigits=0):
    """Seconds of these segments since the first packet, rounded."""
    return [round(packet.t / SECOND, ndigits) for packet in found]


# --- what a recording shows ---


class Story:
    """One recorded experiment, read back from its two files."""

    def __init__(self, folder, name):
        self.path = folder / f"{name}.pcap"
        self.capture = read_capture(self.path)
        self.trace = self.capture.connection(0)
        self.sidecar = json.loads(self.path.with_suffix(".json").read_text("utf-8"))

    def sent(self, host, flags=0, *, kind=None, data=False):
        """Segments of a host that carry all these flags, perhaps only of one kind or with payload."""
        return [
            p for p in self.trace.packets
            if p.sender == host and p.segment.flags & flags == flags and kind in (None, p.kind)
            and (p.segment.length or not data)
        ]  # fmt: skip

    def results(self, host, call):
        return [c.result for c in self.trace.calls if c.host == host and c.call.startswith(call)]

    def states(self, host):
        """States of the host's socket, each once in a row."""
        found = [sample.state for sample in self.trace.sockets if sample.host == host]
        return [state for before, state in zip([None, *found], found, strict=False) if state != before]


def handshake_and_close(story):
    assert [p.segment.letters for p in story.trace.packets[:3]] == ["S", "SA", "A"]
    first, second = sorted(story.sent("client", FIN) + story.sent("server", FIN), key=lambda p: p.t)
    assert (first.sender, second.sender) == ("client", "server")
    assert not story.sent("client", RST) and not story.sent("server", RST)
    assert story.states("client")[-1] == "TIME_WAIT" and story.states("server")[-1] == "CLOSED"


def fin_or_rst(story):
    (fin,), (rst,) = story.sent("server", FIN), story.sent("server", RST)
    assert not story.sent("client", FIN)
    late = [p for p in story.sent("client", data=True) if p.t > fin.t]
    assert len(late) == 1 and late[0].t < rst.t, "the query that goes out on the closed connection draws it"
    assert story.results("client", "send(")[-2:] == ["40", "EPIPE"]
    assert "CLOSE_WAIT" in story.states("client") and "FIN_WAIT_2" in story.states("server")


def unanswered_connect(story):
    assert timed(story.sent("client", SYN)) == [0, 1, 2] and len(story.capture) == 3
    (connect,) = [call for call in story.trace.calls if call.call.startswith("connect(")]
    assert connect.result == "ETIMEDOUT" and 3 <= connect.t / SECOND < 3.4
    assert story.states("client") == ["SYN_SENT", "CLOSED"]
    assert story.results("server", "firewall rule: DROP") == ["ok"]


def rst_in_window(story):
    (rst,) = story.sent("server", RST)
    newest = max(p.segment.seq + p.segment.length for p in story.sent("server") if p.t < rst.t)
    assert rst.segment.seq == newest + 1, "one byte past RCV.NXT"
    challenge, asked, answer = [p for p in story.trace.packets if p.t > rst.t]
    assert (challenge.sender, challenge.segment.letters, challenge.segment.length) == ("client", "A", 0)
    assert challenge.segment.ack == newest
    assert asked.sender == "client" and asked.segment.length == 40
    assert (answer.sender, answer.segment.letters) == ("server", "A"), "the connection lives"
    assert answer.segment.ack == asked.segment.seq + 40
    assert "CLOSED" not in story.states("client")


def keepalive(story):
    probes = story.sent("client", kind="keepalive")
    assert timed(probes) == [4, 6, 8] and {p.segment.length for p in probes} == {0}
    (rst,) = story.sent("client", RST)
    assert rst.segment.letters == "RA" and timed([rst]) == [10] and rst is story.trace.packets[-1]
    assert rst.segment.seq == probes[0].segment.seq + 1
    assert story.results("client", "recv()")[-1] == "ETIMEDOUT"
    assert story.results("server", "unplugged") == ["ok"] and story.states("server")[-1] == "ESTABLISHED"


def dead_peer(story):
    *_, last = story.sent("client", data=True)
    same = [p for p in story.sent("client", data=True) if p.segment.seq == last.segment.seq]
    assert len(same) == 5 and last is story.trace.packets[-1]
    gaps = [b.t - a.t for a, b in pairwise(same)]
    assert gaps[1:] == sorted(gaps[1:]) and gaps[-1] > 3.5 * gaps[0], "they grow"
    assert not story.sent("client", RST) and not [p for p in story.sent("server") if p.t > same[0].t]
    assert story.results("client", "recv()")[-1] == "ETIMEDOUT"
    assert story.sidecar["outcome"]["transmissions"] == 5


def slow_reader(story):
    closed = [p for p in story.sent("client") if not p.segment.window]
    probes = story.sent("server", kind="window_probe")
    assert closed and probes and min(p.t for p in probes) > closed[0].t
    assert sum(int(result) for result in story.results("client", "recv(") if result.isdigit()) >= 100_000
    assert max(p.segment.seq + p.segment.length for p in story.sent("server")) - 1 >= (
        story.sent("server", SYN)[0].segment.seq + 100_000
    )
    assert not {"ETIMEDOUT", "ECONNRESET", "EPIPE"} & {call.result for call in story.trace.calls}


def accept_queue(story):
    everyone = [story.capture.connection(i) for i in range(8)]
    assert [trace.packets[0].segment.letters for trace in everyone] == ["S"] * 8
    speaks = [[p for p in trace.packets if p.sender == "client" and p.segment.length] for trace in everyone]
    answered = [any(p.sender == "server" and p.t > said[0].t for p in trace.packets)
                for trace, said in zip(everyone, speaks, strict=True)]  # fmt: skip
    assert answered == [True] * 3 + [False] * 5
    assert all(len(said) == 1 for said in speaks[:3]) and all(len(said) > 3 for said in speaks[3:])
    assert [sum(p.segment.letters == "SA" for p in trace.packets) for trace in everyone] == [1] * 8


def idle_firewall(story):
    *_, last = story.sent("client", data=True)
    same = [p for p in story.sent("client", data=True) if p.segment.seq == last.segment.seq]
    assert same[0].t > 3 * SECOND and len(same) > 3, "the query that the firewall drops"
    assert not [p for p in story.sent("server") if p.t > same[0].t]
    assert story.results("client", "recv()")[-1] == "ETIMEDOUT"
    assert set(story.sidecar["hosts"]) == {"client", "server"} and story.states("server")[-1] == "ESTABLISHED"


def port_range(story):
    opened = [story.capture.connection(i) for i in range(6)]
    assert len(story.capture) == 3 * 6, "the seventh connect() sends nothing"
    assert sorted(trace.packets[0].segment.source.port for trace in opened) == list(range(60001, 60007))
    assert story.sidecar["outcome"] == {"opened": 6, "error": "EADDRNOTAVAIL", "ports_used": 6}


def time_wait(story):
    closed = [story.capture.connection(i) for i in range(6)]
    firsts = [next(p for p in trace.packets if p.segment.flags & FIN).sender for trace in closed]
    assert firsts == ["client"] * 6
    assert all(not p.segment.flags & RST for trace in closed for p in trace.packets)
    assert story.sidecar["outcome"] == {"held": 6, "reopened": False, "error": "EADDRNOTAVAIL"}


def why_time_wait(story):
    assert len(story.sent("server", FIN)) == 2, "the server has not heard the last ACK"
    assert story.sent("client")[-1].t > story.sent("server", FIN)[-1].t
    assert not story.sent("client", RST) and not story.sent("server", RST)
    assert story.states("client")[-1] == "TIME_WAIT" and story.states("server")[-1] == "CLOSED"


def bind_or_connect(story):
    ports = {story.capture.connection(i).packets[0].segment.source.port for i in range(6)}
    assert ports == set(range(60001, 60007)) and story.sidecar["parameters"]["tw_reuse"] == 1
    assert story.sidecar["outcome"] == {"result": "EADDRINUSE"}


def stale_reject(story):
    rst = story.sent("client", RST)[0]
    newest = max(p.segment.seq + p.segment.length for p in story.sent("client") if p.t < rst.t)
    assert newest - rst.segment.seq == 6 * 40, "it is stale by six requests"
    assert len([p for p in story.sent("server", data=True) if p.t > rst.t]) > 10, "and it goes on answering"
    end = story.sent("server", RST)[0]
    assert 2 < (end.t - rst.t) / SECOND < 2.6, "until the balancer ends it, in the server's name"
    assert story.states("server")[-1] == "ESTABLISHED" and story.states("client")[-1] == "CLOSED"
    (rule,) = [c for c in story.trace.calls if c.call.startswith("firewall rule: REJECT")]
    assert rule.host == "client" and "the next segment with data" in rule.call


def client_gone(story):
    (unplugged,) = [c for c in story.trace.calls if c.call == "unplugged"]
    assert not [p for p in story.trace.packets if p.t > unplugged.t], "nothing reaches the client any more"
    assert story.states("client")[-1] == "ESTABLISHED" and story.states("server")[-1] == "CLOSED"
    (noticed,) = [c for c in story.trace.calls if c.call.startswith("client_connection_check_interval")]
    assert noticed.host == "server" and 4 <= (noticed.t - unplugged.t) / SECOND <= 5
    assert 4 <= story.sidecar["outcome"]["noticed_after_s"] <= 5


def proxy_legs(story):
    """The client's leg alone: its own probes, each answered, and then the proxy's FIN."""
    assert len(story.sent("client", kind="keepalive")) == 2 and story.sidecar["hosts"]["server"] == "10.0.0.2"
    (fin,) = story.sent("server", FIN)
    assert 4.9 <= story.sidecar["outcome"]["noticed_by_client_after_s"] <= 5.6
    assert story.results("client", "recv()")[-1] == "end of file" and not story.sent("server", RST)
    (given_up,) = [c for c in story.trace.calls if c.result == "ETIMEDOUT"]
    assert given_up.host == "server" and given_up.t < fin.t, "the proxy, on its other leg"


FACTS = {
    facts.__name__: facts
    for facts in (
        handshake_and_close, fin_or_rst, unanswered_connect, rst_in_window, keepalive, dead_peer, slow_reader,
        accept_queue, idle_firewall, port_range, time_wait, why_time_wait, bind_or_connect,
        stale_reject, client_gone, proxy_legs,
    )
}  # fmt: skip


@pytest.fixture(params=EXPERIMENTS)
def stored(request):
    return Story(STORED, request.param)


def test_a_stored_recording_shows_what_its_experiment_is_about(stored):
    FACTS[stored.path.stem](stored)


# --- how it is made ---


@pytest.fixture
def linux():
    """Skip with doctor's sentence where the bench can't run; in CI it has to."""
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(f"the Linux bench can't run here, and CI must not skip: {reason}", pytrace=False)
        pytest.skip(f"the Linux bench can't run here: {reason}")


@pytest.mark.linux
def test_a_fresh_recording_shows_the_same_and_touches_no_other_file(linux, tmp_path, capsys):
    ours = tmp_path / "postgres_mine.pcap"
    ours.write_bytes(b"somebody else's")
    names = ["unanswered_connect", "handshake_and_close"]
    assert cli.main(["record", *names, names[0], "--into", str(tmp_path)]) == 0
    for name in names:
        FACTS[name](Story(tmp_path, name))
    both = {f"{name}.{ending}" for name in names for ending in ("pcap", "json", "run.json")}
    assert {path.name for path in tmp_path.iterdir()} == {ours.name} | both
    assert ours.read_bytes() == b"somebody else's"
    told = capsys.readouterr()
    assert told.err == "" and told.out.count("\n") == 2 and "unanswered_connect.pcap: 3 segments" in told.out


@pytest.mark.linux
def test_interrupted_it_ends_all_runs_at_once(linux, tmp_path):
    stories = [EXPERIMENTS["keepalive"].from_values({"idle_s": 60}), EXPERIMENTS["rst_in_window"]()]
    began = time.monotonic()
    runs = record(stories, tmp_path)
    next(runs)
    runs.close()  # what becomes of it when the command is interrupted
    assert time.monotonic() - began < 20 and not list(tmp_path.glob("keepalive*"))


@pytest.fixture
def bench(monkeypatch):
    """Stands in for Linux: gives these answers in turn, each a trace or an error to raise."""

    def answers(*results):
        left = iter(results)

        def run(story, bench, progress, *, sandbox):
            assert bench == "linux"
            progress(1.0, 3)
            result = next(left)
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(recordings, "run", run)
        monkeypatch.setattr(sandboxes, "why_not", lambda: None)
        monkeypatch.setattr(sandboxes.Sandbox, "start", lambda self: None)

    return answers


def test_calls_deeds_and_states_stand_beside_the_packets(bench, tmp_path):
    told = trace(DEATH)
    client, server = told.packets[0].segment.source, told.packets[0].segment.destination
    told.packets = [replace(p, t=p.t + 5 * SECOND) for p in told.packets]  # the clock began before
    told.calls = [Call(8 * SECOND, 7 * SECOND, "client", "recv()", "ETIMEDOUT", client.port)]
    told.notes = [Note(6 * SECOND, "server", "unplugged"), Note(6 * SECOND, "", "nobody's")]
    told.sockets = [
        SocketSample(4 * SECOND, "server", server, Endpoint("0.0.0.0", 0), "LISTEN"),
        SocketSample(5 * SECOND, "client", client, server, "SYN_SENT", timer="on"),
        SocketSample(6 * SECOND, "client", client, server, "ESTABLISHED", 3, 4, timer="on"),
        SocketSample(7 * SECOND, "client", client, server, "ESTABLISHED", 3, 4),
        SocketSample(7 * SECOND, "server", server, client, "CLOSE_WAIT"),
    ]
    bench(TooBusy("a segment arrived late."), told)
    seen = []
    ((path, _),) = record([Tale()], tmp_path, lambda *told: seen.append(told))
    assert seen == [("tale", 1.0, 3)] * 2, "the second time it had the time"
    back = read_capture(path)
    assert back.sidecar.title == "A tale" and back.sidecar.story == "There were 9 segments."
    assert back.sidecar.events == (
        (1.0, 1.0, "server", "unplugged", "ok"),
        (3.0, 2.0, "client", "recv()", "ETIMEDOUT"),
    )
    assert back.sidecar.states == (
        (0.0, "client", "SYN_SENT", 0, 0),
        (1.0, "client", "ESTABLISHED", 3, 4),
        (2.0, "server", "CLOSE_WAIT", 0, 0),
    )


def test_a_late_wire_is_no_recording(bench, tmp_path):
    slow, right = trace(HANDSHAKE.replace("0 1", "0 1 late=0.0071")), trace(HANDSHAKE)
    assert (wire_delay_ms(slow, 1), wire_delay_ms(right, 1)) == (pytest.approx(6.1), 0)
    bench(slow, slow, right)
    ((_, kept),) = record([Tale()], tmp_path)
    assert kept is right
    bench(*[slow] * 99)
    with pytest.raises(BenchError, match=r"^tale was not recorded: this machine is too busy"):
        list(record([Tale()], tmp_path))


def test_one_that_fails_keeps_no_other_from_being_recorded(bench, tmp_path):
    bench(BenchError("the sandbox has ended unexpectedly."), trace(EXCHANGE), trace(EXCHANGE))
    recorded = []
    with pytest.raises(BenchError, match=r"^. was not recorded: the sandbox has ended unexpectedly"):
        recorded.extend(record([Tale(name) for name in "abc"], tmp_path))
    assert len(list(tmp_path.iterdir())) == 6


def test_where_linux_cannot_be_had_the_bench_says_why(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sandboxes, "why_not", lambda: "it needs Linux, and this is win32.")
    assert cli.main(["record", "--into", str(tmp_path)]) == 2
    told = "tcplab: the Linux bench can't run here: it needs Linux, and this is win32.\n"
    assert capsys.readouterr() == ("", told) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--into", "nowhere"], "nowhere is not a folder that can be written to"),
        (["keepaliv"], "no experiment 'keepaliv': did you mean keepalive?"),
        (["--json"], "record does not know '--json'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words, says, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["record", *words]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith(f"tcplab: {says}") and told.err.count("\n") == 1


def test_long_packets_are_cut_and_their_length_is_kept(tmp_path):
    whole, cut = tmp_path / "whole.pcap", tmp_path / "cut.pcap"
    told = trace(EXCHANGE + "    1  s PA 201 41 1400\n")
    whole.write_bytes(pcap_bytes(told))
    cut.write_bytes(pcap_bytes(told, snaplen=SNAPLEN))
    assert max(len(frame.data) for frame in Frames(cut)) == SNAPLEN
    assert [f.wire for f in Frames(cut)] == [f.wire for f in Frames(whole)]
    assert [p.segment for p in read_capture(cut).packets] == [p.segment for p in read_capture(whole).packets]
