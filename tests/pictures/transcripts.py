"""Traces to draw: what Linux puts on the wire, written by hand, and scripts run on the model."""

from functools import partial

from bench.linux_stories import Story as Script
from bench.route_stories import Boxed, Idle, Two
from tcplab.bench.model import run_on_model
from tcplab.bench.script import SocketOptions
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, Segment, seq_add
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Call, Note, Packet, SocketSample, Trace
from tcplab.follow import classify
from tcplab.route.firewall import EXPIRED, Firewall

CLIENT = Endpoint("10.0.0.1", 40000)
SERVER = Endpoint("10.0.0.2", 5432)
ENDS = {"client": CLIENT, "server": SERVER}
#: First sequence numbers; the client's wraps inside the first request.
ISN = {"client": 2**32 - 20, "server": 7_000_000}
MS = MILLISECOND
LATENCY = MS


class Story:
    """Writes a trace line by line; numbers are relative, times nanoseconds since the first segment."""

    def __init__(self, latency=LATENCY, start=5 * SECOND, port=CLIENT.port):
        self.latency, self.start = latency, start
        self.ends = {"client": Endpoint(CLIENT.address, port), "server": SERVER}
        self.trace = Trace("by_hand", "model", linux="6.18")
        self.trace.hosts = {"client": CLIENT.address, "server": SERVER.address}

    def say(self, t, sender, flags, seq, ack=0, length=0, window=64240, **more):
        """One segment, delivered after the latency unless `fate` says otherwise."""
        receiver = "server" if sender == "client" else "client"
        packet_fields = {k: more.pop(k) for k in ("fate", "verdict", "kind") if k in more}
        delivered = packet_fields.get("fate", "delivered") == "delivered"
        flight = more.pop("flight", self.latency)
        segment = Segment(
            self.ends[sender],
            self.ends[receiver],
            seq_add(ISN[sender], seq),
            seq_add(ISN[receiver], ack) if flags & ACK else 0,
            flags,
            window,
            length,
            **more,
        )
        t += self.start
        self.trace.packets.append(
            Packet(t, sender, receiver, segment, t + flight if delivered else None, **packet_fields)
        )
        return t + flight - self.start

    def call(self, began, t, host, call, result):
        self.trace.calls.append(Call(t + self.start, began + self.start, host, call, result))

    def state(self, t, host, state, timer="", **more):
        peer = "server" if host == "client" else "client"
        self.trace.sockets.append(
            SocketSample(t + self.start, host, self.ends[host], self.ends[peer], state, timer=timer, **more)
        )

    def note(self, t, host, text):
        self.trace.notes.append(Note(t + self.start, host, text))

    def finish(self, end=0):
        self.trace.packets.sort(key=lambda packet: packet.t)
        self.trace.calls.sort(key=lambda call: call.t)
        self.trace.sockets.sort(key=lambda sample: sample.t)
        self.trace.end = end + self.start
        return self.trace

    def open(self):
        """The handshake; returns when the server knows."""
        options = {"mss": 1460, "window_scale": 7, "sack_permitted": True}
        self.state(0, "client", "SYN_SENT", "on")
        t = self.say(0, "client", SYN, 0, **options)
        self.state(t, "server", "SYN_RECV", "on")
        t = self.say(t, "server", SYN | ACK, 0, 1, **options)
        self.state(t, "client", "ESTABLISHED")
        self.call(0, t, "client", "connect(10.0.0.2:5432)", "ok")
        t = self.say(t, "client", ACK, 1, 1)
        self.state(t, "server", "ESTABLISHED")
        self.call(0, t, "server", "accept()", "ok")
        return t

    def exchange(self, t, request=40, response=200, seq=1, ack=1):
        """Question and answer; returns when the server has the last ACK."""
        self.call(t, t, "client", f"send({request})", str(request))
        began = t
        t = self.say(t, "client", PSH | ACK, seq, ack, request)
        self.call(began, t, "server", "recv()", str(request))
        self.call(t, t, "server", f"send({response})", str(response))
        t = self.say(t, "server", PSH | ACK, ack, seq + request, response)
        self.call(began, t, "client", "recv()", str(response))
        return self.say(t, "client", ACK, seq + request, ack + response)


