"""Findings about how a connection ends: FIN, half a close, and what became of each RST.

RSTs are judged by the model's own rule. Where the capture stands decides how much of the receiver can be
seen: what it did afterwards counts for more than what the numbers say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tcplab.capture.findings.silence import death
from tcplab.capture.findings.story import (
    ABSENCES,
    OTHER,
    REFUSALS,
    Finding,
    Story,
    about_syn,
    acks,
    answers,
    closes,
    opens,
)
from tcplab.core.releases import release
from tcplab.core.segment import ACK, FIN, RST, SYN, Segment, seq_add, seq_diff
from tcplab.core.text import SECOND, duration, seconds, times
from tcplab.follow import KEEPALIVE, RETRANSMISSION
from tcplab.model.rules import (
    ACCEPTED,
    CHALLENGED,
    CLOSE_WAIT,
    ESTABLISHED,
    IGNORED,
    handshake_reset_verdict,
    reset_verdict,
)

#: The largest window that a header can mean when its scale is unknown (RFC 7323 section 2.3).
WIDEST_SHIFT = 14

#: So many segments after a RST show whether the connection went on; so many blocks wait behind a hole.
HORIZON, BLOCKS = 1000, 256


@dataclass
class Heard:
    """What the receiver of one direction has, as far as it passed here."""

    #: RCV.NXT; None before anything is known.
    nxt: int | None = None
    #: Its last ACK number, and the furthest edge of its window.
    acked: int | None = None
    right: int | None = None
    #: What came ahead of a hole, (left, right) each.
    ahead: list[tuple[int, int]] | None = None

    def take(self, seq: int, end: int) -> None:
        """A segment on its way to the receiver."""
        if self.nxt is None:
            self.nxt = end
        elif seq_diff(seq, self.nxt) > 0:
            if end != seq:
                self.ahead = [*(self.ahead or []), (seq, end)][-BLOCKS:]
        else:
            self.reach(end)

    def reach(self, number: int) -> None:
        """The receiver has everything before `number`."""
        if self.nxt is None or seq_diff(number, self.nxt) > 0:
            self.nxt = number
        for left, right in list(self.ahead or []):
            if seq_diff(left, self.nxt) <= 0:
                assert self.ahead is not None
                self.ahead.remove((left, right))
                self.reach(right)
                return

    def says(self, segment: Segment, shift: int) -> None:
        """An ACK of the receiver."""
        if self.acked is None or seq_diff(segment.ack, self.acked) > 0:
            self.acked = segment.ack
        self.reach(segment.ack)
        edge = seq_add(segment.ack, segment.window << shift)
        if self.right is None or seq_diff(edge, self.right) > 0:
            self.right = edge

    @property
    def sack_edge(self) -> int | None:
        """Right edge of the highest block ahead of a hole."""
        if not self.ahead or self.nxt is None:
            return None
        low = self.nxt
        return max((right for _, right in self.ahead), key=lambda right: seq_diff(right, low))


@dataclass(frozen=True)
class Reset:
    """A RST that met a live connection."""

    place: int
    sender: str
    #: `accepted`, `challenged`, `ignored`.
    verdict: str
    #: Bytes from the number that the receiver expected.
    offset: int
    #: What shows it: the challenge ACK, or the segment by which the connection went on.
    proof: int | None = None


def resets(story: Story) -> list[Reset]:
    """Every RST of a connection after its handshake, with what its receiver did."""
    if "resets" not in story.known:
        story.known["resets"] = _resets(story)
    judged: list[Reset] = story.known["resets"]
    return judged


def _resets(story: Story) -> list[Reset]:
    heard = {"client": Heard(), "server": Heard()}
    # Which direction it describes is its sender's: heard["client"] is what the server has.
    known = any(p.segment.flags & SYN for p in story.packets)
    shift = 0 if known else WIDEST_SHIFT
    found: list[Reset] = []
    fins: set[str] = set()
    begun = not known
    for i, p in enumerate(story.packets):
        segment, mine, theirs = p.segment, heard[p.sender], heard[OTHER[p.sender]]
        if not segment.flags & RST:
            begun = begun or (p.sender == "client" and bool(segment.flags & ACK)) or answers(segment)
            mine.take(segment.seq, segment.end_seq)
            if segment.flags & ACK:
                theirs.says(segment, shift)
            if closes(segment):
                fins.add(p.sender)
            continue
        dead = any(each.verdict == ACCEPTED for each in found)
        if not begun or dead or (len(fins) == 2 and _finished(story, i)):
            continue
        found.extend(_judged(story, i, mine, p.sender in fins))
    return found


def _judged(story: Story, place: int, heard: Heard, after_fin: bool) -> Iterator[Reset]:
    """The RST at this place, if what became of it can be told."""
    p = story.packets[place]
    seq = p.segment.seq
    nxt = seq if heard.nxt is None else heard.nxt
    verdict = reset_verdict(
        seq,
        rcv_nxt=nxt,
        left_edge=nxt if heard.acked is None else heard.acked,
        right_edge=seq_add(nxt, 65535) if heard.right is None else heard.right,
        release=release(),
        state=CLOSE_WAIT if after_fin else ESTABLISHED,
        sack_edge=heard.sack_edge,
    )
    challenge, on = _challenge(story, place, heard.acked), _went_on(story, place, nxt)
    proof = on
    if verdict != IGNORED and challenge is not None and (verdict == CHALLENGED or on is not None):
        verdict, proof = CHALLENGED, challenge
    elif verdict != IGNORED and on is not None:
        verdict = IGNORED
    elif verdict == CHALLENGED:
        return  # neither an answer nor a sequel: the capture does not show what became of it
    yield Reset(place, p.sender, verdict, seq_diff(seq, nxt), proof)


def _challenge(story: Story, place: int, acked: int | None) -> int | None:
    """A bare ACK that says again what its sender had said, with nothing else that could have drawn it."""
    rst = story.packets[place]
    for i in range(place + 1, len(story.packets)):
        p = story.packets[i]
        if p.t - rst.t > SECOND:
            return None
        if p.sender == rst.sender:
            if p.segment.length or p.kind == KEEPALIVE or closes(p.segment):
                return None
        elif p.segment.flags & (ACK | FIN | RST) == ACK and not p.segment.length and p.segment.ack == acked:
            return i
    return None


def _went_on(story: Story, place: int, nxt: int) -> int | None:
    """Where the receiver acknowledged something that was sent after the RST."""
    sender = story.packets[place].sender
    sent = None
    for i in range(place + 1, min(place + HORIZON, len(story.packets))):
        p = story.packets[i]
        if p.sender == sender and not p.segment.flags & RST and seq_diff(p.segment.end_seq, nxt) > 0:
            sent = i
        elif p.sender != sender and sent is not None and acks(p.segment) and seq_diff(p.segment.ack, nxt) > 0:
            return i
    return None


def _finished(story: Story, place: int) -> bool:
    """True when the receiver of this RST has closed in both directions: nothing is left to reset."""
    receiver = OTHER[story.packets[place].sender]
    if "fins" not in story.known:
        story.known["fins"] = {side: story.places(side, FIN) for side in OTHER}
    fins: dict[str, list[int]] = story.known["fins"]
    mine = [i for i in fins[receiver] if i < place]
    other = [i for i in fins[OTHER[receiver]] if i < place]
    if not mine or not other or story.packets[mine[-1]].kind == RETRANSMISSION:
        return False
    acknowledged = story.acknowledged(mine[0])
    return acknowledged is not None and acknowledged < place


def reset_kind(story: Story, place: int) -> str:
    """Why it was sent: `abort` by a program or its Linux, `no_socket`, or `keepalive`.

    Linux gives an active reset the ACK flag (net/ipv4/tcp_output.c:tcp_send_active_reset); the answer to a
    segment for which there is no socket has none, and stands at the number that this one acknowledged.
    """
    p = story.packets[place]
    if p.segment.flags & ACK:
        died = death(story)
        return "keepalive" if died is not None and died[-1] == place else "abort"
    return "no_socket"


_WHY = {
    "abort": "It was a deliberate reset: a program closed with data unread or asked for it, or "
    "its process or a "
    "box between ended it.",
    "no_socket": "It was the answer to a segment for which nobody there had a socket any more; "
    "a firewall that "
    "rejects looks the same.",
    "keepalive": "Its keepalive probes had gone unanswered, and it gave the connection up.",
}


def reset_by_client(story: Story) -> Iterator[Finding]:
    """The client's RST ended the connection."""
    yield from _reset_by(story, "client")


