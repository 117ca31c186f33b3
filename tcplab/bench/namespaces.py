"""Namespaces of one's own, and one machine's network in each: what takes Linux's own calls.

Everything here acts on the calling process and needs no rights outside its user namespace.
Python's own os.unshare and os.setns came with 3.12, so that ctypes serves. Sources:
user_namespaces(7), network_namespaces(7), rtnetlink(7), netdevice(7), capabilities(7).
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tcplab.bench.trouble import Refused

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
#: Who one is inside: not root, since servers of databases refuse to run as root.
INSIDE_ID = 1000
#: The two rights that programs started inside (nft, tcpdump) keep: CAP_NET_ADMIN, CAP_NET_RAW.
KEPT_CAPABILITIES = (12, 13)
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
    """What fails in here is this machine's refusal of one step."""
    try:
        yield
    except OSError as error:
        raise Refused(name, error.errno or 0) from error


# --- whose ---


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


def mount_proc() -> bool:
    """A /proc of the new pid namespace; False where a container's masked one forbids it."""
    try:
        _system("mount", b"proc", b"/proc", b"proc", 0, None)
    except OSError:
        return False
    return True


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


# --- where ---


class Network:
    """A network namespace, kept by a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def current(cls) -> Network:
        """The one this process is in."""
        return cls(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls, home: Network) -> Network:
        """A fresh one; the process stays `home`."""
        _system("unshare", CLONE_NEWNET)
        try:
            return cls.current()
        finally:
            _system("setns", home.descriptor, CLONE_NEWNET)

    @contextmanager
    def inside(self, home: Network) -> Iterator[None]:
        """Sockets and children made in here belong to this network."""
        _system("setns", self.descriptor, CLONE_NEWNET)
        try:
            yield
        finally:
            _system("setns", home.descriptor, CLONE_NEWNET)

    def close(self) -> None:
        """Let go of it: with its last socket it ends."""
        os.close(self.descriptor)


# --- one machine's network card ---

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


def make_cable(name: str, card: str, mac: bytes, network: Network) -> None:
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
    told, number = struct.unpack_from("=H", answer, 4)[0], -struct.unpack_from("=i", answer, 16)[0]
    if told == _NLMSG_ERROR and number:
        raise OSError(number, os.strerror(number), "making a veth pair")


def whole_frames(card: str) -> None:
    """Let Linux itself cut segments and sum them up, so that frames are true where the wire reads
    them: without checksums from the card there is no TSO and no GSO either. Raises OSError."""
    value = array.array("I", [_ETHTOOL_STXCSUM, 0])
    _ioctl(_SIOCETHTOOL, struct.pack("=16sQ16x", card.encode(), value.buffer_info()[0]))


def bring_up(card: str) -> None:
    """Switch a network card on. Raises OSError.

    It asks nobody for hardware addresses (NOARP): the wire knows whose frame it is.
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