def healthy():
    """Handshake, one exchange, the client closes first."""
    story = Story()
    t = story.exchange(story.open())
    story.call(t, t, "client", "close()", "ok")
    story.state(t, "client", "FIN_WAIT_1", "on")
    t = story.say(t, "client", FIN | ACK, 41, 201)
    story.state(t, "server", "CLOSE_WAIT")
    story.call(t - 2 * MS, t, "server", "recv()", "end of file")
    story.call(t, t, "server", "close()", "ok")
    story.state(t, "server", "LAST_ACK", "on")
    t = story.say(t, "server", FIN | ACK, 201, 42)
    story.state(t, "client", "TIME_WAIT", "timewait", due=story.start + t + 60 * SECOND)
    ends = t + 60 * SECOND
    t = story.say(t, "client", ACK, 42, 202)
    story.state(t, "server", "CLOSED")
    story.state(ends, "client", "CLOSED")
    return story.finish(ends)


def crossing_fins():
    """Both close at the same nanosecond."""
    story = Story()
    t = story.exchange(story.open())
    for host, seq, ack in (("client", 41, 201), ("server", 201, 41)):
        story.call(t, t, host, "close()", "ok")
        story.state(t, host, "FIN_WAIT_1", "on")
        story.say(t, host, FIN | ACK, seq, ack)
    t += LATENCY
    for host, seq, ack in (("client", 42, 202), ("server", 202, 42)):
        story.state(t, host, "CLOSING", "on")
        story.say(t, host, ACK, seq, ack)
    t += LATENCY
    for host in ("client", "server"):
        story.state(t, host, "TIME_WAIT", "timewait")
        story.state(t + 60 * SECOND, host, "CLOSED")
    return story.finish(t + 60 * SECOND)


def keepalive_into_silence(idle=7200, interval=75, probes=9):
    """The server vanishes after an exchange; the client's keepalive finds out."""
    story = Story()
    t = story.exchange(story.open())
    story.note(t + MS, "server", "the cable is pulled")
    last = t - LATENCY
    story.state(last, "client", "ESTABLISHED", "keepalive", due=story.start + last + idle * SECOND)
    t = last + idle * SECOND
    for n in range(probes):
        story.state(t, "client", "ESTABLISHED", "keepalive", unanswered=n + 1)
        story.say(t, "client", ACK, 40, 201, kind="keepalive", fate="lost")
        t += interval * SECOND
    story.say(t, "client", RST | ACK, 41, 201, fate="lost")
    story.state(t, "client", "CLOSED")
    story.call(last, t, "client", "recv()", "ETIMEDOUT")
    return story.finish(t)


def dead_peer():
    """Data in flight into silence, tcp_retries2 = 15 with a tail loss probe: 17 transmissions, 929 s."""
    story = Story()
    t = story.exchange(story.open())
    first = t + 10 * MS
    story.note(t + MS, "server", "the cable is pulled")
    story.call(first, first, "client", "send(40)", "40")
    story.state(first, "client", "ESTABLISHED", "on", send_q=40)
    story.say(first, "client", PSH | ACK, 41, 201, 40, fate="lost")
    rto, t = 0.204, first + 204 * MS
    story.say(t, "client", PSH | ACK, 41, 201, 40, fate="lost", kind="tail_loss_probe")
    for _ in range(15):
        t += round(min(rto, 120) * SECOND)
        story.say(t, "client", PSH | ACK, 41, 201, 40, fate="lost", kind="retransmission")
        rto *= 2
    t += 120 * SECOND
    story.state(t, "client", "CLOSED")
    story.call(first, t, "client", "recv()", "ETIMEDOUT")
    return story.finish(t)


