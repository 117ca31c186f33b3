"""A socket's hold on a local port, and the words in which `Ports` is asked and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tcplab.segment import Endpoint

#: bind() to no address in particular.
ANY = "0.0.0.0"
#: What a port is called in the map when no connection's state says more.
FREE, RESERVED, BOUND = "FREE", "RESERVED", "BOUND"


class PortError(Exception):
    """No port for this call: its errno name, and why in one sentence."""

    def __init__(self, errno: str, says: str) -> None:
        super().__init__(says)
        self.errno = errno


class Claim:
    """One socket's hold on one port. Whoever owns it keeps `state` and `expires` up to date."""

    __slots__ = (
        "address", "entered", "expires", "heard", "made_by_connect", "port", "remote", "reuse_address",
        "state", "timestamps",
    )  # fmt: skip

    def __init__(
        self, port: int, address: str, remote: Endpoint | None, state: str, *, reuse_address: bool,
        made_by_connect: bool,
    ) -> None:  # fmt: skip
        self.port, self.address, self.remote = port, address, remote
        #: `BOUND` until it listens or connects, then the socket's state.
        self.state = state
        self.reuse_address = reuse_address
        #: connect() chose the port; nobody called bind() for it.
        self.made_by_connect = made_by_connect
        #: Of a minisocket: since when, when it last heard a timestamp, when it ends; nanoseconds.
        self.entered: int | None = None
        self.heard = 0
        self.expires: int | None = None
        #: Both ends used timestamps.
        self.timestamps = False

    @property
    def local(self) -> Endpoint:
        """Its half of the four-tuple."""
        return Endpoint(self.address, self.port)

    def __repr__(self) -> str:
        return f"<{self.local} to {self.remote} {self.state}>"


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that wants a port."""

    verb: Literal["connect", "bind"]
    #: The socket's own address; `ANY` for a bind() to none in particular.
    address: str = ANY
    #: connect(): where to.
    remote: Endpoint | None = None
    #: bind(): which port, 0 = Linux chooses.
    port: int = 0
    #: SO_REUSEADDR is set before.
    reuse_address: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """May a call take a port?"""

    ok: bool
    #: Why, in one sentence.
    says: str
    #: What the call gives if every port says no.
    errno: str | None = None


class Cell(NamedTuple):
    """One port of the map."""

    port: int
    #: `FREE`, `RESERVED`, `BOUND` or the state of its liveliest connection.
    state: str
    #: Nanoseconds until its last TIME_WAIT is over; None where none waits.
    left: int | None
    #: Everybody who holds it.
    claims: tuple[Claim, ...]
