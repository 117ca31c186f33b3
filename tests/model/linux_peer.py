"""A peer made by hand for this kernel's TCP: stories of `conversation.py` on real sockets, all side by side.

`python linux_peer.py` reads a list of stories as JSON, options and steps each, and prints for each what left
the kernel and what the calls gave: `[seconds, what, …]`. Each story has a peer address of its own, so that
the kernel remembers nothing of one in the next. A round trip takes a millisecond at the handshake.
"""

import heapq
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count

from model.conversation import MILLISECOND, PEER_ISN, SECOND, Conversation
from tcplab.bench.namespaces import (
    NetworkNamespace,
    enter,
    errno_name,
    make_cable,
    silence_ipv6,
    whole_frames,
)
from tcplab.bench.wire import FrameParser, destination, frame_of
from tcplab.core.segment import SYN, Endpoint

MACHINE, MAC = "10.0.0.1", bytes((2, 0, 0, 0, 0, 1))
#: A story begins so long after the one before: what happens at its moments does not meet.
APART = 5 * MILLISECOND
#: After the last step of all.
SILENCE = 250 * MILLISECOND


def options_of(segment):
    """The options of a segment as bytes."""
    options = b""
    if segment.mss:
        options += struct.pack("!BBH", 2, 4, segment.mss)
    if segment.sack_permitted:
        options += b"\1\1\4\2"
    if segment.timestamps:
        options += b"\1\1" + struct.pack("!BBII", 8, 10, *segment.timestamps)
    if segment.window_scale is not None:
        options += b"\1" + struct.pack("!BBB", 3, 3, segment.window_scale)
    if segment.sack:
        options += b"\1\1" + struct.pack("!BB", 5, 2 + 8 * len(segment.sack))
        options += b"".join(struct.pack("!II", *block) for block in segment.sack)
    return options


