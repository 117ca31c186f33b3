"""What TIME_WAIT is for: a last ACK that was lost, and an old duplicate that would have been believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tcplab.bench.script import Bench, Connection, Host, Listener
from tcplab.core.knobs import choice, knob
from tcplab.core.segment import RST
from tcplab.core.text import in_words, seconds
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import CLOSED, Experiment, answered, broke_at

PURPOSE = choice(
    "what goes wrong", "last_ack_lost", "old_duplicate",
    help="The ACK of the last FIN is lost, or a segment of the old connection arrives late.",
)  # fmt: skip
TIME_WAIT = choice(
    "TIME_WAIT", "kept", "refused",
    help="Refused: with tcp_max_tw_buckets = 0 on the client, its port is free at once.",
)  # fmt: skip
SERVICE, PORT = 5432, 60001
REQUEST, RESPONSE = 40, 200


@dataclass(frozen=True, kw_only=True)
class WhyTimeWait(Experiment):
    """A client with one local port closes first; then something of the old conversation is still to come."""

    name = "why_time_wait"
    title = "What TIME_WAIT is for: a lost last ACK, and old segments that arrive late"
    lesson = "out_of_ports"
    controls = ("purpose", "time_wait", "latency_ms")
    presets = {
        "the last ACK is lost": {},
        "the last ACK is lost, no TIME_WAIT": {"time_wait": "refused"},
        "an old duplicate": {"purpose": "old_duplicate"},
        "an old duplicate, no TIME_WAIT": {"purpose": "old_duplicate", "time_wait": "refused"},
    }
    log_time = True
    quick = {}
    sampled = {
        "purpose": ("last_ack_lost", "old_duplicate"), "time_wait": ("kept", "refused"),
        "latency_ms": (1, 5, 20),
    }  # fmt: skip

    purpose: str = knob(PURPOSE, default="last_ack_lost")
    time_wait: str = knob(TIME_WAIT, default="kept")

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        # One port: the next connection has the same four-tuple. Without timestamps a sequence number is
        # all that tells an old segment from a new one.
        client_host.set(ip_local_port_range=(PORT, PORT), tcp_timestamps=0, tcp_rfc1337=1)
        if self.time_wait == "refused":
            client_host.set(tcp_max_tw_buckets=0)
        listener = await server_host.listen(SERVICE)
        client, server = await self._open(client_host, server_host, listener)
        await client.exchange(server, REQUEST, RESPONSE)
        await client.shutdown_write()
        await server.receive()
        await bench.sleep(0.05 + 2 * self.latency_ms / 1000)
        bench.watch_from_now()
        bench.does(client_host, "idle", "has shut down its sending side")
        if self.purpose == "last_ack_lost":
            bench.lose(client_host, ack=1)
            await server.close()
            bench.does(server_host, "idle", *CLOSED)
            await bench.sleep(1 + 4 * self.latency_ms / 1000)
            await client.close()
        else:
            await server.close()
            bench.does(server_host, "idle", *CLOSED)
            await bench.sleep(0.05 + 2 * self.latency_ms / 1000)
            await client.close()
            bench.does(client_host, "idle", *CLOSED)
            await bench.sleep(0.05)
            await self._duplicate(bench, client_host, server_host, listener, client)

    async def _open(self, client: Host, server: Host, listener: Listener) -> tuple[Connection, Connection]:
        _, ours = await client.connect(server, SERVICE)
        return ours, await listener.accept()

    async def _duplicate(
        self, bench: Bench, client_host: Host, server_host: Host, listener: Listener, old: Connection
    ) -> None:
        """A segment of the old conversation comes late: into TIME_WAIT, or into the next connection."""
        opened, client = await client_host.connect(server_host, SERVICE)
        if not opened.ok:
            bench.note(None, "an old answer of the server arrives late")
            bench.forge_data(old, RESPONSE)
            await bench.sleep(0.2 + 2 * self.latency_ms / 1000)
            return
        server = await listener.accept()
        await client.send(REQUEST)
        await server.receive_exactly(REQUEST)
        bench.note(None, "an old answer arrives late; its sequence number happens to be the next one")
        bench.forge_data(client, RESPONSE)
        await client.receive()
        await server.send(RESPONSE)
        await bench.within(0.5 + 2 * self.latency_ms / 1000, client.receive())

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        resets = [p for p in trace.sent_by("client", since) if p.segment.flags & RST]
        reconnects = trace.calls_of("client", "connect(", since)
        read = trace.calls_of("client", "recv(", since)
        answered = trace.calls_of("server", "send(", since)[:1]
        early = read[:1] if answered and trace.calls.index(read[0]) < trace.calls.index(answered[0]) else []
        gone = [s.t for s in trace.sockets if s.host == "server" and s.state == "CLOSED" and s.t >= since]
        return {
            "old_end_answers": "RST" if resets else "ACK" if not reconnects or reconnects[0].error else None,
            "server_waited_s": seconds(gone[0] - since) if gone else None,
            "reconnect_error": reconnects[0].error if reconnects else None,
            "old_bytes_believed": sum(int(call.result) for call in early),
        }

    def answer(self, trace: Trace) -> Answer | None:
        """When the server is done; or what becomes of the late segment."""
        since, start = trace.watching_since, broke_at(trace)
        if self.purpose == "last_ack_lost":
            gone = trace.end_of_socket("server")
            by = "" if self.time_wait == "kept" else " by a RST"
            return answered(since, gone.t, "server", f"server done{by}") if gone else None
        if not trace.outcome["old_bytes_believed"]:
            return Answer(start, None, "client", "TIME-WAIT drops the late segment")
        read = trace.calls_of("client", "recv(", start)[0]
        return Answer(start, read.t, "client", f"{read.result} old bytes are read as the new answer")

    def sentence(self, trace: Trace) -> str:
        outcome, kept = trace.outcome, self.time_wait == "kept"
        if self.purpose == "last_ack_lost":
            event = "The client closes first. Its last ACK is lost, and the server sends its FIN again"
            if kept:
                return (
                    f"{event}. The client, in TIME_WAIT, answers with an ACK: after "
                    f"{in_words(outcome['server_waited_s'])} the server has closed normally. The client's "
                    "60 s start again."
                )
            return (
                f"{event}. Without TIME_WAIT the client's kernel no longer knows the connection and "
                "answers with a RST: an orderly close ends on the server as a reset."
            )
        if kept:
            return (
                "The port is in TIME_WAIT, and the next connect() fails with EADDRNOTAVAIL. When an old "
                "answer arrives late, TIME_WAIT drops it and answers with an ACK."
            )
        return (
            "Without TIME_WAIT the next connection has the same four-tuple at once. An old answer arrives "
            "late, with a number that happens to fit: the client reads "
            f"{outcome['old_bytes_believed']} bytes as the answer to its new query. The real answer has "
            "the same numbers, and is dropped as a duplicate. No error on either side."
        )
