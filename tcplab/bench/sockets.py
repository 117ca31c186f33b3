"""Real sockets in a program's hands: connections and listeners of the Linux bench.

Every socket is non-blocking and waits in the bench's loop. Sources: tcp(7), socket(7).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import signal
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Any

from tcplab.bench.namespaces import errno_name
from tcplab.bench.sandbox import BenchError
from tcplab.bench.script import Bind, Connection, Host, Listener, Result, SocketOptions
from tcplab.core.segment import Endpoint

#: include/net/tcp_states.h, as TCP_INFO tells it.
_TCP_CLOSE = 7
#: SO_LINGER {1, 0}: close() sends a RST and forgets.
_ABORT = struct.pack("=ii", 1, 0)
#: include/uapi/linux/in.h; Python has it since 3.12.
_IP_BIND_ADDRESS_NO_PORT = 24
#: linux/in.h: the last port in the upper half of 32 bits, the first in the lower; Python has no name for it.
_IP_LOCAL_PORT_RANGE = 51
_ZEROS = memoryview(bytes(1 << 20))


def set_options(made: socket.socket, options: SocketOptions, warn: Callable[[str], None]) -> None:
    """Give a new socket what a program sets. Raises `BenchError` for a value that Linux can't take."""
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.reuse_address:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if options.local_ports:
        first, last = options.local_ports
        # Linux before 6.3 has no such option: a program continues without.
        _error_of(
            made.setsockopt, socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("=I", last << 16 | first)
        )
    if options.keepalive_idle_s:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, name, value in (
            (socket.TCP_KEEPIDLE, "TCP_KEEPIDLE", options.keepalive_idle_s),
            (socket.TCP_KEEPINTVL, "TCP_KEEPINTVL", options.keepalive_interval_s),
            (socket.TCP_KEEPCNT, "TCP_KEEPCNT", options.keepalive_probes),
        ):
            if value != int(value):
                raise BenchError(f"Linux takes {name} in whole seconds: {value:g} can't be set.")
            made.setsockopt(socket.IPPROTO_TCP, option, int(value))
    if options.user_timeout_s:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(options.user_timeout_s * 1000))
    if options.window_clamp:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, options.window_clamp)
    if options.receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer // 2)
        given = made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if given < options.receive_buffer - 1:
            warn(f"receive_buffer is cut to {given:,} bytes: net.core.rmem_max allows no more here.")


def _error_of(call: Callable[..., object], *arguments: object) -> str | None:
    """Make a call: an errno name, or None."""
    try:
        call(*arguments)
    except OSError as error:
        return errno_name(error)
    return None


