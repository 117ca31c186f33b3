"""Findings about how a connection ends: FIN, half a close, and what became of each RST.

RSTs are judged by the model's own rule. Where the capture stands decides how much of the receiver can be
seen: what it did afterwards counts for more than what the numbers say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tcplab.capture.findings.silence import death
from tcplab.capture.findings.story import OTHER, Finding, Story, acks, answers, closes, seconds
from tcplab.kinds import KEEPALIVE, RETRANSMISSION
from tcplab.model.rst import ACCEPTED, CHALLENGED, IGNORED, reset_verdict
from tcplab.model.states import CLOSE_WAIT, ESTABLISHED
from tcplab.releases import release
from tcplab.segment import ACK, FIN, RST, SYN, Segment, seq_add, seq_diff
from tcplab.trace import SECOND, duration

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
    known = any(p.segment.flags & SYN for p in story.passages)
    shift = 0 if known else WIDEST_SHIFT
    found: list[Reset] = []
    fins: set[str] = set()
    begun = not known
    for i, p in enumerate(story.passages):
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
    p = story.passages[place]
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
    rst = story.passages[place]
    for i in range(place + 1, len(story.passages)):
        p = story.passages[i]
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
    sender = story.passages[place].sender
    sent = None
    for i in range(place + 1, min(place + HORIZON, len(story.passages))):
        p = story.passages[i]
        if p.sender == sender and not p.segment.flags & RST and seq_diff(p.segment.end_seq, nxt) > 0:
            sent = i
        elif p.sender != sender and sent is not None and acks(p.segment) and seq_diff(p.segment.ack, nxt) > 0:
            return i
    return None


def _finished(story: Story, place: int) -> bool:
    """True when the receiver of this RST has closed in both directions: nothing is left to reset."""
    receiver = OTHER[story.passages[place].sender]
    if "fins" not in story.known:
        story.known["fins"] = {side: story.places(side, FIN) for side in OTHER}
    fins: dict[str, list[int]] = story.known["fins"]
    mine = [i for i in fins[receiver] if i < place]
    other = [i for i in fins[OTHER[receiver]] if i < place]
    if not mine or not other or story.passages[mine[-1]].kind == RETRANSMISSION:
        return False
    acknowledged = story.acknowledged(mine[0])
    return acknowledged is not None and acknowledged < place


def reset_kind(story: Story, place: int) -> str:
    """Why it was sent: `abort` by a program or its Linux, `no_socket`, or `keepalive`.

    Linux gives an active reset the ACK flag (net/ipv4/tcp_output.c:tcp_send_active_reset); the answer to a
    segment for which there is no socket has none, and stands at the number that this one acknowledged.
    """
    p = story.passages[place]
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
    fins = [i for i, p in enumerate(story.passages) if closes(p.segment)]
    if not fins:
        return None
    first = fins[0]
    return first, next((i for i in fins if story.passages[i].sender != story.passages[first].sender), None)


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
    if close is None or story.passages[close[0]].sender != side:
        return
    first, second = close
    done = complete(story)
    holder = side if done else None
    if done and second is not None:
        fin = story.passages[first].segment
        if seq_diff(story.passages[second].segment.ack, fin.end_seq) < 0:
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
    side = OTHER[story.passages[close[0]].sender]
    since = story.passages[acknowledged].t
    ends = [each.place for each in resets(story) if each.verdict == ACCEPTED]
    over = min([place for place in (close[1], *ends) if place is not None], default=None)
    lasted = (story.end if over is None else story.passages[over].t) - since
    if lasted < SECOND:
        return
    yield story.finding(
        "half_closed", [close[0], acknowledged, *([] if over is None else [over])],
        f"The {OTHER[side]} had closed, and the {side} knew it but did not close for {duration(lasted)}"
        f"{' (the capture ends there)' if over is None else ''}: its socket was in CLOSE_WAIT, "
        "and its program had not noticed or did not care.",
        side=side, lasted_s=seconds(lasted),
    )  # fmt: skip
