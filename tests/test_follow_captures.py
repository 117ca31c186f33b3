"""Every recording: the follower, the findings, the replay and what_if say the same of it."""

from pathlib import Path

import pytest

from tcplab import diagnose, read_capture
from tcplab.core.knobs import ParameterError
from tcplab.follow import KEEPALIVE, OTHER, WINDOW_PROBE, EndStates, Followed
from tcplab.model.rules import ACCEPTED, CLOSED, STATES
from tcplab.what_if.workload import workload

CAPTURES = sorted((Path(__file__).resolve().parents[1] / "data" / "captures").glob("*.pcap"))
#: Findings that say that a side got no answer.
SILENT = {"dead_peer", "idle_then_dead", "keepalive_death", "cookie_ghost_suspected"}


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_all_agree(path):
    capture = read_capture(path)
    for connection in diagnose(capture).connections:
        trace = capture.connection(connection.number)
        followed, ends = Followed(trace), EndStates(trace)
        places = {frame: i for i, frame in enumerate(capture.frames(connection.number))}
        findings = {
            (finding.code, finding.facts.get("side")): [places.get(frame) for frame in finding.frames]
            for finding in connection.findings
        }
        codes = {code for code, _ in findings}
        # RSTs: the verdict, which one ended it, and what the replay draws.
        accepted = [reset.place for reset in followed.resets if reset.verdict == ACCEPTED]
        named = ("reset_by_", "reset_after_close")
        reset_by = [found[0] for (code, _), found in findings.items() if code.startswith(named)]
        assert accepted == reset_by == [i for i in (followed.ended_by,) if i is not None]
        assert [i for i, p in enumerate(ends.trace.packets) if p.verdict == ACCEPTED] == accepted
        # Probes, silence and closed windows.
        assert findings.get(("keepalive_death", _prober(followed)), []) == followed.keepalive_death
        for side in OTHER:
            assert findings.get(("zero_window", side), []) == followed.stalled(side)[1]
            for code in ("dead_peer", "idle_then_dead"):
                assert findings.get((code, side), []) in ([], followed.unanswered_data(side))
        for i, packet in enumerate(trace.packets):
            if packet.kind in (KEEPALIVE, WINDOW_PROBE):
                assert i not in followed.unacknowledged(packet.sender) or packet.kind == WINDOW_PROBE
        # States: at the end nothing is open that the findings call over.
        last = {end.host: end.state for end in ends.at(trace.end)}
        assert set(last.values()) <= {*STATES}
        if reset_by:
            assert last[trace.packets[reset_by[0]].sender] == CLOSED
        if connection.state == "closed":
            assert "ESTABLISHED" not in last.values()
        try:
            unanswered = workload(trace).unanswered
        except ParameterError:
            continue
        if codes & SILENT:
            assert unanswered is not None


def _prober(followed):
    death = followed.keepalive_death
    return followed.packets[death[-1]].sender if death else None
