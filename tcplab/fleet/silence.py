"""How long a request to a peer that has vanished waits: the sender's own rules, played once."""

from __future__ import annotations

from collections import deque
from functools import lru_cache

from tcplab.model.stack import Stack
from tcplab.model.states import CLOSED
from tcplab.releases import release
from tcplab.segment import Endpoint, Segment

_CLIENT, _SERVER, _PORT = "10.0.0.1", "10.0.0.2", 5432
#: Bytes of a request and of its answer.
_BYTES = 40


@lru_cache(maxsize=64)
def detection(retries2: int, latency: int, linux: str) -> int:
    """Nanoseconds from the first transmission of a request that stays unanswered to ETIMEDOUT.

    One exchange goes before, so that the sender knows its round-trip time: as in `dead_peer`.
    `latency` is one way, in nanoseconds.
    """
    rules = release(linux)
    stacks = {address: Stack(address, rules) for address in (_CLIENT, _SERVER)}
    client_stack, server_stack = stacks.values()
    client_stack.sysctls.tcp_retries2 = retries2
    on_the_way: deque[tuple[int, Segment]] = deque()
    plugged, now = True, 0

    def send_out() -> None:
        for stack in stacks.values():
            for segment in stack.to_send():
                if plugged:
                    on_the_way.append((now + latency, segment))

    def step() -> bool:
        """Go on to the next moment at which something happens; False when nothing will."""
        nonlocal now
        moments = [due for due in (stack.next_timer() for stack in stacks.values()) if due is not None]
        moments += [on_the_way[0][0]] if on_the_way else []
        if not moments:
            return False
        now = min(moments)
        while on_the_way and on_the_way[0][0] <= now:
            segment = on_the_way.popleft()[1]
            stacks[segment.destination.address].receive(now, segment)
            send_out()
        for stack in stacks.values():
            stack.timer(now)
        send_out()
        return True

    listener = server_stack.listen(_PORT, 1)
    client = client_stack.connect(now, Endpoint(_SERVER, _PORT))
    send_out()
    while step():
        pass
    server = server_stack.call(now, "accept", listener)
    for stack, sender in ((client_stack, client), (server_stack, server)):
        stack.call(now, "send", sender, _BYTES)
        send_out()
        while step():
            pass
    plugged, began = False, now
    client_stack.call(now, "send", client, _BYTES)
    send_out()
    while client.state != CLOSED and step():
        pass
    return now - began