def reset_in_window(offset=100, verdict="challenged", window=65536, sack_edge=0):
    """A forged RST `offset` bytes from the client's RCV.NXT, and what the client makes of it."""
    story = Story()
    t = story.exchange(story.open())
    t += 10 * MS
    if sack_edge:
        story.say(t, "server", PSH | ACK, 201 + sack_edge - 100, 41, 100)
        block = (seq_add(ISN["server"], 201 + sack_edge - 100), seq_add(ISN["server"], 201 + sack_edge))
        t = story.say(t + LATENCY, "client", ACK, 41, 201, window=window, sack=(block,))
    else:
        t = story.say(t, "client", ACK, 41, 201, window=window)
    t += 10 * MS
    story.say(t, "server", RST, 201 + offset, 0, window=0, kind="forged", verdict=verdict)
    t += LATENCY
    if verdict == "challenged":
        story.say(t, "client", ACK, 41, 201, window=window, kind="challenge_ack")
    if verdict == "accepted":
        story.state(t, "client", "CLOSED")
        story.call(t - 10 * MS, t, "client", "recv()", "ECONNRESET")
    return story.finish(t + LATENCY)


def slow_reader(fills=4, stall=6):
    """The server sends more than the client reads: the window closes, is probed, and opens again."""
    story = Story()
    t = story.open()
    seq = 1
    for _ in range(fills):
        window = 32768
        for _ in range(4):
            arrived = story.say(t, "server", PSH | ACK, seq, 1, 8192)
            seq += 8192
            window -= 8192
            t = story.say(arrived, "client", ACK, 1, seq, window=window)
        wait, closed = 204 * MS, t
        story.state(t, "server", "ESTABLISHED", "persist", send_q=100_000)
        while t + wait < closed + stall * SECOND:
            t += wait
            wait *= 2
            arrived = story.say(t, "server", ACK, seq - 1, 1, kind="window_probe")
            story.say(arrived, "client", ACK, 1, seq, window=0)
        t = closed + stall * SECOND
        story.call(closed, t, "client", "recv()", "32768")
        t = story.say(t, "client", ACK, 1, seq, window=32768)
        story.state(t, "server", "ESTABLISHED")
    return story.finish(t)


def burst(segments=30, pause=0):
    """The server sends many segments in one go, and an ACK comes for every second one."""
    story = Story(latency=20 * MS)
    t = story.open()
    for n in range(segments):
        arrived = story.say(t + n * pause, "server", PSH | ACK, 1 + n * 1460, 1, 1460)
        if n % 2:
            story.say(arrived, "client", ACK, 1, 1 + (n + 1) * 1460)
    return story.finish(arrived + story.latency)


def many(segments=64):
    """A handshake and exchange after exchange, a second apart now and then."""
    story = Story()
    t = story.open()
    seq = ack = 1
    while len(story.trace.packets) + 3 <= segments:
        t = story.exchange(t + (SECOND if seq % 3 == 0 else 2 * MS), 40, 200, seq, ack)
        seq, ack = seq + 40, ack + 200
    return story.finish(t)


def lost_segment():
    """The first answer is lost and sent again; a SYN to another port is dropped by a firewall."""
    story = Story()
    t = story.open()
    t = story.say(t, "client", PSH | ACK, 1, 1, 40)
    story.say(t, "server", PSH | ACK, 1, 41, 200, fate="lost")
    t += 204 * MS
    t = story.say(t, "server", PSH | ACK, 1, 41, 200, kind="retransmission")
    t = story.say(t, "client", ACK, 41, 201)
    other = Endpoint(CLIENT.address, 40002)
    t += story.start + SECOND
    fate = "dropped_by:server's firewall"
    for n, wait in enumerate((0, 1, 2)):
        t += wait * SECOND
        segment = Segment(other, SERVER, 99, 0, SYN, 64240, mss=1460)
        story.trace.packets.append(
            Packet(t, "client", "server", segment, None, fate, kind="retransmission" * (n > 0))
        )
    return story.finish(t - story.start)


