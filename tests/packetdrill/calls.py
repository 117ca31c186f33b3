"""The system calls of packetdrill's scripts, on the sockets of the model."""

from dataclasses import dataclass, replace

from packetdrill.script import SECOND, Differs, NotModelled, NotUnderstood
from tcplab.core.segment import Endpoint, seq_diff
from tcplab.core.text import MILLISECOND
from tcplab.model import rules
from tcplab.model.listener import ListenSocket
from tcplab.model.socket import Socket

MACHINE, PEER, PORT = "192.168.0.1", "192.0.2.1", 8080

ALIASES = {"send": "write", "sendto": "write", "recv": "read", "recvfrom": "read"}
#: Socket options that are times or counts, the model's name, and their unit.
SECONDS = {
    "TCP_KEEPIDLE": ("keepalive_idle", SECOND),
    "TCP_KEEPINTVL": ("keepalive_interval", SECOND),
    "TCP_KEEPCNT": ("keepalive_probes", 1),
    "TCP_USER_TIMEOUT": ("user_timeout", MILLISECOND),
    "TCP_RTO_MAX_MS": ("rto_max", MILLISECOND),
}
WITHOUT_EFFECT_OPTIONS = ("SO_REUSEADDR", "TCP_INQ")


@dataclass
class Descriptor:
    """A descriptor of a program: an unconnected socket, a connection or a listener."""

    socket: Socket | ListenSocket | None = None
    options: rules.TcpOptions = rules.DEFAULT_OPTIONS
    keepalive: bool = False
    keepalive_idle: int = 7200 * SECOND
    blocking: bool = True
    nodelay: bool = False
    #: SO_LINGER {1, 0}: close() resets.
    aborts: bool = False
    read_shut: bool = False
    #: SO_SNDBUF as the script sets it; 0: unlimited.
    send_buffer: int = 0

    def effective(self):
        """Its options as the model has them."""
        return replace(self.options, keepalive_idle=self.keepalive_idle if self.keepalive else 0)


