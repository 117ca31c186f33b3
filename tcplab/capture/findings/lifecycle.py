"""Findings about how a connection begins and ends: who answered, who closed, and what became of each RST.

One function per code; each takes a `ConnectionStory` and yields its findings. Sources: RFC 9293 section 3.5,
net/ipv4/tcp_timer.c:tcp_retransmit_timer (schedule of SYNs), net/ipv4/tcp_minisocks.c:tcp_check_req and
net/ipv4/syncookies.c (a full accept queue, and cookies).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from tcplab.capture.findings.story import (
    ABSENCES,
    REFUSALS,
    ConnectionStory,
    Finding,
    Goodbye,
    about_syn,
)
from tcplab.core.connections import acks, answers, closes, opens
from tcplab.core.segment import ACK, FIN, RST, SYN, after, seq_add, seq_diff
from tcplab.core.text import MILLISECOND, SECOND, duration, plural, seconds, times
from tcplab.follow import CLIENT, OTHER, SERVER
from tcplab.model.rules import ACCEPTED, CHALLENGED, IGNORED, TIME_WAIT_LENGTH, handshake_reset_verdict

#: Two gaps are the same when the second is at most this much longer.
SAME = 1.4


def refused(story: ConnectionStory) -> Iterator[Finding]:
    """A SYN answered by RST+ACK, or by an ICMP error that refuses it."""
    asked: int | None = None
    if _synacks(story):
        return  # the SYN was sent again, or the RST came from a middlebox
    for i, p in enumerate(story.packets):
        if p.sender == CLIENT and opens(p.segment):
            asked = i
        elif p.sender == SERVER and p.segment.flags & RST and asked is not None:
            syn = story.packets[asked].segment
            ack = p.segment.ack if p.segment.flags & ACK else None
            if handshake_reset_verdict(ack, una=syn.seq, nxt=seq_add(syn.seq, 1)) == ACCEPTED:
                yield story.finding(
                    "refused", [asked, i],
                    "The server's side refused the connection after "
                    f"{duration(p.t - story.packets[asked].t)}: "
                    "no program listens on that port, or a firewall rejects it; one capture can't tell.",
                    after_s=seconds(p.t - story.packets[asked].t),
                )  # fmt: skip
                return
    error = about_syn(story, REFUSALS)
    if asked is not None and error is not None and not story.places(SERVER):
        after = error.t - story.packets[asked].t
        yield story.finding(
            "refused", [asked],
            f"The connection was refused by ICMP after {duration(after)}: a firewall did that, as Linux "
            "answers with a RST if no program listens.",
            after_s=seconds(after),
        )  # fmt: skip


def unanswered_syn(story: ConnectionStory) -> Iterator[Finding]:
    """The SYN and at least one retransmission or an ICMP error, and no answer of the server."""
    syns = [i for i in story.places(CLIENT, SYN) if opens(story.packets[i].segment)]
    enough = 1 if about_syn(story, ABSENCES) else 2  # connect() fails at once after such an error
    if len(syns) < enough or story.places(SERVER) or about_syn(story, REFUSALS):
        return
    at = [story.packets[i].t for i in syns]
    gaps = [later - one for one, later in pairwise(at)]
    linear = gaps[1] < SAME * gaps[0] if len(gaps) > 1 else None
    yield story.finding(
        "unanswered_syn", syns,
        f"The client sent its SYN {times(len(syns))}{f' within {duration(at[-1] - at[0])}' if gaps else ''} "
        "and got no answer: the server is down, or a device on the path drops the SYN or its answer.",
        attempts=len(syns), gaps_s=[seconds(gap) for gap in gaps],
        schedule=None if linear is None else "linear" if linear else "exponential",
    )  # fmt: skip


def _synacks(story: ConnectionStory) -> list[int]:
    """Where the server sent a SYN-ACK."""
    return [i for i in story.places(SERVER, SYN) if answers(story.packets[i].segment)]


def slow_connect(story: ConnectionStory) -> Iterator[Finding]:
    """The SYN was sent again before the connection was established."""
    syns = [i for i in story.places(CLIENT, SYN) if opens(story.packets[i].segment)]
    synacks = _synacks(story)
    if not syns or (synacks and synacks[-1] < syns[0]):
        return
    done = next(
        (i for i in story.places(CLIENT, ACK) if i > syns[0] and acks(story.packets[i].segment)), None
    )
    if done is None and (not synacks or any(i > synacks[-1] for i in story.places(CLIENT, RST))):
        return
    syns = [i for i in syns if done is None or i < done]
    # The same SYN may have met an older connection first.
    isn, before = story.packets[syns[0]].segment.seq, story.earlier.syns if story.earlier else ()
    before = tuple(each for each in before if each[0] == isn)
    attempts = len(before) + len(syns)
    if attempts < 2:
        return
    last = synacks[-1] if done is None else done
    took = story.packets[last].t - (before[0][1] if before else story.packets[syns[0]].t)
    finding = story.finding(
        "slow_connect", sorted({*syns, *synacks[:1], last}),
        f"The connection took {duration(took)} to establish: the client sent its SYN {times(attempts)} "
        "before it was answered. The first ones or their answers were lost, or the server's SYN queue was "
        "full.",
        attempts=attempts, took_s=seconds(took),
    )  # fmt: skip
    yield replace(finding, frames=(*(frame for _, _, frame in before), *finding.frames))


def handshake_incomplete(story: ConnectionStory) -> Iterator[Finding]:
    """The SYN-ACK was sent again and never acknowledged."""
    synacks = _synacks(story)
    if len(synacks) < 2 or not _never_established(story):
        return
    lasted = story.packets[synacks[-1]].t - story.packets[synacks[0]].t
    resets = [i for i in story.places(flags=RST) if i > synacks[0]][:1]
    end = f" A RST from the {story.packets[resets[0]].sender}'s side ended the attempt." if resets else ""
    yield story.finding(
        "handshake_incomplete", [*synacks, *resets],
        f"The server sent its SYN-ACK {times(len(synacks))} within {duration(lasted)}, and the client never "
        "acknowledged it: the SYN-ACK or the client's ACK is lost on the path, or the client no longer "
        f"answers.{end}",
        attempts=len(synacks),
    )  # fmt: skip


def _never_established(story: ConnectionStory) -> bool:
    """There is a SYN-ACK, and the client acknowledged none; its RST is no acknowledgement."""
    return bool(_synacks(story)) and all(story.acknowledged(i) is None for i in _synacks(story))


def stale_half(story: ConnectionStory) -> Iterator[Finding]:
    """A SYN that met an older connection of the same four-tuple on the server."""
    if story.stale_half:
        is_reset = len(story.stale_half) > 2
        reset = " The client's RST closed that connection." if is_reset else ""
        yield story.finding(
            "stale_half", [*story.stale_half],
            "The server answered the SYN with a bare ACK that does not acknowledge it: it still holds an "
            f"older connection with the same addresses and ports.{reset} The client's next SYN can succeed.",
            answered_by_reset=is_reset,
        )  # fmt: skip


#: A SYN-ACK that is sent again sooner was not repeated by its timer, whose first timeout is 1 s
#: (include/net/tcp.h, TCP_TIMEOUT_INIT).
SOON = 900 * MILLISECOND


def ghost_suspected(story: ConnectionStory) -> Iterator[Finding]:
    """A SYN-ACK repeated after the client has acknowledged it, by a server that does not go on."""
    synacks = _synacks(story)
    if not synacks or (done := story.acknowledged(synacks[0])) is None:
        return
    first, isn = synacks[0], story.packets[synacks[0]].segment.seq
    repeated = [
        later for one, later in pairwise(synacks)
        if later > done and story.packets[later].segment.seq == isn
        and story.packets[later].t - story.packets[one].t >= SOON
    ]  # fmt: skip
    if not repeated or _serves(story, repeated[0]):
        return
    yield story.finding(
        "ghost_suspected", [first, done, *repeated],
        f"The server repeated its SYN-ACK {times(len(repeated))} after the client had acknowledged it: "
        "its accept queue is probably full, and the client holds a connection that the server's program "
        "does not have. A client's ACK that is lost beyond the capture point looks the same.",
        repeated=len(repeated),
    )  # fmt: skip


def _serves(story: ConnectionStory, since: int) -> bool:
    """The server sent or acknowledged data after this place: its program has the connection."""
    syn = next((p.segment for p in story.packets if opens(p.segment)), None)
    return any(
        s.length or (syn is not None and acks(s) and not s.flags & SYN and after(s.ack, syn.end_seq))
        for i in story.places(SERVER)
        if i > since and not (s := story.packets[i].segment).flags & RST
    )


def cookie_ghost_suspected(story: ConnectionStory) -> Iterator[Finding]:
    """One SYN-ACK, then the client's first data sent repeatedly and never acknowledged."""
    synacks = _synacks(story)
    if len(synacks) != 1 or (done := story.acknowledged(synacks[0])) is None:
        return
    isn = next((p.segment.seq for p in story.packets if opens(p.segment)), None)
    if isn is None:
        return
    heard = any(
        acks(story.packets[i].segment) and seq_diff(story.packets[i].segment.ack, isn) > 1
        for i in story.places(SERVER)
    )
    if heard:
        return
    data = [
        i
        for i in story.places(CLIENT)
        if (s := story.packets[i].segment).length and s.seq == seq_add(isn, 1) and not s.flags & RST
    ]
    if len(data) >= 3:
        yield story.finding(
            "cookie_ghost_suspected", [synacks[0], done, *data],
            f"The handshake is complete for the client, but its first data was sent {times(len(data))} and "
            "never acknowledged: the server may have answered with a SYN cookie while its accept queue was "
            "full, and has no such connection. A path that broke after the handshake looks the same.",
            attempts=len(data),
        )  # fmt: skip


