"""Where scripts run: the verbs, the benches that offer them, and what is read from a run afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from tcplab.bench.script import ScriptError, Story, StudyScript
from tcplab.core.connections import acks
from tcplab.core.knobs import ParameterError
from tcplab.core.releases import Release, known_release
from tcplab.core.segment import Endpoint, seq_diff
from tcplab.core.trace import Deadline, Packet, SocketSample, Ticks, Trace
from tcplab.follow import classify
from tcplab.model.sender import LARGEST_BUFFER

if TYPE_CHECKING:
    from tcplab.bench.sandbox import BenchError, Sandbox

__all__ = ["Story", "StudyScript", "run", "run_all", "user_timeouts"]


def run(
    experiment: Story,
    bench: str = "model",
    progress: Callable[[float, int], None] | None = None,
    *,
    sandbox: Sandbox | None = None,
    timer_delay: float = 0,
    delayed_host: str = "",
    tell: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    ticks: Ticks | None = None,
    rules: Release | None = None,
) -> Trace:
    """Run an experiment and return its trace, with the outcome filled in.

    `bench` is `model`, `linux` or `linux:6.1`, that kernel in virtual time (`run_all`); on Linux
    `progress` is called at intervals with the seconds since the run began and the segments so far.
    `sandbox`: use this one on Linux. `tell` and `cancelled`: for a kernel in virtual time, as in `run_all`.
    `timer_delay`: the share by which the model's timers fire late (not in a study), on all hosts or on
    `delayed_host` alone. `ticks`: they fire with a timer wheel that ticks like this, see `run_on_model`.
    `rules`: the model follows these, not its version's. Raises `ParameterError` for a bench that doesn't
    exist, `tcplab.bench.sandbox.BenchError` where Linux is not available.
    """
    if bench == "model" and isinstance(experiment, StudyScript):
        return experiment.simulated()
    if bench == "model":
        from tcplab.bench.model import run_on_model

        late: dict[str, Any] = {"timer_delay": timer_delay, "delayed_host": delayed_host}
        trace = run_on_model(experiment, **late, ticks=ticks, rules=rules)
    elif bench == "linux":
        from tcplab.bench.sandbox import run_on_linux

        if isinstance(experiment, StudyScript):
            experiment.check_for_linux()
        trace = run_on_linux(experiment, sandbox, progress)
    elif bench.startswith("linux:"):
        (made,) = _on_kernel(bench.removeprefix("linux:"), [experiment], tell, cancelled, progress)
        if isinstance(made[1], Exception):
            raise made[1]
        trace = made[1]
    else:
        raise ParameterError(f"bench = {bench!r} is not one of model, linux, linux:VERSION.")
    return _finished(experiment, trace)


def run_all(
    kernel: str,
    experiments: Sequence[Story],
    progress: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Trace | str]]:
    """Run experiments on Linux `kernel` (`6.1`) in virtual time, in one boot of it.

    Yields the index of each and its trace as `run` returns it, or a sentence that gives the reason why not.
    `progress` is called with a sentence about the progress. Raises `tcplab.bench.sandbox.BenchError` where
    that kernel is not available or does not boot, its `Cancelled` soon after `cancelled()` is true.
    """
    for index, made in _on_kernel(kernel, experiments, progress, cancelled):
        yield index, str(made) if isinstance(made, Exception) else _finished(experiments[index], made)


def _on_kernel(
    kernel: str,
    experiments: Sequence[Story],
    tell: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[float, int], None] | None = None,
) -> Iterator[tuple[int, Trace | BenchError | ScriptError]]:
    from tcplab.bench.kernels import traces

    for experiment in experiments:
        if isinstance(experiment, StudyScript):
            experiment.check_for_linux()
    progress = progress or (lambda seconds, segments: None)
    yield from traces(kernel, experiments, tell, cancelled, progress=progress)


def _finished(experiment: Story, trace: Trace) -> Trace:
    """The trace, completed by the kinds of its packets, its deadlines and its outcome."""
    classify(trace.packets)
    trace.deadlines = sorted([*trace.deadlines, *user_timeouts(trace)], key=attrgetter("t"))
    trace.outcome = experiment.outcome(trace)
    return trace


# ----------------------------------------------------------------------
# When TCP_USER_TIMEOUT is over: ss does not show it, but the segments say since when it runs.
#
# Linux counts from the first timeout of what is in flight (net/ipv4/tcp_timer.c:retransmits_timed_out; of a
# SYN from the first one), from the first window probe (tcp_probe_timer), and where only keepalive probes
# from the last segment that came (tcp_keepalive_timer). Until the first timeout the deadline is set as if
# it came at once.

#: When something passes, what it means here, and the packet or sample.
_Passing = tuple[int, Callable[[Any], None], Any]


def user_timeouts(trace: Trace) -> Iterator[Deadline]:
    """The deadlines of every socket that has a user timeout; kinds of packets are read already."""
    of_probes = known_release(trace.linux).user_timeout_of_probes == "elapsed"
    for (host, local, remote), limit in trace.user_timeouts.items():
        samples = [s for s in trace.sockets if (s.host, s.local, s.remote) == (host, local, remote)]
        end = next((s.t for s in samples if s.state == "CLOSED"), trace.end)
        since, due = _Since(any(s.timer == "keepalive" for s in samples), of_probes), None
        passing: list[_Passing] = [*since.passing(trace, host, local, remote)]
        passing += ((s.t, since.sampled, s) for s in samples)
        for t, happens, what in sorted(passing, key=itemgetter(0)):
            if t >= end:
                break
            happens(what)
            began = since.began
            if due != (due := None if began is None else began + limit):
                yield Deadline(t, host, "user timeout", t if due is None else due)
        if due is not None:
            yield Deadline(end, host, "user timeout", end)


class _Since:
    """Since when the user timeout of one socket runs."""

    def __init__(self, has_keepalive: bool, of_probes: bool) -> None:
        self.has_keepalive = has_keepalive
        #: A closed window has a time limit; where unanswered probes are counted, it is not known before.
        self.of_probes = of_probes
        #: (end, when first sent) of what is not acknowledged.
        self.flight: list[tuple[int, int]] = []
        self.repeating: int | None = None
        self.probing: int | None = None
        self.heard: int | None = None
        self.last_sent = self.widest = 0

    def passing(self, trace: Trace, host: str, local: Endpoint, remote: Endpoint) -> Iterator[_Passing]:
        """What the socket sends and receives."""
        for packet in trace.packets:
            ends = packet.segment.source, packet.segment.destination
            if ends == (local, remote) and packet.sender == host:
                yield packet.t, self.sent, packet
            elif ends == (remote, local) and packet.receiver == host and packet.arrives is not None:
                yield packet.arrives, self.received, packet

    @property
    def began(self) -> int | None:
        """None while it does not run."""
        if self.flight:
            return self.flight[0][1] if self.repeating is None else self.repeating
        return self.heard if self.probing is None and self.has_keepalive else self.probing

    def sent(self, packet: Packet) -> None:
        """A segment leaves."""
        segment = packet.segment
        if packet.kind == "window_probe":
            if self.of_probes and self.probing is None:
                self.probing = packet.t
        elif segment.end_seq != segment.seq:
            self.last_sent = packet.t
            if packet.kind != "retransmission":
                self.flight.append((segment.end_seq, packet.t))

    def received(self, packet: Packet) -> None:
        """A segment has come."""
        self.heard = packet.arrives
        segment = packet.segment
        if not acks(segment):
            return
        left = [each for each in self.flight if seq_diff(each[0], segment.ack) > 0]
        if len(left) < len(self.flight):
            self.flight, self.repeating = left, None
        self.widest = max(self.widest, segment.window)
        # The window must hold the whole next buffer (tcp_ack_probe), which is about so long.
        if segment.window >= min(self.widest // 2, LARGEST_BUFFER):
            self.probing = None

    def sampled(self, sample: SocketSample) -> None:
        """ss counts timeouts, and no tail loss probes."""
        if sample.timer == "on" and sample.unanswered and sample.state != "SYN_SENT" and self.flight:
            self.repeating = self.last_sent if self.repeating is None else self.repeating
