"""1,000,000 requests to a connection pool: `pool` against SimPy's own resources, in one run.

`python benchmarks/pool.py [--requests N]`. Both play the same requests in the same nanoseconds and
must give the same answers: errors, dead connections checked out, probes, and every latency.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import simpy

from tcplab.studies.pool import ACK_DELAY, BreakPlan, BreakRun, Pool
from tcplab.studies.study import NEVER

RATE, WANTED = 200, 8

#: (errors, acquire timeouts, zombies, probes, latencies in order)
Answers = tuple[int, int, int, int, list[int]]


def with_simpy(plan: BreakPlan) -> Answers:
    """A slot for each connection of the pool, and a process for each request.

    Plays probe = none, test_on_borrow and test_on_return, a restart and a silent drop.
    """
    env = simpy.Environment()
    slots = simpy.PriorityResource(env, plan.size)
    idle = deque([0] * plan.size)  # when each connection was opened
    errors = timeouts = zombies = probes = 0
    latencies: list[int] = []
    on_borrow, on_return = plan.probe == "test_on_borrow", plan.probe == "test_on_return"
    given_up = -1

    def exchange(born: int, takes: int) -> tuple[bool, int]:
        """Whether there is an answer, and how long until it or the error."""
        start, died = env.now, plan.break_at
        if born > died or start + takes <= died:
            return True, takes
        if plan.is_announced:
            return False, max(0, died - start)
        acknowledged = died - start >= 2 * plan.latency + ACK_DELAY
        return False, min(NEVER if acknowledged else plan.detection, plan.socket_timeout)

    def ready_after() -> int:
        meets = env.now + plan.round_trip > plan.break_at and env.now < plan.up_at
        return (plan.up_at - env.now if meets else 0) + plan.round_trip

    def replaced(slot: Any) -> Any:
        yield env.timeout(ready_after())
        idle.append(env.now)
        slots.release(slot)

    def discard(slot: Any, born: int) -> None:
        """What was found dead; with it all that are as old are given up, if that is the rule."""
        nonlocal given_up
        if plan.all_at_once:
            given_up = env.now if born > given_up else given_up
            idle.append(born)
            slots.release(slot)
        else:
            env.process(replaced(slot))

    def request(arrived: int) -> Any:
        nonlocal errors, timeouts, zombies, probes
        while True:
            left = arrived + plan.acquire_timeout - env.now
            slot = slots.request(priority=arrived)
            if plan.acquire_timeout == NEVER:
                yield slot
            elif left <= 0 or slot not in (yield slot | env.timeout(left)):
                slot.cancel()
                slots.release(slot)
                errors, timeouts = errors + 1, timeouts + 1
                latencies.append(env.now - arrived)
                return
            born = idle.pop() if plan.is_lifo else idle.popleft()
            is_fresh = born <= given_up
            if is_fresh:
                wait = ready_after()
                if env.now + wait >= arrived + plan.acquire_timeout:
                    errors, timeouts = errors + 1, timeouts + 1
                    latencies.append(plan.acquire_timeout)
                    env.process(replaced(slot))
                    return
                yield env.timeout(wait)
                born = env.now
            dead = born <= plan.break_at <= env.now
            if on_borrow and not is_fresh:
                probes += 1
                good, wait = exchange(born, plan.round_trip)
                yield env.timeout(wait)
                if not good:
                    zombies += 1
                    discard(slot, born)
                    continue
            elif dead:
                zombies += 1
            good, wait = exchange(born, plan.query)
            yield env.timeout(wait)
            latencies.append(env.now - arrived)
            if not good:
                errors += 1
                discard(slot, born)
                return
            if on_return:
                probes += 1
                good, wait = exchange(born, plan.round_trip)
                yield env.timeout(wait)
                if not good:
                    discard(slot, born)
                    return
            idle.append(born)
            slots.release(slot)
            return

    def arrivals() -> Any:
        for moment in plan.arrivals:
            if moment > env.now:
                yield env.timeout(moment - env.now)
            env.process(request(moment))

    env.process(arrivals())
    env.run()
    return errors, timeouts, zombies, probes, sorted(latencies)


def answers(plan: BreakPlan) -> Answers:
    """Ours in the same form."""
    run = BreakRun(plan)
    run.play()
    usual = [plan.usual] * (len(plan.arrivals) - len(run.unusual))
    latencies = sorted([*usual, *(took for _, took, _ in run.unusual)])
    errors = sum(not answer for _, _, answer in run.unusual)
    return errors, run.timeouts, run.zombies, run.probes, latencies


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    gc.collect()
    began = time.perf_counter()
    given = call()
    return time.perf_counter() - began, given


def main() -> None:
    """Print one JSON object for each case; stop where an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    requests = parser.parse_args().requests
    for case in ({}, {"order": "fifo"}, {"probe": "test_on_borrow"}, {"arrivals": "poisson"}):
        values: dict[str, Any] = {"breaks": "server_restart", "max_lifetime_s": 0, "acquire_timeout_s": 0}
        study = Pool(**values, **case, rate_per_s=RATE, duration_s=requests / RATE)
        plan = study.plan()
        ours, _ = timed(lambda plan=plan: BreakRun(plan).play())  # type: ignore[misc]
        whole, _ = timed(study.simulate)
        theirs, seen = timed(lambda plan=plan: with_simpy(plan))  # type: ignore[misc]
        assert answers(plan) == seen, f"SimPy differs: {case}"
        print(
            json.dumps(
                case
                | {
                    "requests": len(plan.arrivals),
                    "seconds": round(ours, 3),
                    "with_curves_seconds": round(whole, 3),
                    "simpy_seconds": round(theirs, 2),
                    "simpy_by_ours": round(theirs / ours, 1),
                    "simpy_by_curves": round(theirs / whole, 1),
                    "wanted": WANTED,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