def reset_by_server(story: Story) -> Iterator[Finding]:
    """The server's RST ended the connection."""
    yield from _reset_by(story, "server")


def _reset_by(story: Story, side: str) -> Iterator[Finding]:
    for reset in resets(story):
        if reset.verdict == ACCEPTED and reset.sender == side:
            kind = reset_kind(story, reset.place)
            yield story.finding(
                f"reset_by_{side}", [reset.place],
                f"A RST from the {side}'s side ended the connection, if it arrived. {_WHY[kind]}",
                kind=kind,
            )  # fmt: skip


def reset_ignored(story: Story) -> Iterator[Finding]:
    """A RST that the receiver threw away."""
    for reset in resets(story):
        if reset.verdict == IGNORED:
            on = [] if reset.proof is None else [reset.proof]
            yield story.finding(
                "reset_ignored", [reset.place, *on],
                f"A RST from the {reset.sender}'s side did not end the connection: it came "
                f"{_beside(reset.offset)} the receiver expected"
                f"{', and the connection went on' if on else ', outside its window'}.",
                side=reset.sender, offset=reset.offset,
            )  # fmt: skip


def reset_challenged(story: Story) -> Iterator[Finding]:
    """A RST that drew a challenge ACK."""
    for reset in resets(story):
        if reset.verdict == CHALLENGED and reset.proof is not None:
            yield story.finding(
                "reset_challenged", [reset.place, reset.proof],
                f"A RST from the {reset.sender}'s side did not end the connection: it came "
                f"{_beside(reset.offset)} "
                "the receiver expected, and was answered by a challenge ACK.",
                side=reset.sender, offset=reset.offset,
            )  # fmt: skip


