"""What `ss -tno` and `nstat` would show inside one host, taken while it happens.

Sources: sock_diag(7), include/uapi/linux/inet_diag.h (the messages), net/ipv4/inet_diag.c:
inet_csk_diag_fill and inet_twsk_diag_fill (queues and timers).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator

from tcplab.segment import Endpoint
from tcplab.trace import MILLISECOND, CounterSample, SocketSample

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _NLMSG_DONE = 20, 3
_REQUEST_DUMP = 0x301
_ALL_STATES = 0xFFF
_MESSAGE = struct.Struct("=4B2H4s12x4s12x4x8x5I")
_PORTS = struct.Struct("!2H")

#: include/net/tcp_states.h, in the words of RFC 9293 section 3.3.2.
STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT_1", 5: "FIN_WAIT_2", 6: "TIME_WAIT",
    7: "CLOSED", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN_RECV",
}  # fmt: skip
#: idiag_timer in ss's words.
TIMERS = {1: "on", 2: "keepalive", 3: "timewait", 4: "persist"}
#: A timer's remaining time is told in whole ticks: less than this is no change.
_JITTER = 12 * MILLISECOND

_Key = tuple[Endpoint, Endpoint]


class Console:
    """One host's sockets and counters; make it inside the host's network, use it anywhere."""

    def __init__(self, host: str, before: Console | None = None) -> None:
        self._host = host
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._files = [os.open(f"/proc/net/{name}", os.O_RDONLY) for name in ("snmp", "netstat")]
        self._known: dict[_Key, SocketSample] = {}
        self._texts = [b"", b""]
        self._zero: dict[str, int] = {}
        self._values: dict[str, int] = {}
        self.counters(0)
        self._zero, self._values = self._values, {}
        if before:  # the host has rebooted: what it had is gone, and counts again from zero
            self._known, self._values, self._texts = before._known, before._values, [b"", b""]

    def close(self) -> None:
        """Let go of the host's network."""
        self._netlink.close()
        for descriptor in self._files:
            os.close(descriptor)

    def sockets(self, clock: Callable[[], int]) -> list[SocketSample]:
        """A line for each socket that has changed since the last look, or is gone (CLOSED)."""
        changed = []
        messages = list(self._dump())
        now = clock()  # not before the answer: what it tells is true by now
        samples = [self._sample(now, data, at) for data, at in messages]
        seen = {(sample.local, sample.remote): sample for sample in samples}
        for key, sample in seen.items():
            known = self._known.get(key)
            if known is None or _differ(known, sample):
                self._known[key] = sample
                changed.append(sample)
        for key in [key for key in self._known if key not in seen]:
            del self._known[key]
            changed.append(SocketSample(now, self._host, *key, "CLOSED"))
        return changed

    def _dump(self) -> Iterator[tuple[bytes, int]]:
        """A message for every TCP socket, those in TIME_WAIT and half-open requests included."""
        query = struct.pack("=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES)
        header = struct.pack("=IHHII", 16 + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
        self._netlink.send(header + query)
        while True:
            data = self._netlink.recv(65536)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == _NLMSG_DONE:
                    return
                if kind == _SOCK_DIAG_BY_FAMILY:
                    yield data, at + 16
                at += (length + 3) & ~3

    def _sample(self, now: int, data: bytes, at: int) -> SocketSample:
        _, state, timer, unanswered, _, _, source, target, expires, recv_q, send_q, _, _ = (
            _MESSAGE.unpack_from(data, at)
        )
        source_port, target_port = _PORTS.unpack_from(data, at + 4)
        running = TIMERS.get(timer, "")
        return SocketSample(
            now,
            self._host,
            Endpoint(socket.inet_ntoa(source), source_port),
            Endpoint(socket.inet_ntoa(target), target_port),
            STATES.get(state, str(state)),
            recv_q,
            send_q,
            running,
            now + expires * MILLISECOND if running else None,
            unanswered,
        )

    def counters(self, now: int) -> list[CounterSample]:
        """A line for each counter of TCP that has moved since the last look, counted from the start."""
        changed = []
        for i, descriptor in enumerate(self._files):
            text = os.pread(descriptor, 1 << 16, 0)
            if text == self._texts[i]:
                continue
            self._texts[i] = text
            lines = text.decode("ascii").splitlines()
            for names, values in zip(lines[::2], lines[1::2], strict=True):
                section, *titles = names.split()
                if section not in ("Tcp:", "TcpExt:"):
                    continue
                for title, value in zip(titles, values.split()[1:], strict=True):
                    name = section[:-1] + title
                    moved = int(value) - self._zero.get(name, 0)
                    if self._values.get(name, 0) != moved:
                        self._values[name] = moved
                        changed.append(CounterSample(now, self._host, name, moved))
        return changed


def _differ(one: SocketSample, other: SocketSample) -> bool:
    """True unless only the clock has moved on."""
    if one[4:8] != other[4:8] or one.unanswered != other.unanswered:
        return True
    return one.due is not None and other.due is not None and abs(one.due - other.due) > _JITTER