_PROBE = "The connection was opened and ended without a byte of data: most likely a health check."


def probe_only(story: ConnectionStory) -> Iterator[Finding]:
    """Handshake and an end without a byte of data."""
    synack = next(iter(_synacks(story)), None)
    if synack is None or any(p.segment.length for p in story.packets):
        return
    if _counts_data(story):
        return
    number = story.packets[synack].segment.end_seq
    # HAProxy's check answers the SYN-ACK with RST+ACK at once: that acknowledges it, too.
    answers_it = [i for i in story.places(CLIENT, ACK) if story.packets[i].segment.ack == number]
    done = next((i for i in answers_it if i > synack), len(story.packets))
    ends = [i for i, p in enumerate(story.packets) if i >= done and p.segment.flags & (FIN | RST)]
    if ends:
        lasted = story.packets[ends[0]].t - story.packets[synack].t
        yield story.finding("probe_only", [0, synack, ends[0]], _PROBE, open_s=seconds(lasted))


def _counts_data(story: ConnectionStory) -> bool:
    """Whether the numbers of a FIN, a RST or an ACK count bytes that are not in the file."""
    begun = {p.sender: p.segment.end_seq for p in story.packets if p.segment.flags & (SYN | RST) == SYN}
    for p in story.packets:
        s, mine, theirs = p.segment, begun.get(p.sender), begun.get(OTHER[p.sender])
        if s.flags & (FIN | RST) and not s.flags & SYN and mine is not None and seq_diff(s.seq, mine) > 1:
            return True
        if acks(s) and theirs is not None and seq_diff(s.ack, theirs) > 1:
            return True
    return False