def _beside(offset: int) -> str:
    if not offset:
        return "at the number that"
    unit = "byte" if abs(offset) == 1 else "bytes"
    return f"{abs(offset):,} {unit} {'past' if offset > 0 else 'before'} the number that"


def _close(story: Story) -> tuple[int, int | None] | None:
    """Where the first FIN is, and the other side's."""
    fins = [i for i, p in enumerate(story.packets) if closes(p.segment)]
    if not fins:
        return None
    first = fins[0]
    return first, next((i for i in fins if story.packets[i].sender != story.packets[first].sender), None)


def complete(story: Story) -> bool:
    """True when both sides closed, both FINs were acknowledged, and no RST ended it before."""
    close = _close(story)
    if close is None or close[1] is None or any(each.verdict == ACCEPTED for each in resets(story)):
        return False
    return all(place is not None and story.acknowledged(place) is not None for place in close)


def closed_by_client(story: Story) -> Iterator[Finding]:
    """The client sent the first FIN."""
    yield from _closed_by(story, "client")


def closed_by_server(story: Story) -> Iterator[Finding]:
    """The server sent the first FIN."""
    yield from _closed_by(story, "server")


def _closed_by(story: Story, side: str) -> Iterator[Finding]:
    close = _close(story)
    if close is None or story.packets[close[0]].sender != side:
        return
    first, second = close
    done = complete(story)
    holder = side if done else None
    if done and second is not None:
        fin = story.packets[first].segment
        if seq_diff(story.packets[second].segment.ack, fin.end_seq) < 0:
            holder = "both"  # the FINs crossed
    kept = {None: "The close is not complete in this capture.", "both": "Both keep it in TIME_WAIT."}
    yield story.finding(
        f"closed_by_{side}", [first] if second is None else [first, second],
        f"The {side} hung up first. {kept.get(holder, f'The {side} keeps its port in TIME_WAIT.')}",
        complete=done, time_wait_on=holder,
    )  # fmt: skip


def half_closed(story: Story) -> Iterator[Finding]:
    """One side has closed, the other has not for a second or more."""
    close = _close(story)
    if close is None or (acknowledged := story.acknowledged(close[0])) is None:
        return
    side = OTHER[story.packets[close[0]].sender]
    since = story.packets[acknowledged].t
    ends = [each.place for each in resets(story) if each.verdict == ACCEPTED]
    over = min([place for place in (close[1], *ends) if place is not None], default=None)
    lasted = (story.end if over is None else story.packets[over].t) - since
    if lasted < SECOND:
        return
    yield story.finding(
        "half_closed", [close[0], acknowledged, *([] if over is None else [over])],
        f"The {OTHER[side]} had closed, and the {side} knew it but did not close for {duration(lasted)}"
        f"{' (the capture ends there)' if over is None else ''}: its socket was in CLOSE_WAIT, "
        "and its program had not noticed or did not care.",
        side=side, lasted_s=seconds(lasted),
    )  # fmt: skip


# ----------------------------------------------------------------------
# Findings about how a connection begins: whether anybody answered, and whether both ends have it.
#
# One function a code. Each takes a `Story` and gives what it finds. Sources: RFC 9293 section 3.5,
# net/ipv4/tcp_timer.c:tcp_retransmit_timer (schedule of SYNs), net/ipv4/tcp_minisocks.c:tcp_check_req and
# net/ipv4/syncookies.c (a full accept queue, and cookies).