def proxy():
    """Three hosts: a proxy relays one exchange."""
    trace = Trace("by_hand", "model")
    trace.hosts = {"client": "10.0.0.1", "proxy": "10.0.0.2", "database": "10.0.0.3"}
    left = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 6432)
    right = Endpoint("10.0.0.2", 50000), Endpoint("10.0.0.3", 5432)
    t = SECOND
    for sender, receiver, (a, b) in (
        ("client", "proxy", left),
        ("proxy", "database", right),
        ("database", "proxy", right[::-1]),
        ("proxy", "client", left[::-1]),
    ):
        seq, ack = (1000, 2000) if a.port > b.port else (2000, 1100)
        trace.packets.append(
            Packet(t, sender, receiver, Segment(a, b, seq, ack, PSH | ACK, 64240, 100), t + MS)
        )
        t += MS
        trace.calls.append(Call(t, t, receiver, "recv()", "100"))
    for host, local, remote in (
        ("client", *left),
        ("proxy", *left[::-1]),
        ("proxy", *right),
        ("database", *right[::-1]),
    ):
        trace.sockets.append(SocketSample(SECOND, host, local, remote, "ESTABLISHED"))
    trace.end = t
    return trace


ALL = {
    "healthy": healthy,
    "crossing_fins": crossing_fins,
    "keepalive": keepalive_into_silence,
    "dead_peer": dead_peer,
    "reset_challenged": reset_in_window,
    "reset_ignored": lambda: reset_in_window(-1, "ignored"),
    "reset_accepted": lambda: reset_in_window(0, "accepted"),
    "reset_sack": lambda: reset_in_window(5000, "accepted", sack_edge=5000),
    "slow_reader": slow_reader,
    "burst": burst,
    "many": many,
    "lost_segment": lost_segment,
    "proxy": proxy,
    "empty": lambda: Trace("nothing", "model"),
}


class Relayed(Script):
    """A proxy relays a query; then the database's cable is out, and only the proxy's keepalive sees it."""

    async def run(self, bench):
        client_host, proxy, database = bench.hosts("client", "proxy", "database")
        front, back = await proxy.listen(6432), await database.listen(5432)
        probing = SocketOptions(keepalive_idle_s=2, keepalive_interval_s=1, keepalive_probes=3)
        _, client = await client_host.connect(proxy, 6432, probing)
        near = await front.accept()
        _, far = await proxy.connect(database, 5432, probing)
        server = await back.accept()
        await client.send(40)
        await near.receive()
        await far.exchange(server)
        await near.send(200)
        await client.receive()
        database.unplug()
        await far.wait_until_broken(60)
        await far.receive()
        await near.reset()
        await client.wait_until_broken(60)
        await client.receive()


class HalfOpen(Boxed):
    """The firewall has forgotten; the client gives up on an answer, and the server never gets an error."""

    async def run(self, bench):
        client, server = await self.pair_behind(bench, Firewall(SECOND))
        client.host.set(tcp_retries2=2)
        await bench.sleep(2)
        await client.send(40)
        await client.wait_until_broken(30)
        await client.receive()
        await bench.within(3, server.receive())


class Refreshed(Boxed):
    """Exchanges that restart the firewall's timer; then the server's cable is out."""

    async def run(self, bench):
        client, server = await self.pair_behind(bench, Firewall(10 * SECOND))
        await bench.sleep(6)
        await client.exchange(server)
        server.host.unplug()
        await client.send(40)
        await bench.sleep(1)


def trace_of(story):
    """A story's trace as `tcplab.run` would leave it."""
    trace = run_on_model(story)
    classify(trace.packets)
    return trace


BETWEEN = {
    "relayed": Relayed,
    "half_open": HalfOpen,
    "two_boxes": Two,
    "refreshed": Refreshed,
    **{
        f"{way}_{who}": partial(Idle, expired=way, who=who) for way in EXPIRED for who in ("client", "server")
    },
}