def midstream(story: ConnectionStory) -> Iterator[Finding]:
    """A connection of which the capture has no SYN."""
    if not story.places(flags=SYN):
        yield story.finding(
            "midstream", [0],
            "The connection was already open when the capture began: which side is the client is a guess "
            "by the ports, and the window scale is unknown.",
        )  # fmt: skip


def port_reused(story: ConnectionStory) -> Iterator[Finding]:
    """A new SYN on a four-tuple that the capture saw end."""
    syn = next((i for i, p in enumerate(story.packets) if opens(p.segment)), None)
    if story.earlier is None or syn is None or story.packets[syn].t < story.earlier.ended:
        return
    after_end = story.packets[syn].t - story.earlier.ended
    within = story.earlier.by_fin and after_end < TIME_WAIT_LENGTH
    finding = story.finding(
        "port_reused", [syn],
        f"The client's port {story.client.port} is used again for the same server {duration(after_end)} "
        f"after the last connection ended{', within its TIME_WAIT period' if within else ''}.",
        after_s=seconds(after_end), within_time_wait=within,
    )  # fmt: skip
    yield replace(finding, frames=(story.earlier.frame, *finding.frames))


def reset_kind(story: ConnectionStory, place: int) -> str:
    """Why a RST was sent: `abort` by a program or its kernel, `no_socket`, or `keepalive`.

    Linux gives an active reset the ACK flag (net/ipv4/tcp_output.c:tcp_send_active_reset); the answer to a
    segment for which there is no socket has none, and is at the number that this one acknowledged.
    """
    p = story.packets[place]
    if p.segment.flags & ACK:
        return "keepalive" if story.keepalive_death[-1:] == [place] else "abort"
    return "no_socket"


