"""What sockets need of the machine that holds them, and the halves of a connection of the whole.

These protocols keep imports in one direction: only `stack.py` knows all kinds of sockets. What a
method does is written at its implementation.
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
    """A `Stack`, as its sockets use it."""

    release: Release
    sysctls: Sysctls
    random: Random
    verdict: str

    def transmit(self, segment: Segment) -> None: ...
    def refuse(self, segment: Segment) -> None: ...
    def count(self, counter: str) -> None: ...
    def ticks(self, wait: int) -> int: ...
    def rto_max(self, options: TcpOptions) -> int: ...
    def deadline(self, now: int, wait: int, since: int | None = None) -> int: ...
    def mean_delay(self, wait: int) -> int: ...
    def clock(self, now: int) -> int: ...
    def stop_listening(self, local: Endpoint) -> None: ...
    def inherit(self, socket: FourTuple) -> None: ...
    def has_room_for_time_wait(self) -> bool: ...
    def replace(self, now: int, socket: FourTuple, rest: FourTuple) -> None: ...
    def forget(self, socket: FourTuple) -> None: ...


class SynQueue(Protocol):
    """A `ListenSocket`, as its half-open sockets use it."""

    def synack_retries(self) -> int: ...
    def drop_request(self, request: Any) -> None: ...


class OwningSocket(Protocol):
    """A `Socket`, as its sender and its receiver use it."""

    machine: Machine
    options: TcpOptions
    state: str
    listener: SynQueue | None
    orphan: bool
    read_closed: bool
    fin_received: bool
    sack: bool
    timestamps: bool
    probes_out: int
    last_received: int

    @property
    def sack_bytes(self) -> int: ...
    def emit(self, now: int, flags: int, *, seq: int, length: int = 0) -> None: ...
    def send_ack(self, now: int) -> None: ...
    def new_data_sent(self, now: int) -> None: ...
    def heard(self, now: int) -> None: ...
    def fail(self, now: int, error: str) -> None: ...
