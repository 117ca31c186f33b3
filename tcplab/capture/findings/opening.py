"""Findings about how a connection begins: whether anybody answered, and whether both ends have it.

One function a code. Each takes a `Story` and gives what it finds. Sources: RFC 9293 section 3.5 (handshake),
net/ipv4/tcp_timer.c:tcp_retransmit_timer (schedule of SYNs), net/ipv4/tcp_minisocks.c:tcp_check_req and
net/ipv4/syncookies.c (a full accept queue, and cookies).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tcplab.capture.findings.errors import ABSENCES, REFUSALS, about_syn
from tcplab.capture.findings.story import Finding, Story, acks, answers, opens, seconds, times
from tcplab.model.rst import ACCEPTED, handshake_reset_verdict
from tcplab.segment import ACK, FIN, RST, SYN, seq_add, seq_diff
from tcplab.trace import duration

#: How long Linux keeps TIME_WAIT (TCP_TIMEWAIT_LEN, include/net/tcp.h), nanoseconds.
TIME_WAIT = 60_000_000_000
#: Two gaps are the same when the second is at most this much longer.
SAME = 1.4


def refused(story: Story) -> Iterator[Finding]:
    """A SYN answered by RST+ACK, or by an ICMP error that refuses it."""
    asked: int | None = None
    for i, p in enumerate(story.passages):
        if p.sender == "client" and opens(p.segment):
            asked = i
        elif answers(p.segment):
            return
        elif p.sender == "server" and p.segment.flags & RST and asked is not None:
            syn = story.passages[asked].segment
            ack = p.segment.ack if p.segment.flags & ACK else None
            if handshake_reset_verdict(ack, una=syn.seq, nxt=seq_add(syn.seq, 1)) == ACCEPTED:
                yield story.finding(
                    "refused", [asked, i],
                    "The server's side refused the connection after "
                    f"{duration(p.t - story.passages[asked].t)}: "
                    "nobody listens on that port, or a firewall rejects it; one capture can't tell which.",
                    after_s=seconds(p.t - story.passages[asked].t),
                )  # fmt: skip
                return
    error = about_syn(story, REFUSALS)
    if asked is not None and error is not None and not story.places("server"):
        after = error.t - story.passages[asked].t
        yield story.finding(
            "refused", [asked],
            f"The connection was refused by ICMP after {duration(after)}: a firewall did that, for Linux "
            "itself answers with RST where nobody listens.",
            after_s=seconds(after),
        )  # fmt: skip


def unanswered_syn(story: Story) -> Iterator[Finding]:
    """The SYN and at least one retransmission or an ICMP error, and no answer of the server at all."""
    syns = [i for i in story.places("client", SYN) if opens(story.passages[i].segment)]
    enough = 1 if about_syn(story, ABSENCES) else 2  # connect() fails at once after such an error
    if len(syns) < enough or story.places("server") or about_syn(story, REFUSALS):
        return
    at = [story.passages[i].t for i in syns]
    gaps = [later - one for one, later in pairwise(at)]
    linear = gaps[1] < SAME * gaps[0] if len(gaps) > 1 else None
    yield story.finding(
        "unanswered_syn", syns,
        f"The client asked {times(len(syns))}{f' within {duration(at[-1] - at[0])}' if gaps else ''} "
        "and heard nothing of the server: it is gone, or something on the way drops the SYN or its answer.",
        attempts=len(syns), gaps_s=[seconds(gap) for gap in gaps],
        schedule=None if linear is None else "linear" if linear else "exponential",
    )  # fmt: skip


def ghost_suspected(story: Story) -> Iterator[Finding]:
    """The SYN-ACK again after the client has acknowledged it."""
    first = next((i for i in story.places("server", SYN) if answers(story.passages[i].segment)), None)
    if first is None or (done := story.acknowledged(first)) is None:
        return
    isn = story.passages[first].segment.seq
    again = [
        i
        for i in story.places("server", SYN)
        if i > done and answers(story.passages[i].segment) and story.passages[i].segment.seq == isn
    ]
    if again:
        yield story.finding(
            "ghost_suspected", [first, done, *again],
            f"The server repeated its SYN-ACK {times(len(again))} after the client had acknowledged it: its "
            "accept queue is probably full, and the client holds a connection that the server's program does "
            "not have. A lost ACK behind the point of capture looks the same.",
            repeated=len(again),
        )  # fmt: skip


def cookie_ghost_suspected(story: Story) -> Iterator[Finding]:
    """One SYN-ACK, then the client's first data again and again, never acknowledged."""
    synacks = [i for i in story.places("server", SYN) if answers(story.passages[i].segment)]
    if len(synacks) != 1 or (done := story.acknowledged(synacks[0])) is None:
        return
    isn = next((p.segment.seq for p in story.passages if opens(p.segment)), None)
    if isn is None:
        return
    data = [
        i
        for i in story.places("client")
        if (s := story.passages[i].segment).length and s.seq == seq_add(isn, 1) and not s.flags & RST
    ]
    heard = any(
        acks(story.passages[i].segment) and seq_diff(story.passages[i].segment.ack, isn) > 1
        for i in story.places("server")
    )
    if len(data) >= 3 and not heard:
        yield story.finding(
            "cookie_ghost_suspected", [synacks[0], done, *data],
            "The handshake is complete for the client, but its first data was sent "
            f"{times(len(data))} and never "
            "acknowledged: the server may have answered with a SYN cookie while its accept "
            "queue was full, and "
            "knows nothing of this connection. A route that died after the handshake looks the same.",
            attempts=len(data),
        )  # fmt: skip


def probe_only(story: Story) -> Iterator[Finding]:
    """Handshake and an end without a byte of data."""
    synack = next((i for i in story.places("server", SYN) if answers(story.passages[i].segment)), None)
    if story.carried or synack is None:
        return
    number = story.passages[synack].segment.end_seq
    # HAProxy's check answers the SYN-ACK with RST+ACK at once: that acknowledges it, too.
    answers_it = [i for i in story.places("client", ACK) if story.passages[i].segment.ack == number]
    done = next((i for i in answers_it if i > synack), len(story.passages))
    ends = [i for i, p in enumerate(story.passages) if i >= done and p.segment.flags & (FIN | RST)]
    if ends:
        yield story.finding(
            "probe_only", [0, synack, ends[0]],
            "The connection was opened and ended without a byte of data: most likely a health check.",
            open_s=seconds(story.passages[ends[0]].t - story.passages[synack].t),
        )  # fmt: skip


def midstream(story: Story) -> Iterator[Finding]:
    """No SYN."""
    if not story.places(flags=SYN):
        yield story.finding(
            "midstream", [0],
            "The connection was already open when the capture began: who opened it is a guess "
            "by the ports, and "
            "the true size of its windows is unknown.",
        )  # fmt: skip


def port_reused(story: Story) -> Iterator[Finding]:
    """A new SYN on a four-tuple that the capture saw end."""
    syn = next((i for i, p in enumerate(story.passages) if opens(p.segment)), None)
    if story.earlier is None or syn is None:
        return
    after = story.passages[syn].t - story.earlier.ended
    within = story.earlier.by_fin and after < TIME_WAIT
    told = story.finding(
        "port_reused", [syn],
        f"The client's port {story.client.port} is used again for the same server "
        f"{duration(after)} after the "
        f"last connection ended{', while TIME_WAIT would still last' if within else ''}.",
        after_s=seconds(after), within_time_wait=within,
    )  # fmt: skip
    yield Finding(told.code, (story.earlier.frame, *told.frames), told.t, told.says, told.facts)
