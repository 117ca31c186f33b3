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
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from tcplab.bench.namespaces import errno_name
from tcplab.bench.sandbox import BenchError
from tcplab.bench.script import Bind, Connection, Listener, Result, SocketOptions
from tcplab.core.segment import Endpoint

if TYPE_CHECKING:
    from tcplab.bench.linux import LinuxHost

#: include/net/tcp_states.h, as TCP_INFO tells it.
_TCP_CLOSE = 7
#: SO_LINGER {1, 0}: close() sends a RST and forgets.
_ABORT = struct.pack("=ii", 1, 0)
#: include/uapi/linux/in.h; Python has it since 3.12.
_IP_BIND_ADDRESS_NO_PORT = 24
_ZEROS = memoryview(bytes(1 << 20))


def set_options(made: socket.socket, options: SocketOptions, warn: Callable[[str], None]) -> None:
    """Give a new socket what a program sets. Raises `BenchError` for what Linux can't be told."""
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.reuse_address:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


def bind_before(made: socket.socket, bind: Bind) -> str | None:
    """bind() before connect(): an errno name, or None."""
    if bind.no_port:
        with suppress(OSError):  # a Linux before 4.2 has no such option: a program goes on without
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        made.bind((bind.address, bind.port))
    except OSError as error:
        return errno_name(error)
    return None


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


class Held:
    """A socket that a program holds and may wait for."""

    def __init__(self, host: LinuxHost, held: socket.socket) -> None:
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
        """Close it, one way or another; calls that wait for it get EBADF."""
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

    def __init__(self, host: LinuxHost, listening: socket.socket) -> None:
        super().__init__(host, listening)
        self._port = listening.getsockname()[1]
        #: Programs that accept at once take turns: asyncio tells only one of them.
        self._turn = asyncio.Lock()

    async def accept(self) -> LinuxConnection:
        host, began = self.host, self.host.bench.clock.now()
        async with self._turn:
            while True:
                try:
                    accepted, remote = self._socket.accept()
                    break
                except BlockingIOError:
                    await self.ready()
        accepted.setblocking(False)
        connection = LinuxConnection(host, accepted, Endpoint(*remote))
        host.record("accept()", "ok", began, self._port)
        return connection

    async def close(self) -> Result:
        return self._end("close() of the listener", socket.socket.close)

    async def kill(self) -> Result:
        return self._end("listener killed (SIGKILL)", kill_holder)

    def _end(self, text: str, how: Callable[[socket.socket], None]) -> Result:
        began = self.host.bench.clock.now()
        self.let_go(how)
        self.host.record(text, "ok", began, self._port)
        return Result()


class LinuxConnection(Held, Connection):
    """A real socket, in a program's hands."""

    host: LinuxHost

    def __init__(
        self, host: LinuxHost, held: socket.socket, remote: Endpoint, local: tuple[str, int] | None = None
    ) -> None:
        """`local`: its own address where the socket can't be asked any more."""
        super().__init__(host, held)
        self.local = Endpoint(*(local or held.getsockname()))
        self.remote = remote
        #: An error taken from the socket by looking, which the next call is still owed.
        self._owed: str | None = None

    @property
    def port(self) -> int:
        return self.local.port

    async def send(self, length: int) -> Result:
        began = self.host.bench.clock.now()
        result = await self._send(length)
        self.host.record(f"send({length})", result.error or str(result.value), began, self.local.port)
        return result

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

    async def receive(self, at_most: int = 1 << 20) -> Result:
        began = self.host.bench.clock.now()
        result = await self._receive(at_most)
        said = result.error or (str(result.value) if result.value else "end of file")
        self.host.record("recv()", said, began, self.local.port)
        return result

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

    async def close(self) -> Result:
        return self._end("close()", socket.socket.close)

    async def reset(self) -> Result:
        return self._end("close() with SO_LINGER 0", abort)

    async def kill(self) -> Result:
        return self._end("killed (SIGKILL)", kill_holder)

    def _end(self, text: str, how: Callable[[socket.socket], None]) -> Result:
        began = self.host.bench.clock.now()
        self.let_go(how)
        self.host.record(text, "ok", began, self.local.port)
        return Result()

    async def shutdown_write(self) -> Result:
        began = self.host.bench.clock.now()
        try:
            self._socket.shutdown(socket.SHUT_WR)
            result = Result()
        except OSError as error:
            result = Result(error=errno_name(error))
        self.host.record("shutdown(SHUT_WR)", result.error or "ok", began, self.local.port)
        return result

    async def settled(self) -> None:
        bench = self.host.bench
        bench.wire.drain()
        while not self._is_settled():
            await bench.changed()

    def _is_settled(self) -> bool:
        if self._closed():
            return True
        (waiting,) = struct.unpack("=i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))
        return not waiting and not self.host.bench.wire.owes_ack(self.local, self.remote)

    def _closed(self) -> bool:
        return (
            self._socket.fileno() < 0
            or self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
        )

    async def wait_until_broken(self, limit_s: float) -> Result:
        async def broken() -> Result:
            while not self._is_broken():
                await self.host.bench.changed()
            return Result(error=self._owed)

        return await self.host.bench.within(limit_s, broken()) or Result()

    async def wait_until_hung_up(self, limit_s: float) -> bool:
        async def hung_up() -> bool:
            while not self._hung_up():
                await self.host.bench.changed()
            return True

        return await self.host.bench.within(limit_s, hung_up()) or False

    def _hung_up(self) -> bool:
        if self._socket.fileno() < 0:
            return True
        looking = select.poll()
        looking.register(self._socket, select.POLLRDHUP)  # an error is always told
        return bool(looking.poll(0))

    def _is_broken(self) -> bool:
        """Looking takes the error away from the socket: it is kept for the next call."""
        if not self._owed and self._socket.fileno() >= 0 and self._closed():
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._owed = errno_name(OSError(number, "")) if number else None
        return self._owed is not None
