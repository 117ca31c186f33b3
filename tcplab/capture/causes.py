"""Why connections broke together: evidence to cause, how certain that is, and what would look the same.

The first rule of `RULES` that holds gives the cause. A rule never claims more than its evidence: that a
process ended needs a refusal or a message, and a single file seldom shows where packets are lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tcplab.capture.shared import HOST, LATE, NETWORK, PORT, PROHIBITED, TOO_BIG
from tcplab.core.text import in_words

#: How certain a cause is. `SAID` and `SAID_BY` name who said it; `BOTH_FILES`: two captures show it.
SAID, SAID_BY, BOTH_FILES = "said by the server", "said by {icmp_from}", "seen in both files"
LIKELY, UNKNOWN = "most likely", "can’t tell"
#: A connection that was silent for this long may have been dropped from a firewall's table, seconds.
IDLE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class IncidentEvidence:
    """What a capture shows about the connections of one incident."""

    #: As in `Broke.family`.
    family: str
    #: Connections; how many of them were refused, and how many are unanswered connection attempts.
    count: int = 1
    refused: int = 0
    attempts: int = 0
    #: Address and port of the server; the host that fell silent, closed or reset; the hosts at the other end.
    server: str = ""
    host: str = ""
    peers: str = ""
    #: `client` or `server`: the side that fell silent, or whose packets don't arrive.
    side: str = "server"
    #: Codes of the findings of its connections.
    codes: frozenset[str] = frozenset()
    #: The kind of the RSTs, as in a finding's facts; empty without a RST.
    reset: str = ""
    #: Afterwards the silent host answered: these peers on other connections; other peers.
    answers_same: bool = False
    answers_others: bool = False
    #: The shortest silence before what was not answered, seconds, where all were idle; else 0.
    idle_s: float = 0.0
    #: The silence before the end of each, seconds, where that was the same for all; else 0.
    equal_s: float = 0.0
    #: Only segments larger than any that was acknowledged went unanswered.
    full_size: bool = False
    #: An ICMP error about its segments, a word of `shared`, and the sender.
    icmp: str = ""
    icmp_from: str = ""
    #: What the server sent last, quoted; what it means; what sends the same; what it leaves open.
    message: str = ""
    meaning: str = ""
    meaning_same: str = ""
    meaning_open: str = ""
    #: Packets that one file has and the other lacks, although it was being written: in which directions.
    lost: str = ""

    def words(self) -> dict[str, str]:
        """What the sentences of a rule are filled with."""
        return {
            "server": self.server, "host": self.host, "peers": self.peers, "side": self.side,
            "other": "client" if self.side == "server" else "server", "icmp": self.icmp,
            "icmp_from": self.icmp_from, "idle": in_words(self.idle_s), "lost": self.lost,
            "equal": in_words(self.equal_s),
            "message": self.message, "meaning": f": {self.meaning}" if self.meaning else "",
            "same": self.meaning_same or "A pooler or proxy in front of it can send the same message.",
            "open": self.meaning_open or "What led to it is in the server’s log at this time.",
            "it": "this connection" if self.count == 1 else "these connections",
        }  # fmt: skip


@dataclass(frozen=True)
class Cause:
    """Why connections broke, as far as a capture shows it."""

    #: A key of `RULES`.
    code: str
    #: `said by the server`, `said by ADDRESS`, `seen in both files`, `most likely` or `can’t tell`.
    certainty: str
    #: A sentence each: the cause, what would look the same, and what the file leaves open.
    says: str
    looks_same: str
    cannot_tell: str

    @property
    def text(self) -> str:
        """The cause and what would look the same."""
        return f"{self.says} {self.looks_same}"

    @property
    def left_open(self) -> str:
        """What the file leaves open, as a sentence that can follow any other."""
        return self.leaves_open("this file")

    def leaves_open(self, files: str) -> str:
        """The same of more than one file."""
        return f"What {files} can’t show: {self.cannot_tell[:1].lower()}{self.cannot_tell[1:]}"

    def worded(self, say: Callable[[str], str]) -> Cause:
        """The same with each sentence as `say` returns it."""
        says, same, left = map(say, (self.says, self.looks_same, self.cannot_tell))
        return replace(self, certainty=say(self.certainty), says=says, looks_same=same, cannot_tell=left)

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it."""
        return {
            "code": self.code, "certainty": self.certainty, "says": self.says,
            "looks_same": self.looks_same, "cannot_tell": self.cannot_tell,
        }  # fmt: skip


