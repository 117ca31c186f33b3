"""Every knob, once: its name, unit, range, Linux's own name for it, and who else calls it what.

A parameter of an experiment is declared as ``idle_s: float = knob(KEEPALIVE_IDLE, default=7200)``.
Slider, command-line flag, validation, table and "settings to paste" all come from that line.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from tcplab.core.releases import NEWEST, UnknownRelease, release
from tcplab.core.text import read_number

#: The largest whole number that is looked at as a number.
_LARGEST = int(sys.float_info.max)


class ParameterError(ValueError):
    """A parameter that can't be used: one sentence with its name, its value and the range."""


@dataclass(frozen=True)
class Knob:
    """One thing that can be turned."""

    #: What a slider says: short, in the field's own words.
    label: str
    kind: type
    #: `s`, `ms`, `bytes` or empty: only for display, names of parameters carry their unit too.
    unit: str = ""
    #: Inclusive range of a number.
    low: float = 0
    high: float = math.inf
    #: Allowed values of a word.
    choices: tuple[Any, ...] = ()
    #: What each of these is called on the screen, in the same order; empty: as it is.
    names: tuple[str, ...] = ()
    #: What a word without fixed choices looks like.
    form: str = ""
    #: One sentence of help.
    help: str = ""
    #: What 0 means, where it means something special (`off`, `never`).
    zero: str = ""
    #: A useful maximum and step for a slider, where `high` is far away.
    slider_high: float | None = None
    step: float = 1
    #: The sysctl, and how many of its units one of ours is (tcp_rto_max_ms: 1000).
    sysctl: str = ""
    sysctl_factor: float = 1
    #: Socket option and its factor (TCP_USER_TIMEOUT counts milliseconds: 1000).
    socket_option: str = ""
    socket_factor: float = 1
    #: libpq's connection parameter and its factor.
    libpq: str = ""
    libpq_factor: float = 1
    #: The Linux version that first had it; empty: all that tcplab models.
    since: str = ""
    #: Only for experiments: never shown as a setting to paste.
    test_only: bool = False

    def word(self, value: Any) -> str:
        """What a choice is called on the screen."""
        return dict(zip(self.choices, self.names, strict=False)).get(value) or str(value)

    def check(self, name: str, value: Any) -> Any:
        """The value in the knob's own type, or `ParameterError` in one sentence."""
        if isinstance(value, str) and self.kind is not str:
            value = self._from_text(name, value)
        if self.choices:
            if value not in self.choices:
                raise ParameterError(f"{name} = {value!r} is not one of {', '.join(map(str, self.choices))}.")
            return value
        if self.kind in (bool, str):
            if not isinstance(value, self.kind):
                what = "a boolean: use true or false" if self.kind is bool else "a word"
                raise ParameterError(f"{name} = {value!r} is not {what}.")
            return value
        if isinstance(value, int) and abs(value) > _LARGEST:  # more than a float can hold
            about = f"{'-' if value < 0 else ''}10^{math.log10(abs(value)):.0f}"
            raise ParameterError(f"{name} = about {about} is out of range: {self.range_text()}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ParameterError(f"{name} = {value!r} is not a number: {self.range_text()}.")
        if self.kind is int and value != int(value):
            raise ParameterError(f"{name} = {value!r} is not a whole number: {self.range_text()}.")
        if not self.low <= value <= self.high:
            raise ParameterError(f"{name} = {value:.12g} is out of range: {self.range_text()}.")
        return self.kind(value)

    def _from_text(self, name: str, text: str) -> Any:
        if self.kind is bool:
            words = {"true": True, "yes": True, "on": True, "1": True}
            words |= {"false": False, "no": False, "off": False, "0": False}
            return words.get(text.strip().lower(), text)
        for number in (int, float):
            with suppress(ValueError):
                return number(text)
        if self.unit == "s" and (seconds := read_number(text, "s")) is not None and math.isfinite(seconds):
            return seconds  # 2h, 1m30s
        raise ParameterError(f"{name} = {text!r} is not a number: {self.range_text()}.")

    def range_text(self) -> str:
        """`0 (off) to 32767 s`, for messages, help and tables."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return self.form
        unit = f" {self.unit}" if self.unit else ""
        low = f"{self.low:.12g}" + (f" ({self.zero})" if self.zero and self.low == 0 else "")
        return f"{low}{unit} or more" if self.high == math.inf else f"{low} to {self.high:.12g}{unit}"


def knob(knob: Knob, *, default: Any) -> Any:
    """A dataclass field that is turned by `knob`."""
    return field(default=default, kw_only=True, metadata={"knob": knob})


DAY = 86_400

LATENCY = Knob(
    "latency, one way", float, "ms", 0, 1000, slider_high=200, test_only=True,
    help="How long a segment travels, in one direction.",
)  # fmt: skip
LINUX = Knob(
    "Linux version", str, help="The kernel version whose rules the model follows.", test_only=True,
    form="3.10, 4.9, 4.18, 5.4, 5.14, 6.1, 6.12, 6.18 or another x.y or x.y.z, or what uname -r says",
)  # fmt: skip
SEED = Knob("seed", int, low=0, high=2**31 - 1, help="Chooses sequence numbers and ports.", test_only=True)
WATCH = Knob(
    "watch for", float, "s", 0, 30 * DAY, zero="long enough for the answer",
    help="How long to wait for something to happen.", test_only=True,
)  # fmt: skip
KEEPALIVE_IDLE = Knob(
    "keepalive: idle", float, "s", 0, 32767, zero="off", slider_high=7200,
    help="Silence before the first probe, counted from the last segment received.",
    sysctl="net.ipv4.tcp_keepalive_time", socket_option="TCP_KEEPIDLE", libpq="keepalives_idle",
)  # fmt: skip
KEEPALIVE_INTERVAL = Knob(
    "keepalive: interval", float, "s", 1, 32767, slider_high=300,
    help="Time after a probe until the next check, whether the probe was answered or not.",
    sysctl="net.ipv4.tcp_keepalive_intvl", socket_option="TCP_KEEPINTVL", libpq="keepalives_interval",
)  # fmt: skip
KEEPALIVE_PROBES = Knob(
    "keepalive: probes", int, "", 1, 127, slider_high=20,
    help="Unanswered probes after which the connection is closed.",
    sysctl="net.ipv4.tcp_keepalive_probes", socket_option="TCP_KEEPCNT", libpq="keepalives_count",
)  # fmt: skip
USER_TIMEOUT = Knob(
    "user timeout", float, "s", 0, DAY, zero="off", slider_high=120,
    help="How long data may stay unacknowledged, a closed window may last, or probes go unanswered.",
    socket_option="TCP_USER_TIMEOUT", socket_factor=1000, libpq="tcp_user_timeout", libpq_factor=1000,
)  # fmt: skip
RETRIES2 = Knob(
    "retries2", int, "", 1, 100, slider_high=20,
    help="How long data is retransmitted: a count that the kernel converts into a time.",
    sysctl="net.ipv4.tcp_retries2",
)  # fmt: skip
RTO_MAX = Knob(
    "longest timeout", float, "s", 1, 120, slider_high=120,
    help="The longest retransmission timeout, at which doubling stops.",
    sysctl="net.ipv4.tcp_rto_max_ms", sysctl_factor=1000,
    socket_option="TCP_RTO_MAX_MS", socket_factor=1000, since="6.15",
)  # fmt: skip
SYN_RETRIES = Knob(
    "SYN retries", int, "", 1, 127, slider_high=10,
    help="How often connect() retransmits its SYN with doubling waits.", sysctl="net.ipv4.tcp_syn_retries",
)  # fmt: skip
SYN_LINEAR_TIMEOUTS = Knob(
    "linear SYN timeouts", int, "", 0, 127, slider_high=10, zero="all waits double",
    help="SYN retransmissions one second apart, before the waits begin to double.",
    sysctl="net.ipv4.tcp_syn_linear_timeouts", since="6.5",
)  # fmt: skip
FIN_TIMEOUT = Knob(
    "fin timeout", float, "s", 1, 32767, slider_high=120,
    help="How long a closed socket waits for the peer's FIN (FIN_WAIT_2). Not TIME_WAIT.",
    sysctl="net.ipv4.tcp_fin_timeout",
)  # fmt: skip
SACK = Knob(
    "SACK", bool, help="Selective acknowledgements; the tail loss probe needs them.",
    sysctl="net.ipv4.tcp_sack",
)  # fmt: skip
RECEIVE_BUFFER = Knob(
    "receive buffer", int, "bytes", 4608, 6291456, slider_high=1 << 20, step=4096,
    help="SO_RCVBUF as getsockopt() shows it: the kernel doubles the value set.",
    socket_option="SO_RCVBUF", socket_factor=0.5,
)  # fmt: skip
WINDOW = Knob(
    "receive window", int, "bytes", 2304, 1 << 20, step=1024, test_only=True,
    help="The most that the receiver may advertise; Linux rounds it down to whole segments.",
)  # fmt: skip
REQUEST = Knob(
    "request", int, "bytes", 1, 14480, slider_high=1448, test_only=True,
    help="What the client sends: a query.",
)  # fmt: skip
RESPONSE = Knob("response", int, "bytes", 1, 14480, help="What the server answers: the rows.", test_only=True)
LONG_RESPONSE = Knob(
    "response", int, "bytes", 1, 10_000_000, help="What the server sends: a large result.", test_only=True,
    slider_high=1_000_000, step=10_000,
)  # fmt: skip
READ_BYTES = Knob(
    "read at a time", int, "bytes", 1, 1 << 20, help="Bytes per recv().", test_only=True, slider_high=65536
)
PERIOD = Knob(
    "every", float, "s", 0, DAY, zero="never", help="Time between two calls.", test_only=True, slider_high=60
)
OFFSET = Knob(
    "offset from RCV.NXT", int, "bytes", -(2**31) + 1, 2**31 - 1,
    help="Where the RST's sequence number lies, counted from the next byte the receiver expects.",
    test_only=True,
)  # fmt: skip
BACKLOG = Knob(
    "backlog", int, "", 0, 65535, slider_high=512,
    help="The accept queue: listen()'s number, cut to net.core.somaxconn; one more than that can wait.",
    sysctl="net.core.somaxconn",
)  # fmt: skip
SYNCOOKIES = Knob(
    "SYN cookies", bool, help="With the SYN queue full, answer without keeping state.",
    sysctl="net.ipv4.tcp_syncookies",
)  # fmt: skip
ABORT_ON_OVERFLOW = Knob(
    "abort on overflow", bool,
    help="With the accept queue full, answer the last step of a handshake with a RST.",
    sysctl="net.ipv4.tcp_abort_on_overflow",
)  # fmt: skip
CONNECTS = Knob("connects", int, "", 1, 2000, help="Clients that connect.", test_only=True, slider_high=320)
#: A pair in one sysctl, and in experiments a range of a few ports: nothing that anybody should paste.
FIRST_PORT = Knob(
    "first local port", int, "", 1024, 65535,
    help="First port of net.ipv4.ip_local_port_range, 1024 or above.", test_only=True,
)  # fmt: skip
LAST_PORT = Knob(
    "last local port", int, "", 1024, 65535, help="Last port of net.ipv4.ip_local_port_range, inclusive.",
    test_only=True,
)  # fmt: skip
LOCAL_PORTS = Knob(
    "local ports", int, "", 1, 100, slider_high=12,
    help="Size of the client's net.ipv4.ip_local_port_range; each port is in use before the last call.",
    test_only=True,
)  # fmt: skip
DESTINATIONS = Knob(
    "destinations", int, "", 1, 20, help="Ports of the server that are used in turn.", test_only=True,
    slider_high=12,
)  # fmt: skip
SOURCES = Knob(
    "client addresses", int, "", 1, 20, test_only=True, slider_high=12,
    help="The client's addresses, used in turn; more than one by bind() with IP_BIND_ADDRESS_NO_PORT.",
)  # fmt: skip
TW_REUSE = Knob(
    "tw_reuse", int, choices=(0, 1, 2), sysctl="net.ipv4.tcp_tw_reuse",
    help="May connect() take a port in TIME_WAIT after a second? 0 never, 1 always, 2 on loopback only.",
)  # fmt: skip
TIMESTAMPS = Knob(
    "timestamps", bool, sysctl="net.ipv4.tcp_timestamps",
    help="The timestamp option; without it no port in TIME_WAIT is reused.",
)  # fmt: skip
#: Linux derives its default from the machine's memory, so no value is offered to paste.
MAX_TW_BUCKETS = Knob(
    "max_tw_buckets", int, "", 0, 262144, zero="no TIME_WAIT at all", slider_high=12,
    help="net.ipv4.tcp_max_tw_buckets: maximum number of TIME_WAIT sockets; beyond it, none is created.",
    test_only=True,
)  # fmt: skip
FIREWALL_IDLE = Knob(
    "firewall: idle timer", float, "s", 0, 30 * DAY, zero="never", slider_high=1200,
    help="Idle time after which a firewall on the path removes the connection; each segment restarts it.",
    test_only=True,
)  # fmt: skip
YES_NO = Knob("yes or no", bool, test_only=True)


def choice(label: str, *choices: str, help: str = "", names: tuple[str, ...] = ()) -> Knob:
    """A knob that is a word out of a few; `names` are what they are called on the screen."""
    return Knob(label, str, choices=choices, names=names, help=help, test_only=True)


def idle(*rules: tuple[object, str, str]) -> dict[str, str]:
    """For `idle_controls`: whether a rule holds, the names it is about, the reason; the first one counts."""
    return {name: why for holds, names, why in reversed(rules) if holds for name in names.split()}


#: The reasons that several experiments give.
KEEPALIVE_OFF = "keepalive is off."
USER_TIMEOUT_DECIDES = "the user timeout decides when the connection ends."


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Base of whatever has parameters: checked when made, so that a wrong one can't exist.

    Raises `ParameterError` with one sentence for the first parameter that is wrong.
    """

    name: ClassVar[str] = ""

    latency_ms: float = knob(LATENCY, default=1)
    linux: str = knob(LINUX, default=NEWEST)
    seed: int = knob(SEED, default=1)

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            checked = each.metadata["knob"].check(each.name, getattr(self, each.name))
            object.__setattr__(self, each.name, checked)
        try:
            release(self.linux)
        except UnknownRelease as unknown:
            raise ParameterError(f"linux = {self.linux!r}: {unknown}") from None

    @classmethod
    def knobs(cls) -> dict[str, Knob]:
        """Parameters by name, those of this class first, the common ones last."""
        common = {each.name for each in dataclasses.fields(Parameters)} | {"watch_s"}
        names = [each.name for each in dataclasses.fields(cls)]
        ordered = [n for n in names if n not in common] + [n for n in names if n in common]
        return {n: cls.__dataclass_fields__[n].metadata["knob"] for n in ordered}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Default values by name."""
        return {each.name: each.default for each in dataclasses.fields(cls)}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From names and values (texts too, as a command line has them)."""
        known = cls.knobs()
        for name in values:
            if name not in known:
                raise ParameterError(f"{cls.name} has no parameter {name!r}; it has {', '.join(known)}.")
        return cls(**values)

    def values(self) -> dict[str, Any]:
        """Every parameter by name, in the order of `knobs()`."""
        return {name: getattr(self, name) for name in self.knobs()}

    def with_values(self, **values: Any) -> Self:
        """A copy with other values, checked again."""
        return type(self).from_values({**self.values(), **values})

    def ignored_by_release(self) -> list[str]:
        """Sentences about knobs turned by hand that the chosen Linux doesn't have."""
        rules = release(self.linux)
        defaults = self.defaults()
        return [
            f"{name} is ignored: Linux {self.linux} has no {knob.sysctl or knob.socket_option}, "
            f"which came with {knob.since}."
            for name, knob in self.knobs().items()
            if knob.since and rules.older_than(knob.since) and getattr(self, name) != defaults[name]
        ]

    def idle_controls(self) -> dict[str, str]:
        """Parameters that change nothing while the others are as they are, each with the reason.

        An explorer dims them. Not all there are: those that a learner would wonder about.
        """
        return {}

    def lines_to_paste(self) -> dict[str, list[str]]:
        """Settings that no single knob tells, as lines by layer (`sysctl` …): mostly none."""
        return {}
