"""Namespaces, one machine's network in each, and its consoles: what needs Linux's own calls.

Everything here acts on the calling process and needs no rights outside its user namespace.
ctypes, since os.unshare and os.setns came with Python 3.12. Sources: user_namespaces(7),
network_namespaces(7), rtnetlink(7), netdevice(7), capabilities(7); for the console sock_diag(7),
include/uapi/linux/inet_diag.h, net/ipv4/inet_diag.c (inet_csk_diag_fill, inet_twsk_diag_fill).
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tcplab.bench.sandbox import Refused
from tcplab.core.segment import Endpoint
from tcplab.core.text import MILLISECOND
from tcplab.core.trace import CounterSample, SocketSample

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
#: The user inside: not root, since database servers refuse to run as root.
INSIDE_ID = 1000
#: The two rights that programs started inside (nft, tcpdump) keep: CAP_NET_ADMIN, CAP_NET_RAW.
KEPT_CAPABILITIES = (12, 13)
#: A sysctl that every network namespace has.
_PROBE = "/proc/sys/net/ipv4/tcp_retries2"
_MNT_DETACH = 2
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _system(name: str, *arguments: object) -> None:
    """Call the C library; raises OSError."""
    if getattr(_libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Turn an OSError in here into this machine's refusal of one step."""
    try:
        yield
    except OSError as error:
        raise Refused(name, error.errno or 0) from error


def enter() -> None:
    """Move into new user, mount, network and pid namespaces; the next child is the latter's first.

    Only a process with a single thread may (EINVAL). Raises `Refused`.
    """
    uid, gid = os.getuid(), os.getgid()
    with step("unshare"):
        _system("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)
    with step("map"):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid or INSIDE_ID} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid or INSIDE_ID} {gid} 1")
        _system("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        _keep_capabilities()


def mount_proc() -> None:
    """A /proc of the new pid namespace, unless a container forbids it or its sysctls could not be set.

    Before Linux 6.11 and the stable kernels that have its 98ca62ba9e2b, a file in /proc/sys/net belongs to
    user 0 of the user namespace in which this /proc was mounted, or else to the user nobody
    (fs/inode.c:inode_init_always, net/sysctl_net.c:net_ctl_set_ownership). The sandbox has no user 0, since
    database servers refuse to run as root; and files of nobody can't be written
    (fs/namei.c:inode_permission, HAS_UNMAPPED_ID), even where net_ctl_permissions allows it. In the machine's
    /proc they belong to its root. Which network's sysctls a process sees does not depend on the mount.
    """
    with suppress(OSError):
        _system("mount", b"proc", b"/proc", b"proc", 0, None)
        try:
            os.close(os.open(_PROBE, os.O_WRONLY))
        except PermissionError:
            _system("umount2", b"/proc", _MNT_DETACH)


def _keep_capabilities() -> None:
    """Let programs that are started inside keep the rights of `KEPT_CAPABILITIES`."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; twice
    _system("capget", header, data)
    words = list(struct.unpack("=6I", data.raw))
    for capability in KEPT_CAPABILITIES:
        words[2] |= 1 << capability
    _system("capset", header, struct.pack("=6I", *words))
    for capability in KEPT_CAPABILITIES:
        _system("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


class NetworkNamespace:
    """A network namespace, kept by a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def current(cls) -> NetworkNamespace:
        """The one this process is in."""
        return cls(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls, home: NetworkNamespace) -> NetworkNamespace:
        """A fresh one; the process stays `home`."""
        _system("unshare", CLONE_NEWNET)
        try:
            return cls.current()
        finally:
            _system("setns", home.descriptor, CLONE_NEWNET)

    @contextmanager
    def inside(self, home: NetworkNamespace) -> Iterator[None]:
        """Sockets and children made in here belong to this network."""
        _system("setns", self.descriptor, CLONE_NEWNET)
        try:
            yield
        finally:
            _system("setns", home.descriptor, CLONE_NEWNET)

    def close(self) -> None:
        """Close the descriptor: the namespace ends with its last socket."""
        os.close(self.descriptor)


_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_IFF_UP, _IFF_NOARP = 0x1, 0x80

_RTM_NEWLINK, _NLMSG_ERROR = 16, 2
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1


def _attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def make_cable(name: str, card: str, mac: bytes, network: NetworkNamespace) -> None:
    """A veth pair: `name` here and switched on, `card` with address `mac` in `network`, still off.

    One message in place of pyroute2, whose import alone takes longer than a sandbox may. Raises
    OSError. Switched on first, `name` finds its carrier only later and drops what is queued on it
    until then; `card` can send at once.
    """
    flags = _IFF_UP | _IFF_NOARP
    link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, flags, flags)
    there = (
        bytes(16)
        + _attribute(_IFLA_IFNAME, card.encode() + b"\0")
        + _attribute(_IFLA_ADDRESS, mac)
        + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", network.descriptor))
    )
    other = _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, there))
    pair = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"veth") + other)
    body = link + _attribute(_IFLA_IFNAME, name.encode() + b"\0") + pair
    flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_EXCL | _NLM_F_CREATE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, flags, 1, 0) + body)
        answer = netlink.recv(65536)
    kind, number = struct.unpack_from("=H", answer, 4)[0], -struct.unpack_from("=i", answer, 16)[0]
    if kind == _NLMSG_ERROR and number:
        raise OSError(number, os.strerror(number), "making a veth pair")


