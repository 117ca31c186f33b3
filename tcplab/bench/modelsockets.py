"""Connections and listeners of the model bench: sockets of the model, in a program's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcplab.bench.script import Connection, Listener, Result
from tcplab.model import queues
from tcplab.model.socket import Socket
from tcplab.model.states import CLOSED

if TYPE_CHECKING:
    from tcplab.bench.model import ModelHost


class ModelConnection(Connection):
    """A socket of the model, in a program's hands."""

    def __init__(self, host: ModelHost, socket: Socket) -> None:
        self.host: ModelHost = host
        self.socket = socket

    @property
    def port(self) -> int:
        return self.socket.local.port

    async def send(self, length: int) -> Result:
        return await self.host.call(f"send({length})", self.socket, "send", length)

    async def receive(self, at_most: int = 1 << 20) -> Result:
        return await self.host.call("recv()", self.socket, "receive", at_most, end_of_file=True)

    async def close(self) -> Result:
        return await self.host.call("close()", self.socket, "close", blocks=False)

    async def reset(self) -> Result:
        return await self.host.call("close() with SO_LINGER 0", self.socket, "reset", blocks=False)

    async def shutdown_write(self) -> Result:
        return await self.host.call("shutdown(SHUT_WR)", self.socket, "shutdown_write", blocks=False)

    async def kill(self) -> Result:
        return await self.host.call("killed (SIGKILL)", self.socket, "close", blocks=False)

    async def settled(self) -> None:
        socket = self.socket
        while socket.state != CLOSED and (socket.sender.busy or socket.receiver.ack_needed):
            await self.host.changed(socket)

    async def wait_until_broken(self, limit_s: float) -> Result:
        async def broken() -> Result:
            while self.socket.error is None:
                await self.host.changed(self.socket)
            return Result(error=self.socket.error)

        return await self.host.bench.within(limit_s, broken()) or Result()

    async def wait_until_hung_up(self, limit_s: float) -> bool:
        async def hung_up() -> bool:
            while not self.socket.fin_received and self.socket.state != CLOSED:
                await self.host.changed(self.socket)
            return True

        return await self.host.bench.within(limit_s, hung_up()) or False


class ModelListener(Listener):
    """A listening socket of the model."""

    def __init__(self, host: ModelHost, listener: queues.Listener) -> None:
        self.host = host
        self.listener = listener

    async def accept(self) -> ModelConnection:
        host, began = self.host, self.host.env.now
        while (socket := host.stack.call(host.env.now, "accept", self.listener)) is None:
            await host.changed(self.listener)
        host.record("accept()", "ok", began, socket.local.port)
        host.settle()
        return ModelConnection(host, socket)

    async def close(self) -> Result:
        return await self.host.call("close() of the listener", self.listener, "close_listener", blocks=False)

    async def kill(self) -> Result:
        return await self.host.call(
            "listener killed (SIGKILL)", self.listener, "close_listener", blocks=False
        )
