"""The small twin of `port_churn` on real Linux: a few ports, a few seconds, the same questions.

TIME_WAIT is 60 s in Linux whatever one does, so a run of seconds can't see its end. It sees that the
ports run out when they should, that nothing but the passing of time brings them back, and what
tcp_tw_reuse and a server that closes first change about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tcplab.knobs import ParameterError
from tcplab.trace import SECOND, Call, Trace

if TYPE_CHECKING:
    from tcplab.bench.script import Bench, Host, Listener
    from tcplab.fleet.churn import PortChurn

Churn = TypeVar("Churn", bound="PortChurn")

#: What a run on Linux can bear: ports, seconds, attempts.
MOST_PORTS, LONGEST_S, MOST_ATTEMPTS = 60, 20, 800
FIRST_PORT, SERVER_PORT = 60_000, 5432
#: A close on a busy machine takes a round trip and so much more, seconds.
_CLOSE_S = 0.025
_EARLY_S = 0.01


def check(churn: PortChurn) -> None:
    """Raise `ParameterError` where these parameters are too much for a run on real Linux."""
    attempts = churn.rate_per_s * churn.duration_s
    refused = {
        f"ports = {churn.ports}: at most {MOST_PORTS}": churn.ports > MOST_PORTS,
        f"ports = {churn.ports}: an even number, since Linux leaves one of an odd range unused": (
            churn.ports % 2 and churn.ports > 1
        ),
        f"duration_s = {churn.duration_s:g}: at most {LONGEST_S}": churn.duration_s > LONGEST_S,
        f"time_wait_s = {churn.time_wait_s:g}: 60, which is built into Linux": churn.time_wait_s != 60,
        f"sources = {churn.sources}: 1, since its client has one address": churn.sources > 1,
        f"rate_per_s = {churn.rate_per_s:g} makes {attempts:,.0f} attempts: at most {MOST_ATTEMPTS}": (
            attempts > MOST_ATTEMPTS
        ),
    }
    for says, is_wrong in refused.items():
        if is_wrong:
            raise ParameterError(f"{says}, on the Linux bench.")


async def play(churn: PortChurn, bench: Bench) -> None:
    """Every attempt at its time, each as a program of its own."""
    client, server = bench.hosts("client", "server")
    client.set(ip_local_port_range=(FIRST_PORT, FIRST_PORT + churn.ports - 1), tcp_tw_reuse=churn.tw_reuse)
    listeners = [
        await server.listen(SERVER_PORT + i, backlog=MOST_ATTEMPTS) for i in range(churn.destinations)
    ]
    began = bench.now()

    async def attempt(at: float, destination: int, listener: Listener, client: Host, server: Host) -> None:
        await bench.sleep(max(0.0, began + at - bench.now()))
        opened, connection = await client.connect(server, SERVER_PORT + destination)
        if not opened.ok:
            return
        accepted = await listener.accept()
        await bench.sleep(max(0.0, began + at + churn.hold_s - bench.now()))
        first, second = (connection, accepted) if churn.closer == "client" else (accepted, connection)
        await first.close()
        await second.receive()
        await second.close()

    load = churn.load()
    attempts = []
    for i, t in enumerate(load.arrivals):
        to = i % churn.destinations
        attempts.append(attempt(t / load.second, to, listeners[to], client, server))
    await bench.together(*attempts)
    await bench.sleep(max(0.0, began + churn.duration_s - bench.now()))


def read(churn: PortChurn, trace: Trace) -> dict[str, Any]:
    """What the run came to, from its calls and from what `ss` showed."""
    attempts = sorted(
        (call for call in trace.calls if call.host == "client" and call.call.startswith("connect(")),
        key=lambda call: call.began,
    )
    start = attempts[0].began if attempts else 0
    end = start + round(churn.duration_s * SECOND)
    outages: list[tuple[int, int]] = []
    first: Call | None = None
    for call in attempts:
        if call.result != "ok":
            first = first or call
        elif first is not None:
            outages.append((first.began, call.began))
            first = None
    if first is not None:
        outages.append((first.began, end))
    opened = sum(call.result == "ok" for call in attempts)
    return {
        "opened": opened,
        "refused": len(attempts) - opened,
        "first_refusal_s": (outages[0][0] - start) / SECOND if outages else None,
        "longest_outage_s": max((until - since for since, until in outages), default=0) / SECOND,
        "peak_time_wait": _most_in_time_wait(trace, end),
    }


def _most_in_time_wait(trace: Trace, end: int) -> int:
    waiting: set[tuple[Any, Any]] = set()
    most = 0
    for sample in trace.sockets:
        if sample.host == "client" and sample.t < end:
            socket = (sample.local, sample.remote)
            (waiting.add if sample.state == "TIME_WAIT" else waiting.discard)(socket)
            most = max(most, len(waiting))
    return most


def nearby(churn: Churn) -> list[Churn]:
    """The same with closes that take as long as on Linux, or attempts that come a little late.

    Where these tell something else, a comparison would be chance.
    """
    later = churn.hold_s + 2 * churn.latency_ms / 1000 + _CLOSE_S
    return [churn.with_values(hold_s=hold) for hold in (later, max(0.0, churn.hold_s - _EARLY_S))]