def bind_before(made: socket.socket, bind: Bind) -> str | None:
    """bind() before connect(): an errno name, or None."""
    if bind.no_port:
        # Linux before 4.2 has no such option: a program continues without.
        _error_of(made.setsockopt, socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    return _error_of(made.bind, (bind.address, bind.port))


def abort(held: socket.socket) -> None:
    """close() with SO_LINGER {1, 0}."""
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    held.close()


def kill_holder(held: socket.socket) -> None:
    """SIGKILL to a process that holds a socket's only descriptor.

    The child gets copies of all others too, but those aren't the last ones.
    """
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    held.close()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


class SocketHost(Host):
    """A host as its real sockets use it."""

    #: Every socket that a program here holds or has held.
    held: list[Held]
    #: Waits until something may have changed on some host.
    changed: Callable[[], Awaitable[None]]
    #: True while something has arrived at the first endpoint that it has not acknowledged on the wire.
    owes_ack: Callable[[Endpoint, Endpoint], bool]
    #: Has `changed` return when an error or a hang-up comes on a socket of that host.
    watch: Callable[[socket.socket, Any], None]


class Held:
    """A socket that a program holds and may wait for."""

    def __init__(self, host: SocketHost, held: socket.socket) -> None:
        self.host = host
        self._socket = held
        self._waiting: set[asyncio.Future[None]] = set()
        host.held.append(self)

    async def ready(self, *, write: bool = False) -> None:
        """Wait until it can be read or written, has an error, or is closed."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        descriptor = self._socket.fileno()
        if write:
            loop.add_writer(descriptor, _done, waiting)
        else:
            loop.add_reader(descriptor, _done, waiting)
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            if self._socket.fileno() == descriptor:
                (loop.remove_writer if write else loop.remove_reader)(descriptor)

    def let_go(self, how: Callable[[socket.socket], None]) -> None:
        """Close it with `how`; calls that wait for it get EBADF."""
        loop = asyncio.get_running_loop()
        if self._socket.fileno() >= 0:
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            how(self._socket)
        for waiting in self._waiting:
            _done(waiting)


def _done(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class LinuxListener(Held, Listener):
    """A listening socket."""

    host: SocketHost

    def __init__(self, host: SocketHost, listening: socket.socket, options: SocketOptions) -> None:
        super().__init__(host, listening)
        self.options = options
        self.port = listening.getsockname()[1]
        #: Programs that accept at once take turns: asyncio wakes only one of them.
        self._turn = asyncio.Lock()

    async def _accept(self) -> LinuxConnection:
        async with self._turn:
            while True:
                try:
                    accepted, remote = self._socket.accept()
                    break
                except BlockingIOError:
                    await self.ready()
        accepted.setblocking(False)
        return LinuxConnection(self.host, accepted, Endpoint(*remote))

    def _end(self, *, kill: bool) -> None:
        self.let_go(kill_holder if kill else socket.socket.close)


class LinuxConnection(Held, Connection):
    """A real socket, in a program's hands."""

    host: SocketHost

    def __init__(
        self, host: SocketHost, held: socket.socket, remote: Endpoint, local: tuple[str, int] | None = None
    ) -> None:
        """`local`: its own address where the socket can't be asked any more."""
        super().__init__(host, held)
        self.local = Endpoint(*(local or held.getsockname()))
        self.remote = remote
        #: An error that a look has taken from the socket; the next call gets it.
        self._owed: str | None = None
        if held.fileno() >= 0:
            host.watch(held, host)

    async def _perform(self, verb: str, *arguments: Any) -> Result:
        if verb == "send":
            return await self._send(*arguments)
        if verb == "receive":
            return await self._receive(*arguments)
        if verb == "shutdown_write":
            return Result(error=_error_of(self._socket.shutdown, socket.SHUT_WR))
        self.let_go({"close": socket.socket.close, "reset": abort, "kill": kill_holder}[verb])
        return Result()

    async def _send(self, length: int) -> Result:
        if self._owed:
            return self._pay()
        sent = 0
        while sent < length:
            try:
                sent += self._socket.send(_ZEROS[: length - sent])
            except BlockingIOError:
                await self.ready(write=True)
            except OSError as error:
                if not sent:
                    return Result(error=errno_name(error))
                self._owed = errno_name(error)
                break
        return Result(sent)

    async def _receive(self, at_most: int) -> Result:
        while True:
            try:
                got = len(self._socket.recv(at_most))
            except BlockingIOError:
                await self.ready()
            except OSError as error:
                return Result(error=errno_name(error))
            else:
                return Result(got) if got or not self._owed else self._pay()

    def _pay(self) -> Result:
        error, self._owed = self._owed, None
        return Result(error=error)

    async def _changed(self) -> None:
        await self.host.changed()

    def _is_settled(self) -> bool:
        if self._closed():
            return True
        (waiting,) = struct.unpack("=i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))
        return not waiting and not self.host.owes_ack(self.local, self.remote)

    def _closed(self) -> bool:
        return (
            self._socket.fileno() < 0
            or self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
        )

    def _is_hung_up(self) -> bool:
        if self._socket.fileno() < 0:
            return True
        looking = select.poll()
        looking.register(self._socket, select.POLLRDHUP)  # poll() always reports errors
        return bool(looking.poll(0))

    def _pending_error(self) -> str | None:
        """Looking takes the error away from the socket: it is kept for the next call."""
        if not self._owed and self._socket.fileno() >= 0 and self._closed():
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._owed = errno_name(OSError(number, "")) if number else None
        return self._owed