_WHY = {
    "abort": "It was an abort: a program closed with unread data or requested a reset, its process "
    "ended, or a middlebox ended the connection.",
    "no_socket": "It was the answer to a segment for which that side no longer had a socket; "
    "a firewall that rejects looks the same.",
    "keepalive": "Its keepalive probes were not answered, and it aborted the connection.",
}


def reset_by(story: ConnectionStory, side: str) -> Iterator[Finding]:
    """A RST of this side ended the connection."""
    if _never_established(story) and len(_synacks(story)) > 1:
        return  # nothing had been established: `handshake_incomplete` reports it
    for reset in story.resets:
        if reset.verdict == ACCEPTED and reset.sender == side and not reset.after_close:
            kind = reset_kind(story, reset.place)
            yield story.finding(
                f"reset_by_{side}", [reset.place],
                f"A RST from the {side}'s side ended the connection, if it arrived. {_WHY[kind]}",
                kind=kind,
            )  # fmt: skip


def reset_after_close(story: ConnectionStory) -> Iterator[Finding]:
    """A RST to an end that had closed already."""
    for reset in story.resets:
        if reset.after_close:
            receiver = OTHER[reset.sender]
            yield story.finding(
                "reset_after_close", [reset.place],
                f"A RST from the {reset.sender}'s side came after the {receiver} had closed: harmless, since "
                "no program uses this connection any more.",
                side=reset.sender, kind=reset_kind(story, reset.place),
            )  # fmt: skip


def reset_ignored(story: ConnectionStory) -> Iterator[Finding]:
    """A RST that the receiver discarded."""
    for reset in story.resets:
        if reset.verdict == IGNORED:
            on = [] if reset.proof is None else [reset.proof]
            yield story.finding(
                "reset_ignored", [reset.place, *on],
                f"A RST from the {reset.sender}'s side did not end the connection: it came "
                f"{_offset(reset.offset)} the receiver expected"
                f"{', and the connection went on' if on else ', outside its window'}.",
                side=reset.sender, offset=reset.offset,
            )  # fmt: skip


def reset_challenged(story: ConnectionStory) -> Iterator[Finding]:
    """A RST that drew a challenge ACK."""
    for reset in story.resets:
        if reset.verdict == CHALLENGED and reset.proof is not None:
            yield story.finding(
                "reset_challenged", [reset.place, reset.proof],
                f"A RST from the {reset.sender}'s side did not end the connection: it came "
                f"{_offset(reset.offset)} the receiver expected, and was answered by a challenge ACK.",
                side=reset.sender, offset=reset.offset,
            )  # fmt: skip


def _offset(offset: int) -> str:
    if not offset:
        return "at the number that"
    return f"{plural(abs(offset), 'byte')} {'past' if offset > 0 else 'before'} the number that"


def _close(story: ConnectionStory) -> tuple[int, int | None] | None:
    """Where the first FIN is, and the other side's."""
    fins = [i for i in story.places(flags=FIN) if closes(story.packets[i].segment)]
    if not fins:
        return None
    first = fins[0]
    return first, next((i for i in fins if story.packets[i].sender != story.packets[first].sender), None)


def complete(story: ConnectionStory) -> bool:
    """True when both sides closed, both FINs were acknowledged, and no RST ended it before."""
    close = _close(story)
    if close is None or close[1] is None or ended_by_reset(story):
        return False
    return all(place is not None and story.acknowledged(place) is not None for place in close)


def ended_by_reset(story: ConnectionStory) -> bool:
    """True when a RST ended it, other than one that answered the close."""
    return any(each.verdict == ACCEPTED and not each.after_close for each in story.resets)


def both_fins(story: ConnectionStory) -> bool:
    """True when both sides sent a FIN."""
    close = _close(story)
    return close is not None and close[1] is not None