def whole_frames(card: str) -> None:
    """Let Linux itself cut segments and compute checksums, so that frames are complete on the wire.

    Without checksums from the card there is no TSO and no GSO either. Raises OSError.
    """
    value = array.array("I", [_ETHTOOL_STXCSUM, 0])
    _ioctl(_SIOCETHTOOL, struct.pack("=16sQ16x", card.encode(), value.buffer_info()[0]))


def bring_up(card: str) -> None:
    """Switch a network card on. Raises OSError.

    It sends no ARP requests (NOARP): the wire knows whose frame it is.
    """
    known = _ioctl(_SIOCGIFFLAGS, struct.pack("=16sH22x", card.encode(), 0))
    flags = struct.unpack_from("=16sH", known)[1] | _IFF_UP | _IFF_NOARP
    _ioctl(_SIOCSIFFLAGS, struct.pack("=16sH22x", card.encode(), flags))


def give_address(card: str, address: str) -> None:
    """An address of a /24; `eth0:1` is a second one of `eth0`. Raises OSError."""
    for request, quad in (_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.0"):
        where = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(quad))
        _ioctl(request, struct.pack("=16s16s8x", card.encode(), where))


def _ioctl(request: int, argument: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request, argument)


def write_sysctl(name: str, value: str) -> bool:
    """Set a value under /proc/sys/net; False where this Linux has no such one. Raises OSError."""
    try:
        Path("/proc/sys/net", name).write_text(value)
    except FileNotFoundError:
        return False
    return True


def read_sysctl(name: str) -> str | None:
    """A value under /proc/sys/net, or None where this Linux has no such one."""
    try:
        return Path("/proc/sys/net", name).read_text().strip()
    except FileNotFoundError:
        return None


def silence_ipv6() -> None:
    """No IPv6 on cards made from now on: its multicast reports would be noise on the wire."""
    for card in ("all", "default"):
        write_sysctl(f"ipv6/conf/{card}/disable_ipv6", "1")


def errno_name(error: OSError) -> str:
    """`ECONNRESET` and the like."""
    return errno.errorcode.get(error.errno or 0, str(error.errno))


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
#: A timer's remaining time comes in whole ticks: less than this is no change.
_JITTER = 12 * MILLISECOND


class Console:
    """What `ss -tno` and `nstat` show inside one host.

    Make it inside the host's network; it can be used anywhere.
    """

    def __init__(self, host: str, before: Console | None = None) -> None:
        self._host = host
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._files = [os.open(f"/proc/net/{name}", os.O_RDONLY) for name in ("snmp", "netstat")]
        self._known: dict[tuple[Endpoint, Endpoint], SocketSample] = {}
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
        now = clock()  # after the answer: what it reports is true by now
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

    def next_due(self, now: int) -> int | None:
        """When the next timer of the last look is due, or None."""
        dues = (sample.due for sample in self._known.values())
        return min((due for due in dues if due is not None and due > now), default=None)

    def _dump(self) -> Iterator[tuple[bytes, int]]:
        """A message for each TCP socket, timewait sockets and half-open requests included."""
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
    if one.due is None or other.due is None or one.due <= other.due == other.t:
        return False  # ss shows 0 while the timer wheel is late: the same timer still
    return abs(one.due - other.due) > _JITTER
