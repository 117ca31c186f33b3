"""1,000,000 attempts to connect: port_churn against a plain heap of events and against SimPy, in one run.

`python benchmarks/churn.py [--attempts N]`. All three play the same attempts in the same whole ticks
and must give the same answers, the curves of ports in use and of TIME_WAIT included.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

import simpy

from tcplab.studies.churn import STEPS, PortChurn
from tcplab.studies.ports_in_turn import Load

#: The study's default: more than the ports can bear, so that some attempts are refused.
RATE = 500
TARGETS = {"heap": 2, "simpy": 8}

#: (opened, refused, first refusal, longest outage, (moment, ports in use)…, (moment, TIME_WAIT)…)
Answers = tuple[int, int, int | None, int, list[tuple[int, int]], list[tuple[int, int]]]


def with_a_heap(load: Load) -> Answers:
    """Ends of connections and of TIME_WAIT in one heap, as numbers: the plain solution."""
    events: list[int] = []
    in_use, waiting = [(0, 0)], [(0, 0)]
    used = in_time_wait = opened = refused = longest = 0
    first = outage = None
    ports, hold, wait, end = load.ports, load.hold, load.time_wait, load.end

    def play_until(t: int) -> None:
        nonlocal used, in_time_wait
        while events and events[0] <= t:
            event = heappop(events)
            moment = event >> 1
            if event & 1:
                used -= 1
                in_time_wait -= 1
                in_use.append((moment, used))
            else:
                in_time_wait += 1
                heappush(events, (moment + wait) << 1 | 1)
            waiting.append((moment, in_time_wait))

    for t in load.arrivals:
        if events and events[0] <= t << 1 | 1:
            play_until(t << 1 | 1)
        if used == ports:
            refused += 1
            if outage is None:
                outage = t
                first = t if first is None else first
            continue
        if outage is not None:
            longest = max(longest, t - outage)
            outage = None
        opened += 1
        used += 1
        in_use.append((t, used))
        heappush(events, (t + hold) << 1)
    play_until((end << 1) - 1)
    if outage is not None:
        longest = max(longest, end - outage)
    return opened, refused, first, longest, in_use, waiting


def with_simpy(load: Load) -> Answers:
    """Timeouts with callbacks, which cost SimPy less than a process for each connection."""
    env = simpy.Environment()
    in_use, waiting = [(0, 0)], [(0, 0)]
    used = in_time_wait = opened = refused = longest = 0
    first = outage = None
    ports, hold, wait, end = load.ports, load.hold, load.time_wait, load.end

    def closed(event: simpy.Event) -> None:
        nonlocal in_time_wait
        in_time_wait += 1
        waiting.append((env.now, in_time_wait))
        env.timeout(wait).callbacks.append(freed)

    def freed(event: simpy.Event) -> None:
        nonlocal used, in_time_wait
        used -= 1
        in_time_wait -= 1
        in_use.append((env.now, used))
        waiting.append((env.now, in_time_wait))

    def attempts() -> Any:
        nonlocal used, opened, refused, first, outage, longest
        for t in load.arrivals:
            if t > env.now:
                yield env.timeout(t - env.now)
            if used == ports:
                refused += 1
                if outage is None:
                    outage = t
                    first = t if first is None else first
                continue
            if outage is not None:
                longest = max(longest, t - outage)
                outage = None
            opened += 1
            used += 1
            in_use.append((t, used))
            env.timeout(hold).callbacks.append(closed)

    env.process(attempts())
    env.run(until=end)
    if outage is not None:
        longest = max(longest, end - outage)
    return opened, refused, first, longest, in_use, waiting


PEERS: dict[str, Callable[[Load], Answers]] = {"heap": with_a_heap, "simpy": with_simpy}


def answers(load: Load, result: Answers) -> dict[str, Any]:
    """What a peer saw, in the words of the study's outcome and series."""
    opened, refused, first, longest, in_use, waiting = result
    edges = load.edges(STEPS)
    curves = {"in_use": low_high(in_use, edges), "time_wait": low_high(waiting, edges)}
    return {
        "opened": opened,
        "refused": refused,
        "first_refusal_s": None if first is None else first / load.second,
        "longest_outage_s": longest / load.second,
        "peak_time_wait": max(value for _, value in waiting),
        **{f"{name}_low": curve[0] for name, curve in curves.items()},
        **{f"{name}_high": curve[1] for name, curve in curves.items()},
    }


def low_high(curve: list[tuple[int, int]], edges: list[int]) -> tuple[list[int], list[int]]:
    """The least and the greatest value of a step curve in each step."""
    last = list(dict(curve).items())  # of several values at one moment the last one counts
    at, value = 0, 0
    low, high = [], []
    for begin, end in pairwise(edges):
        while at < len(last) and last[at][0] <= begin:
            value = last[at][1]
            at += 1
        values = [value]
        while at < len(last) and last[at][0] < end:
            value = last[at][1]
            values.append(value)
            at += 1
        low.append(min(values))
        high.append(max(values))
    return low, high


def timed(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """The median of so many rounds in seconds, and what the last one gave."""
    took = []
    for _ in range(rounds):
        gc.collect()
        gc.disable()  # else it walks again and again through the peers' long lists
        began = time.perf_counter()
        given = call()
        took.append(time.perf_counter() - began)
        gc.enable()
    return statistics.median(took), given


def compare(arrivals: str, attempts: int) -> dict[str, Any]:
    """Seconds of all three on the same attempts; stops where an answer differs."""
    study = PortChurn(rate_per_s=RATE, duration_s=attempts / RATE, arrivals=arrivals)
    load = study.load()
    ours, (outcome, series) = timed(study.simulate, 3)
    found = series | outcome  # both have opened and refused: in all, and step by step
    result: dict[str, Any] = {"arrivals": arrivals, "attempts": len(load.arrivals), "seconds": round(ours, 4)}
    # The peers get random arrivals ready-made; ours draws them itself, so that time is taken off.
    drawing = timed(study.load, 3)[0] if arrivals == "poisson" else 0.0
    result["seconds_of_drawing"] = round(drawing, 4)
    for name, play in PEERS.items():
        seconds, seen = timed(lambda play=play: play(load), 1)  # type: ignore[misc]
        for what, value in answers(load, seen).items():
            assert found[what] == value, f"{name} differs in {what}"
        result[f"{name}_seconds"] = round(seconds, 3)
        result[f"{name}_by_ours"] = round(seconds / (ours - drawing), 1)
    return result


def main() -> None:
    """Print one JSON object for each kind of arrivals, and what it means as one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=1_000_000)
    attempts = parser.parse_args().attempts
    for arrivals in ("constant", "poisson"):
        result = compare(arrivals, attempts)
        print(json.dumps(result))
        targets = " and ".join(f"{target} for {name}" for name, target in TARGETS.items())
        print(
            f"{attempts:,} attempts, {arrivals}: {result['seconds']} s; a heap takes "
            f"{result['heap_by_ours']:g} times as long, SimPy {result['simpy_by_ours']:g} times, with the "
            f"same answers (wanted: at least {targets})."
        )


if __name__ == "__main__":
    main()