#: How long Linux keeps TIME_WAIT (TCP_TIMEWAIT_LEN, include/net/tcp.h), nanoseconds.
TIME_WAIT = 60_000_000_000
#: Two gaps are the same when the second is at most this much longer.
SAME = 1.4


def refused(story: Story) -> Iterator[Finding]:
    """A SYN answered by RST+ACK, or by an ICMP error that refuses it."""
    asked: int | None = None
    for i, p in enumerate(story.packets):
        if p.sender == "client" and opens(p.segment):
            asked = i
        elif answers(p.segment):
            return
        elif p.sender == "server" and p.segment.flags & RST and asked is not None:
            syn = story.packets[asked].segment
            ack = p.segment.ack if p.segment.flags & ACK else None
            if handshake_reset_verdict(ack, una=syn.seq, nxt=seq_add(syn.seq, 1)) == ACCEPTED:
                yield story.finding(
                    "refused", [asked, i],
                    "The server's side refused the connection after "
                    f"{duration(p.t - story.packets[asked].t)}: "
                    "nobody listens on that port, or a firewall rejects it; one capture can't tell which.",
                    after_s=seconds(p.t - story.packets[asked].t),
                )  # fmt: skip
                return
    error = about_syn(story, REFUSALS)
    if asked is not None and error is not None and not story.places("server"):
        after = error.t - story.packets[asked].t
        yield story.finding(
            "refused", [asked],
            f"The connection was refused by ICMP after {duration(after)}: a firewall did that, for Linux "
            "itself answers with RST where nobody listens.",
            after_s=seconds(after),
        )  # fmt: skip


def unanswered_syn(story: Story) -> Iterator[Finding]:
    """The SYN and at least one retransmission or an ICMP error, and no answer of the server at all."""
    syns = [i for i in story.places("client", SYN) if opens(story.packets[i].segment)]
    enough = 1 if about_syn(story, ABSENCES) else 2  # connect() fails at once after such an error
    if len(syns) < enough or story.places("server") or about_syn(story, REFUSALS):
        return
    at = [story.packets[i].t for i in syns]
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
    first = next((i for i in story.places("server", SYN) if answers(story.packets[i].segment)), None)
    if first is None or (done := story.acknowledged(first)) is None:
        return
    isn = story.packets[first].segment.seq
    again = [
        i
        for i in story.places("server", SYN)
        if i > done and answers(story.packets[i].segment) and story.packets[i].segment.seq == isn
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
    synacks = [i for i in story.places("server", SYN) if answers(story.packets[i].segment)]
    if len(synacks) != 1 or (done := story.acknowledged(synacks[0])) is None:
        return
    isn = next((p.segment.seq for p in story.packets if opens(p.segment)), None)
    if isn is None:
        return
    data = [
        i
        for i in story.places("client")
        if (s := story.packets[i].segment).length and s.seq == seq_add(isn, 1) and not s.flags & RST
    ]
    heard = any(
        acks(story.packets[i].segment) and seq_diff(story.packets[i].segment.ack, isn) > 1
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
    synack = next((i for i in story.places("server", SYN) if answers(story.packets[i].segment)), None)
    if story.carried or synack is None:
        return
    number = story.packets[synack].segment.end_seq
    # HAProxy's check answers the SYN-ACK with RST+ACK at once: that acknowledges it, too.
    answers_it = [i for i in story.places("client", ACK) if story.packets[i].segment.ack == number]
    done = next((i for i in answers_it if i > synack), len(story.packets))
    ends = [i for i, p in enumerate(story.packets) if i >= done and p.segment.flags & (FIN | RST)]
    if ends:
        yield story.finding(
            "probe_only", [0, synack, ends[0]],
            "The connection was opened and ended without a byte of data: most likely a health check.",
            open_s=seconds(story.packets[ends[0]].t - story.packets[synack].t),
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
    syn = next((i for i, p in enumerate(story.packets) if opens(p.segment)), None)
    if story.earlier is None or syn is None:
        return
    after = story.packets[syn].t - story.earlier.ended
    within = story.earlier.by_fin and after < TIME_WAIT
    told = story.finding(
        "port_reused", [syn],
        f"The client's port {story.client.port} is used again for the same server "
        f"{duration(after)} after the "
        f"last connection ended{', while TIME_WAIT would still last' if within else ''}.",
        after_s=seconds(after), within_time_wait=within,
    )  # fmt: skip
    yield Finding(told.code, (story.earlier.frame, *told.frames), told.t, told.says, told.facts)