def _holder(story: ConnectionStory, first: int, second: int) -> str | None:
    """Who stays in TIME_WAIT after a complete close: `client`, `server`, `both`, or None.

    An exact RST ends that state (RFC 1337; net.ipv4.tcp_rfc1337 = 0,
    net/ipv4/tcp_minisocks.c:tcp_timewait_state_process), and an end that answers by RST is not in it.
    """
    one, two = story.packets[first], story.packets[second]
    crossed = seq_diff(two.segment.ack, one.segment.end_seq) < 0
    holders = {one.sender: two, **({two.sender: one} if crossed else {})}
    for i in story.places(flags=RST):
        p = story.packets[i]
        fin = holders.get(p.receiver)
        if i > second and fin is not None and p.segment.seq == fin.segment.end_seq:
            holders.pop(p.receiver)
        if i > second:
            holders.pop(p.sender, None)
    return "both" if len(holders) > 1 else next(iter(holders), None)


def closed_by(story: ConnectionStory, side: str) -> Iterator[Finding]:
    """This side sent the first FIN."""
    close = _close(story)
    if close is None or story.packets[close[0]].sender != side:
        return
    first, second = close
    done = complete(story)
    holder = _holder(story, first, second) if done and second is not None else None
    late = not done and any(reset.after_close for reset in story.resets)
    yield story.finding(
        f"closed_by_{side}", [first] if second is None else [first, second],
        _who_closed(side, done, holder, late), complete=done, time_wait_on=holder,
    )  # fmt: skip


def _who_closed(side: str, done: bool, holder: str | None, late: bool = False) -> str:
    """The sentence; `late`: a RST came after the close."""
    if not done:
        cut = "A RST ended the close before it was complete."
        then = cut if late else "The close is not complete in this capture."
    elif holder == "both":
        then = "Both keep the connection in TIME_WAIT."
    else:
        then = f"The {holder} keeps its port in TIME_WAIT." if holder else "A RST ended TIME_WAIT."
    return f"The {side} closed first. {then}"


def half_closed(story: ConnectionStory) -> Iterator[Finding]:
    """One side has closed, the other has not for a second or more."""
    close = _close(story)
    if close is None or (acknowledged := story.acknowledged(close[0])) is None:
        return
    side = OTHER[story.packets[close[0]].sender]
    since = story.packets[acknowledged].t
    ends = [each.place for each in story.resets if each.verdict == ACCEPTED]
    over = min([place for place in (close[1], *ends) if place is not None], default=None)
    lasted = (story.end if over is None else story.packets[over].t) - since
    if lasted < SECOND:
        return
    yield story.finding(
        "half_closed", [close[0], acknowledged, *([] if over is None else [over])],
        _waited(side, lasted, over is not None), side=side, lasted_s=seconds(lasted),
    )  # fmt: skip


def _waited(side: str, lasted: int, is_over: bool) -> str:
    return (
        f"The {OTHER[side]} had closed, and the {side} acknowledged it but did not close "
        f"for {duration(lasted)}"
        f"{'' if is_over else ' (the capture ends there)'}: its socket was in CLOSE_WAIT, "
        "and its program had not called close()."
    )


def of_goodbye(bye: Goodbye, end: int) -> Iterator[Finding]:
    """The findings of a healthy connection that was closed; `end`: of the capture, nanoseconds."""
    side, peer = (CLIENT, SERVER) if bye.by_client else (SERVER, CLIENT)
    lasted = (bye.ended if bye.both else end) - bye.acknowledged
    frames = (bye.fin, bye.other_fin) if bye.both else (bye.fin,)
    if lasted >= SECOND:
        facts = {"side": peer, "lasted_s": seconds(lasted)}
        proof = bye.fin, bye.ack, *frames[1:]
        yield Finding("half_closed", proof, bye.began, _waited(peer, lasted, bye.both), facts)
    if bye.empty:
        facts = {"open_s": seconds(bye.began - bye.answered)}
        yield Finding("probe_only", (bye.syn, bye.synack, bye.fin), bye.opened, _PROBE, facts)
    holder = None if not bye.both else "both" if bye.crossed else side
    says = _who_closed(side, bye.both, holder)
    yield Finding(
        f"closed_by_{side}", frames, bye.began, says, {"complete": bye.both, "time_wait_on": holder}
    )
