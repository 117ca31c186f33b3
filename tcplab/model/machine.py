"""What sockets need of the machine that holds them, and the halves of a connection of the whole.

These protocols keep imports in one direction: only `stack.py` knows all kinds of sockets.
"""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

from tcplab.core.releases import Release
from tcplab.core.segment import Endpoint, Segment
from tcplab.model.rules import Sysctls, TcpOptions


class FourTuple(Protocol):
    """What a machine keeps under a pair of endpoints: a socket, or a timewait socket."""

    local: Endpoint
    remote: Endpoint
    state: str


class Machine(Protocol):
    """One machine, as its sockets use it."""

    release: Release
    sysctls: Sysctls
    random: Random
    #: What was done with the segment just received, if it was a RST.
    verdict: str

    def transmit(self, segment: Segment) -> None:
        """Queue one segment for the wire."""

    def refuse(self, segment: Segment) -> None:
        """Answer a segment that no socket wants with a RST."""

    def count(self, counter: str) -> None:
        """Add one to a counter of `nstat`."""

    def ticks(self, wait: int) -> int:
        """A wait rounded up to whole timer ticks."""

    def clock(self, now: int) -> int:
        """The clock of the timestamp option, milliseconds."""

    def stop_listening(self, local: Endpoint) -> None:
        """No listener has this port any more."""

    def inherit(self, socket: FourTuple) -> None:
        """Register a listener's half-open socket; it shares the listener's port."""

    def has_room_for_time_wait(self) -> bool:
        """False, and counted, while there are tcp_max_tw_buckets timewait sockets."""

    def replace(self, now: int, socket: FourTuple, rest: FourTuple) -> None:
        """Put the timewait socket `rest` in the place of `socket`."""

    def forget(self, socket: FourTuple) -> None:
        """The four-tuple is free."""


class SynQueue(Protocol):
    """A listener, as its half-open sockets use it."""

    def synack_retries(self) -> int:
        """How often a SYN-ACK is repeated now."""

    def drop_request(self, request: Any) -> None:
        """A request is over."""


class Connection(Protocol):
    """A connection, as its sender and its receiver use it."""

    machine: Machine
    options: TcpOptions
    state: str
    #: The listener whose queue the connection waits in.
    listener: SynQueue | None
    #: No application holds the socket.
    orphan: bool
    read_closed: bool
    sack: bool
    timestamps: bool
    #: Probes since the last answer.
    probes_out: int

    def emit(self, now: int, flags: int, *, seq: int, length: int = 0) -> None:
        """Send one segment."""

    def send_ack(self, now: int) -> None:
        """Send a pure acknowledgement."""

    def new_data_sent(self, now: int) -> None:
        """The application's data has left for the first time."""

    def heard(self, now: int) -> None:
        """An acceptable acknowledgement has come."""

    def fail(self, now: int, error: str) -> None:
        """A timer has given up: the next call gets `error`."""