class Calls:
    """The calls of a `Player`, one method each: its result, an errno name, or None while it blocks."""

    def _descriptor(self, call):
        """The descriptor of a call."""
        number = call.arguments[0]
        if number not in self.descriptors:
            raise NotUnderstood(f"{call.name}() of {number}, which is no open descriptor")
        return self.descriptors[number]

    def call_socket(self, call):
        if "AF_INET6" in call.arguments or (call.arguments[0] or "") == "AF_INET6":
            raise NotModelled("IPv6")
        kind = str(call.arguments[1]).split("|")
        if kind[0] != "SOCK_STREAM" or call.arguments[2] != "IPPROTO_TCP":
            raise NotModelled(f"a socket of {call.arguments[1:]}")
        self.descriptors[call.result] = Descriptor(blocking="SOCK_NONBLOCK" not in kind)
        return call.result

    def call_bind(self, call):
        return 0

    def call_listen(self, call):
        descriptor = self._descriptor(call)
        options = replace(descriptor.effective(), reuse_address=True)
        descriptor.socket = self.stack.listen(PORT, call.arguments[1], options)
        self.fresh_listener = True
        return 0

    def call_connect(self, call):
        descriptor = self._descriptor(call)
        if descriptor.socket is not None:
            return self._connected(descriptor)
        remote = Endpoint(PEER, PORT)
        descriptor.socket = socket = self.stack.connect(self.now, remote, descriptor.effective())
        self.begin_flow(socket.local, remote)
        return self._connected(descriptor)

    def _connected(self, descriptor):
        socket = descriptor.socket
        if socket.state == rules.SYN_SENT:
            return None
        return socket.take_error() or 0

    def call_accept(self, call):
        descriptor = self._descriptor(call)
        socket = self.stack.call(self.now, "accept", descriptor.socket)
        if socket is None:
            return None
        self.descriptors[call.result] = Descriptor(
            socket, socket.options, descriptor.keepalive, descriptor.keepalive_idle,
            nodelay=descriptor.nodelay, send_buffer=descriptor.send_buffer,
        )  # fmt: skip
        return call.result

    def call_write(self, call):
        words = [each for each in call.arguments[2:] if isinstance(each, str)]
        for word in words:
            if word not in ("MSG_DONTWAIT", "MSG_NOSIGNAL"):
                raise NotModelled(word)
        if call.arguments[1] == "NULL":
            raise NotModelled("bad pointers")
        descriptor = self._descriptor(call)
        if descriptor.socket is None:
            return "EPIPE"
        result = self.stack.call(self.now, "send", descriptor.socket, call.arguments[2])
        if descriptor.send_buffer and isinstance(descriptor.socket, Socket):
            sender = descriptor.socket.sender
            if seq_diff(sender.data_end, sender.una) > descriptor.send_buffer:
                raise NotModelled("a send buffer that is full")
        return result

    def call_sendmsg(self, call):
        if call.arguments[2]:
            raise NotModelled(str(call.arguments[2]))
        return self.call_write(replace(call, arguments=(call.arguments[0], None, _in_all(call.arguments[1]))))

    def call_read(self, call):
        words = [each for each in call.arguments[2:] if isinstance(each, str)]
        for word in words:
            if word not in ("MSG_DONTWAIT",):
                raise NotModelled(word)
        if call.arguments[1] == "NULL":
            raise NotModelled("bad pointers")
        descriptor = self._descriptor(call)
        if descriptor.socket is None:
            return "ENOTCONN"
        result = self.stack.call(self.now, "receive", descriptor.socket, call.arguments[2])
        return 0 if result is None and descriptor.read_shut else result

    def call_recvmsg(self, call):
        if call.arguments[2]:
            raise NotModelled(str(call.arguments[2]))
        message = call.arguments[1]
        result = self.call_read(replace(call, arguments=(call.arguments[0], None, _in_all(message))))
        for control in message.get("msg_control", ()):
            if control["cmsg_type"] != "TCP_CM_INQ":
                raise NotModelled(str(control["cmsg_type"]))
            socket = self._descriptor(call).socket
            # After a FIN there is still the end to read (tcp_inq_hint).
            unread = socket.receiver.buffered or int(socket.fin_received)
            if result is not None and unread != control["cmsg_data"]:
                raise Differs(f"TCP_CM_INQ is {unread}, not {control['cmsg_data']}")
        return result

    def call_close(self, call):
        descriptor = self._descriptor(call)
        del self.descriptors[call.arguments[0]]
        if isinstance(descriptor.socket, ListenSocket):
            self.stack.call(self.now, "close_listener", descriptor.socket)
        elif descriptor.socket is not None:
            self.stack.call(self.now, "reset" if descriptor.aborts else "close", descriptor.socket)
        return 0

    def call_shutdown(self, call):
        descriptor, how = self._descriptor(call), call.arguments[1]
        socket = descriptor.socket
        if how != "SHUT_WR":
            # Data is still accepted until the FIN has been sent; read() no longer waits for it.
            descriptor.read_shut = True
        error = self.stack.call(self.now, "shutdown_write", socket) if how != "SHUT_RD" else None
        if descriptor.read_shut and socket.write_closed:
            socket.read_closed = True
        return error or 0

    def call_fcntl(self, call):
        descriptor, words = self._descriptor(call), call.arguments
        if words[1] == "F_SETFL":
            descriptor.blocking = "O_NONBLOCK" not in words[2]
            return 0
        return 2 if descriptor.blocking else 0o4002

    def call_ioctl(self, call):
        socket = self._descriptor(call).socket
        name, [wanted] = call.arguments[1:]
        if name == "SIOCINQ":
            got = socket.receiver.buffered
        elif name == "SIOCOUTQ":
            got = seq_diff(socket.sender.data_end, socket.sender.una) + socket.sender.finishing
        else:
            raise NotModelled(name)
        if got != wanted:
            raise Differs(f"{name} is {got}, not {wanted}")
        return 0

    def call_setsockopt(self, call):
        descriptor, name, value = self._descriptor(call), call.arguments[2], call.arguments[3]
        value = value[0] if isinstance(value, list) else value
        options, socket = descriptor.options, descriptor.socket
        if name in SECONDS:
            field_name, unit = SECONDS[name]
            if field_name == "keepalive_idle":
                descriptor.keepalive_idle = value * unit
            else:
                options = replace(options, **{field_name: value * unit})
        elif name == "SO_KEEPALIVE":
            descriptor.keepalive = bool(value)
        elif name == "SO_RCVBUF":
            options = replace(options, receive_buffer=max(2 * value, 2304))
            if isinstance(socket, Socket):
                socket.receiver.memory.size, socket.receiver.memory.locked = options.receive_buffer, True
        elif name == "SO_SNDBUF":
            descriptor.send_buffer = value
        elif name == "TCP_NODELAY":
            descriptor.nodelay = bool(value)
        elif name == "SO_LINGER":
            descriptor.aborts = value == {"onoff": 1, "linger": 0}
        elif name not in WITHOUT_EFFECT_OPTIONS:
            raise NotModelled(name)
        descriptor.options = options
        if socket is not None:
            was = socket.options.keepalive_idle
            socket.options = descriptor.effective()
            if isinstance(socket, Socket) and socket.options.keepalive_idle != was:
                socket.keepalive.start(self.now)
                self.stack._touch(socket)
        return 0

    def call_getsockopt(self, call):
        descriptor, name, wanted = self._descriptor(call), call.arguments[2], call.arguments[3]
        socket = descriptor.socket
        if name == "SO_ERROR":
            got = (socket.take_error() if socket else None) or 0
        elif name == "SO_SNDBUF" and descriptor.send_buffer:
            got = 2 * descriptor.send_buffer
        elif name == "SO_RCVBUF" and isinstance(socket, Socket):
            got = socket.receiver.memory.size
        elif name == "TCP_MAXSEG" and isinstance(socket, Socket):
            got = socket.sender.mss
        else:
            raise NotModelled(name)
        if [got] != wanted:
            raise Differs(f"{name} is {got}, not {wanted}")
        return 0


def _in_all(message):
    """Bytes of all buffers of a message."""
    return sum(size for _, size in message["msg_iov"])