class CauseRule(NamedTuple):
    """A cause, and the evidence that it needs."""

    holds: Callable[[IncidentEvidence], bool]
    certainty: str
    says: str
    same: str
    open: str


def _is(*families: str) -> Callable[[IncidentEvidence], bool]:
    return lambda seen: seen.family in families


def _reset(family: str, kind: str) -> Callable[[IncidentEvidence], bool]:
    return lambda seen: seen.family == family and seen.reset == kind


def _icmp(*says: str) -> Callable[[IncidentEvidence], bool]:
    return lambda seen: seen.icmp in says


def _silent(holds: Callable[[IncidentEvidence], bool]) -> Callable[[IncidentEvidence], bool]:
    return lambda seen: seen.family == "silence" and holds(seen)


#: Code -> rule; the first that holds counts.
RULES: dict[str, CauseRule] = {
    "lost_between": CauseRule(
        lambda seen: bool(seen.lost), BOTH_FILES,
        "Packets were lost between the two capture points: {lost}.",
        "A capture that dropped packets itself looks the same: tcpdump says at its end how many it dropped.",
        "Which device between them dropped the packets, and why: capture on both sides of the next firewall.",
    ),
    "server_message": CauseRule(
        lambda seen: bool(seen.message), SAID,
        "{server} sent {message}{meaning}.", "{same}", "{open}",
    ),
    "icmp_reject": CauseRule(
        _icmp(PORT, PROHIBITED), SAID_BY,
        "{icmp_from} rejected it with ICMP: {icmp}.",
        "The host’s own firewall and a router that rejects in the host’s name send the same error.",
        "Which rule matched: see the firewall’s counters on {icmp_from}.",
    ),
    "icmp_unreachable": CauseRule(
        _icmp(HOST, NETWORK), SAID_BY,
        "{icmp_from} had no path to the destination and reported it with ICMP: {icmp}.",
        "A host that is switched off, one that was moved, and a withdrawn route look the same.",
        "Whether the host was up: see its console or its uptime.",
    ),
    "icmp_too_big": CauseRule(
        _icmp(TOO_BIG), SAID_BY,
        "{icmp_from} could not forward packets of this size and reported it with ICMP: {icmp}.",
        "A tunnel or VPN with a smaller MTU and a wrongly set interface look the same.",
        "Whether the sender received that ICMP message: many firewalls drop it.",
    ),
    "icmp_loop": CauseRule(
        _icmp(LATE), SAID_BY,
        "The packets did not reach their destination within their TTL: {icmp_from} sent ICMP {icmp}.",
        "A routing loop and a path that is longer than the TTL look the same.",
        "Which routers forward to each other: traceroute shows it while it lasts.",
    ),
    "process_ended": CauseRule(
        lambda seen: seen.family == "server_end" and seen.refused > 0, LIKELY,
        "Most likely the server process behind {server} ended: it closed its connections and then refused "
        "new ones.",
        "A load balancer that lost its server looks the same.",
        "Whether it was stopped, crashed or was killed: see the log of the server and of the kernel.",
    ),
    "idle_timeout": CauseRule(
        lambda seen: seen.family == "server_end" and seen.equal_s > 0, LIKELY,
        "Most likely an idle timeout: {server} ended each connection after {equal} of silence.",
        "The timeout of a server, of a pooler, and of a proxy or load balancer in front of it look the same.",
        "Which of them it was: compare {equal} with their settings.",
    ),
    "no_socket": CauseRule(
        _reset("server_end", "no_socket"), LIKELY,
        "Most likely {server} no longer had {it}: it had restarted, or had ended the session before.",
        "A firewall or load balancer that has removed the connection and rejects with RST looks the same.",
        "Which of the two sent the RST: compare its TTL with that of the server’s other packets.",
    ),
    "server_abort": CauseRule(
        _reset("server_end", "abort"), LIKELY,
        "Most likely the server process ended, or closed the socket, with data unread.",
        "A proxy that aborts a session, and a socket closed with SO_LINGER 0, look the same.",
        "Which of them it was: see the server’s log at this time.",
    ),
    "server_gave_up": CauseRule(
        _reset("server_end", "keepalive"), LIKELY,
        "Most likely the server’s keepalive probes were not answered, and the server aborted.",
        "A path that lost only the answers looks the same.",
        "Whether the client was alive: its own log shows it.",
    ),
    "sessions_ended": CauseRule(
        lambda seen: seen.family == "server_end" and seen.count > 1, UNKNOWN,
        "The file can’t tell why {server} closed {it}.",
        "A restart, an administrator who ended these sessions, and a proxy’s timeout look the same.",
        "Whether the server went on running: its uptime and its log show it.",
    ),
    "session_ended": CauseRule(
        _is("server_end"), UNKNOWN,
        "The file can’t tell why {server} closed {it}.",
        "A session timeout, pg_terminate_backend or KILL, the end of its process, and a proxy’s timeout look "
        "the same.",
        "Which of them it was: see the server’s log at this time.",
    ),
    "refused": CauseRule(
        _is("refused"), UNKNOWN,
        "The file can’t tell whether no process listened on {server} or a firewall rejected the connection.",
        "A closed port and a firewall that rejects with RST look the same.",
        "Whether the server listens: ss -ltn on that host.",
    ),
    "accept_queue": CauseRule(
        _is("ghost"), LIKELY,
        "Most likely the accept queue of {server} was full: its program did not call accept() fast enough.",
        "A lost last ACK of the handshake, and a load balancer that accepts for a backend that is gone, look "
        "the same.",
        "Whether the queue overflowed: nstat TcpExtListenOverflows on the server.",
    ),
    "client_timeout": CauseRule(
        lambda seen: seen.family == "client_end" and seen.equal_s > 0, LIKELY,
        "Most likely a timeout: the client {host} ended each connection after {equal} of silence.",
        "A socket timeout of the driver, a limit of the pool, and a firewall that sends RST in the client’s "
        "name look the same.",
        "Which of them it was: compare {equal} with the settings of the driver and of the pool.",
    ),
    "client_ended": CauseRule(
        lambda seen: seen.family == "client_end" and seen.count > 2, LIKELY,
        "Most likely the client process on {host} ended with answers unread.",
        "A pool that discards its connections with unread data, and a firewall that sends RST to both ends, "
        "look the same.",
        "Whether the program was killed or closed them itself: see its log.",
    ),
    "client_no_socket": CauseRule(
        _reset("client_end", "no_socket"), LIKELY,
        "Most likely the client on {host} no longer had {it}: its process or host had ended before.",
        "A firewall or NAT that has removed the connection and rejects with RST looks the same.",
        "Which of the two sent the RST: compare its TTL with that of the client’s other packets.",
    ),
    "client_abort": CauseRule(
        _is("client_end"), LIKELY,
        "Most likely the client’s program on {host} closed the socket, or ended, with data unread.",
        "A firewall that sends RST in the client’s name looks the same.",
        "Whether a timeout of the client, a cancelled query or a kill ended it: see its log.",
    ),
    "one_direction": CauseRule(
        _silent(lambda seen: "one_way" in seen.codes), LIKELY,
        "Most likely a firewall rule or a route drops the packets from {other} to {side}, and only those.",
        "A receiving host that discards them itself (conntrack INVALID, rp_filter) looks the same.",
        "Where they are lost: a capture at {host} shows whether they arrive.",
    ),
    "handshake": CauseRule(
        _silent(lambda seen: "handshake_incomplete" in seen.codes and seen.attempts == seen.count), UNKNOWN,
        "The file can’t tell whether the SYN-ACKs of {server} or the client’s ACKs are lost.",
        "A client that is gone, an asymmetric route, and SYNs with a forged source address look the same.",
        "Whether the SYN-ACK arrives: a capture at the client shows it.",
    ),
    "mtu": CauseRule(
        _silent(lambda seen: seen.full_size and seen.idle_s < IDLE_S), LIKELY,
        "Most likely an MTU on the path is smaller than these packets: only packets larger than any that "
        "was acknowledged got lost.",
        "A host that went down just as it was sent its first large packet looks the same.",
        "Which hop: ping -M do -s 1472 towards {host}, in smaller steps.",
    ),
    "path_between": CauseRule(
        _silent(lambda seen: seen.answers_others and not seen.answers_same), LIKELY,
        "Most likely the path between {peers} and {host} broke: {host} still answered other hosts.",
        "A firewall rule against {peers}, and a host that blocks these addresses, look the same.",
        "Where on the path: a capture at {host} shows whether the packets arrive.",
    ),
    "forgotten": CauseRule(
        _silent(lambda seen: seen.answers_same and seen.idle_s >= IDLE_S and not seen.attempts), LIKELY,
        "Most likely a firewall, NAT or load balancer removed {it} after at most {idle} of silence: {host} "
        "still answered {peers} on others.",
        "One of several servers behind a load balancer that is gone looks the same.",
        "Which device it was: compare {idle} with the idle timers of those on the path.",
    ),
    "filtered_attempts": CauseRule(
        _silent(lambda seen: seen.attempts == seen.count and seen.answers_same), LIKELY,
        "Most likely a firewall drops these connection attempts to {server}: {host} answered {peers} on "
        "other connections.",
        "A full SYN queue or listen backlog, which drops SYNs in silence, looks the same.",
        "Which of the two: nstat TcpExtListenDrops on the server.",
    ),
    "attempts": CauseRule(
        _silent(lambda seen: seen.attempts == seen.count), UNKNOWN,
        "The file can’t tell why no SYN to {server} was answered.",
        "A host that is down, a firewall that drops, a lost route, and a full SYN queue look the same.",
        "Whether the SYNs arrive: a capture at {host} shows it.",
    ),
    "these_only": CauseRule(
        _silent(lambda seen: seen.answers_same), UNKNOWN,
        "The file can’t tell why only {it} got no answer: {host} still answered {peers} on others.",
        "A firewall that lost its state, one faulty link of a bundle, and one of several servers behind a "
        "load balancer look the same.",
        "Where they are lost: a capture at {host} shows whether they arrive.",
    ),
    "forgotten_or_gone": CauseRule(
        _silent(lambda seen: seen.count == 1 and seen.idle_s >= IDLE_S), UNKNOWN,
        "The file can’t tell whether a firewall or NAT removed {it} after {idle} of silence, or {host} was "
        "gone.",
        "Both look the same on a single idle connection.",
        "Whether {host} was up: its uptime, or a second connection at this time, shows it.",
    ),
    "host_or_path": CauseRule(
        _silent(lambda seen: True), LIKELY,
        "Most likely {host}, its network connection or the path to it was gone: no other connection in the "
        "file shows that host alive afterwards.",
        "A host that is off, a pulled cable, a broken path, and a new firewall rule look the same.",
        "Which of them: the uptime of {host}, and a capture there.",
    ),
}  # fmt: skip


def cause_of(seen: IncidentEvidence) -> Cause:
    """The cause that the evidence allows; `ValueError` for a family that no rule knows."""
    words = seen.words()
    for code, rule in RULES.items():
        if rule.holds(seen):
            filled = (each.format_map(words) for each in rule[1:])
            return Cause(code, *filled)
    raise ValueError(f"family = {seen.family!r}: no rule is about it.")