class Connection(Conversation):
    """One story, between a socket of this kernel and a peer that says what the story says."""

    def __init__(self, number, story, steps):
        self.address = f"10.1.{number >> 8}.{number & 255}"
        self.steps = steps
        self.role = story.pop("role", "client")
        self.receive_buffer = story.pop("receive_buffer", 0)
        self.window_clamp = story.pop("window_clamp", 0)
        self.backlog = story.pop("backlog", 5)
        self.peer = {"window": 65535, "mss": 1460, "scale": 7, "sack": True, "timestamps": False, **story}
        self.ports = (0, 5432) if self.role in ("client", "opening") else (20000 + number, 40000)
        self.bases = 0, PEER_ISN
        self.now, self.events = -MILLISECOND, []
        self.socket = self.listener = None
        self.open = self.confirmed = False

    def begin(self, wire):
        self.wire = wire
        if self.role == "client":
            self.call("connect()")
        elif self.role in ("server", "listening"):
            self.call("listen()")
            if self.role == "server":
                self.arrives("S 0")

    def handshake(self, t, segment):
        """The rest of the handshake of a client or a server; True while it isn't over."""
        if self.open or self.role in ("opening", "listening"):
            return self.role == "client" and self._is_last_step()
        if not segment.flags & SYN:
            return False
        self.bases = segment.seq, PEER_ISN
        self.ports = segment.source.port, self.ports[1]
        time.sleep(0.001)
        self.now, self.open = 0, True
        self.arrives("SA 0 1" if self.role == "client" else "A 1 1")
        if self.role == "server":
            self.call("accept()")
        return True

    def _is_last_step(self):
        """Of the handshake: not told."""
        self.confirmed, before = True, self.confirmed
        return not before

    def leaves(self, t, segment):
        if self.handshake(t, segment):
            return
        if segment.flags & SYN and not self.open:
            self.bases, self.open = (segment.seq, PEER_ISN), True
        self.events.append([t, "leaves", self.read(segment)])

    def arrives(self, text):
        segment = self.segment(text, self.ports[1], self.bases)
        self.wire.carry(
            replace(
                segment,
                source=segment.source._replace(address=self.address),
                destination=Endpoint(MACHINE, self.ports[0]),
                window=segment.window >> (0 if segment.flags & SYN else self.peer["scale"] or 0),
            )
        )

    def call(self, text):
        name, arguments = re.fullmatch(r"(\w+)\((.*)\)", text).groups()
        arguments = [int(each) for each in arguments.split(",") if each.strip()]
        try:
            return getattr(self, f"_{name}")(*arguments)
        except BlockingIOError:
            return None
        except OSError as error:
            return errno_name(error)

    def _new(self):
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.window_clamp:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, self.window_clamp)
        if self.receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer // 2)
        return made

    def _connect(self):
        self.socket = self._new()
        self.socket.connect_ex((self.address, 5432))

    def _listen(self):
        self.listener = self._new()
        self.listener.bind((MACHINE, self.ports[0]))
        self.listener.listen(self.backlog)

    def _accept(self):
        self.socket, _ = self.listener.accept()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return "ok"

    def _send(self, length):
        return self.socket.send(bytes(length))

    def _recv(self, length=1 << 20):
        return len(self.socket.recv(length))

    def _shutdown(self):
        self.socket.shutdown(socket.SHUT_WR)

    def _close(self):
        self.socket.close()

    def _reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Wire:
    """The peers' end of the kernel's cable, and the moments of all stories."""

    def __init__(self, network):
        self.packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.packets.bind(("wire", 0x0800))
        self.packets.setblocking(False)
        self.parser, self.connections = FrameParser(), {}
        self.queue, self.order = [], count()

    def carry(self, segment):
        """One segment of a peer, on its way into the kernel."""
        frame = frame_of(segment, options_of(segment))
        self.parser.segment(frame)
        self.packets.send(MAC + frame[6:])

    def play(self, connections):
        """All stories, each from its own moment on."""
        began = time.monotonic_ns()
        for i, each in enumerate(connections):
            self.connections[each.address] = each
            each.zero = began + i * APART + 20 * MILLISECOND
            self._at(each.zero - MILLISECOND, each, None)
            for step in each.steps:
                self._at(each.zero + step[0], each, step)
        end = 0
        while self.queue or time.monotonic_ns() < end:
            due = self.queue[0][0] if self.queue else end
            if (now := time.monotonic_ns()) < due:
                select.select([self.packets], [], [], (due - now) / SECOND)
                self._collect()
                continue
            _, _, connection, step = heapq.heappop(self.queue)
            if step is None:
                connection.begin(self)
            else:
                self._step(connection, *step)
            self._collect()
            end = time.monotonic_ns() + SILENCE
        for each in connections:
            each.events.append([(end - each.zero) / SECOND, "end", ""])

    def _at(self, moment, connection, step):
        heapq.heappush(self.queue, (moment, next(self.order), connection, step))

    def _step(self, connection, t, what, text):
        """A call or a segment, at the moment at which it really happens."""
        connection.now = t
        moment = (time.monotonic_ns() - connection.zero) / SECOND
        connection.events.append([moment, what, text])
        result = connection.call(text) if what == "call" else connection.arrives(text)
        connection.events[-1].append(result)

    def _collect(self):
        while True:
            try:
                frame, (_, _, kind, *_) = self.packets.recvfrom(65536)
            except BlockingIOError:
                return
            now = time.monotonic_ns()
            address = destination(frame)
            if kind == socket.PACKET_OUTGOING or address not in self.connections:
                continue
            if segment := self.parser.segment(frame):
                connection = self.connections[address]
                connection.leaves((now - connection.zero) / SECOND, segment)


def command(*words):
    subprocess.run(words, check=True)


def main():
    stories = json.load(sys.stdin)
    enter()
    if child := os.fork():  # the first in a new pid namespace: when it ends, all of it ends
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    silence_ipv6()
    home = NetworkNamespace.current()
    machine = NetworkNamespace.new(home)
    make_cable("wire", "eth0", MAC, machine)
    wire = Wire(machine)
    with machine.inside(home):
        silence_ipv6()
        whole_frames("eth0")
        command("ip", "address", "add", f"{MACHINE}/8", "dev", "eth0")
        command("ip", "link", "set", "eth0", "arp", "off", "up")
        connections = [Connection(i, *story) for i, story in enumerate(stories, 1)]
        time.sleep(0.2)
        wire.play(connections)
    print(json.dumps([each.events for each in connections]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
