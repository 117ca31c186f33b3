"""Claims about differences between versions of Linux, and what kernels show for each claim.

A claim is a rule of `core.releases`, an experiment whose outcome shows which value the rule has, and the
part of the outcome that is read. The sides are runs of the model that differ in this rule alone; a kernel is
on the side whose reading its own run gives. `data/claims.json` records each kernel's readings, with version
and date. A rule without an experiment was read in the kernel's source and never run: `NOT_RUN` lists them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tcplab.bench import run, run_all
from tcplab.bench.agreement import in_time
from tcplab.capture.recordings import COURSE
from tcplab.core.knobs import ParameterError
from tcplab.core.releases import NEWEST, RULES, KernelChange, KernelRule, known_release, release
from tcplab.core.text import listed, nearest
from tcplab.core.trace import Trace
from tcplab.experiments import (
    AcceptQueue,
    BindOrConnect,
    DeadPeer,
    PortRange,
    RstInWindow,
    SlowReader,
    TimeWait,
    UnansweredConnect,
)
from tcplab.experiments.by_version import (
    Exchanges,
    FinInClosedWindow,
    HalfOpenReset,
    OldAck,
    Overhang,
    OwnPorts,
    PortLeft,
    TwoResets,
    UnsentAck,
)
from tcplab.experiments.experiment import Experiment

#: The recorded observations.
RECORD = COURSE / "data" / "claims.json"
#: Increased whenever an older reader would misread the file.
FORMAT = 1
#: The name for the kernel that runs here, in real time.
HERE = "here"

# ----------------------------------------------------------------------
# The claims.


@dataclass(frozen=True)
class KernelClaim:
    """An experiment whose outcome shows the value of one rule."""

    rule: str
    experiment: Experiment
    #: The key of the outcome that is read.
    shows: str
    #: What it is about, in a few words.
    says: str
    #: Set where two claims are about one rule.
    variant: str = ""

    @property
    def key(self) -> str:
        """Its name: the rule's, with the variant where several claims are about one rule."""
        return f"{self.rule}{self.variant}"

    @property
    def values(self) -> tuple[Any, ...]:
        """Every value that the rule has had, the oldest first."""
        rule = RULES[self.rule]
        return tuple(dict.fromkeys([rule.first, *(change.value for change in rule.changes)]))

    def expected(self, linux: str) -> Any:
        """The value that the rule has in a version."""
        return getattr(known_release(linux), self.rule)

    def sides(self, linux: str = NEWEST) -> dict[Any, Any]:
        """What the model gives for each value, everything else as in version `linux`."""
        rules = release(linux)
        runs = {
            value: run(self.experiment, rules=dataclasses.replace(rules, **{self.rule: value}))
            for value in self.values
        }
        return {value: self.read(trace) for value, trace in runs.items()}

    def read(self, trace: Trace) -> Any:
        """What a run gives."""
        return trace.outcome[self.shows]

    def fits(self, trace: Trace) -> tuple[Any, ...]:
        """The values that explain a run on Linux."""
        read = self.read(trace)
        return tuple(value for value, gives in self.sides(trace.linux).items() if _same(gives, read))


def _same(model: Any, linux: Any) -> bool:
    if isinstance(model, float) and isinstance(linux, float | int):
        return in_time(model, linux)
    return bool(model == linux)


CLAIMS: tuple[KernelClaim, ...] = (
    KernelClaim(
        "syn_linear_timeouts",
        UnansweredConnect(syn_retries=4),
        "gave_up_after_s",
        "connect() without an answer, four SYN retries",
    ),
    KernelClaim(
        "user_timeout_exact",
        UnansweredConnect(syn_retries=4, user_timeout_s=5),
        "gave_up_after_s",
        "connect() without an answer, a user timeout of 5 s",
    ),
    KernelClaim(
        "user_timeout_of_probes",
        SlowReader(stops_reading_s=2, user_timeout_s=10),
        "server_error",
        "a user timeout of 10 s, and a reachable client that does not read",
    ),
    KernelClaim(
        "user_timeout_exact_for_probes",
        SlowReader(peer="offline", read_every_s=1, user_timeout_s=9),
        "stalled_s",
        "a user timeout of 9 s, the window closed and the client offline",
    ),
    KernelClaim(
        "has_rto_max",
        DeadPeer(rto_max_s=1, retries2=5, latency_ms=20),
        "detected_after_s",
        "unacknowledged data, the longest RTO being 1 s",
    ),
    KernelClaim(
        "rst_at_sack_edge",
        RstInWindow(sack_hole=True, at_sack_edge=True),
        "verdict",
        "a RST at the right edge of out-of-order data",
    ),
    KernelClaim(
        "challenge_ack_per_socket_limit",
        TwoResets(),
        "answers",
        "two RSTs in the window within half a second",
    ),
    KernelClaim("unsent_ack_challenged", UnsentAck(), "answers", "an ACK of data never sent"),
    KernelClaim(
        "exact_rst_in_syn_recv", HalfOpenReset(), "syn_acks", "a RST in the window of a half-open connection"
    ),
    KernelClaim("old_ack_unanswered", OldAck(), "answers", "an ACK with an old number and an old timestamp"),
    KernelClaim(
        "overhang_refused", Overhang(), "bytes", "a segment beyond the window's end while data is unread"
    ),
    KernelClaim("fin_needs_no_window", FinInClosedWindow(), "fin_taken", "a FIN into a closed window"),
    KernelClaim("pingpong_threshold", Exchanges(), "own_acks", "eight requests and replies"),
    KernelClaim(
        "has_pingpong_sysctl", Exchanges(threshold=6), "own_acks", "the same with tcp_pingpong_thresh = 6"
    ),
    KernelClaim(
        "full_accept_queue_drops_syn",
        AcceptQueue(connects_before=3, connects=5),
        "connected",
        "five more SYNs for a full accept queue",
    ),
    KernelClaim(
        "syn_queue_rule",
        AcceptQueue(backlog=4, connects=40, syncookies=False, watch_s=2, speak_after_s=1),
        "connected",
        "40 SYNs at once for a backlog of 4, without cookies",
    ),
    KernelClaim(
        "ports_by_parity",
        PortRange(last_port=60003, connects=3),
        "opened",
        "three connections in a range of three ports",
    ),
    KernelClaim(
        "bind_shares_when_full",
        BindOrConnect(held_by="bind0_reuseaddr", state="established", then="bind0_reuseaddr"),
        "result",
        "bind(0) with SO_REUSEADDR, every port bound with SO_REUSEADDR",
    ),
    KernelClaim(
        "bind_address_no_port",
        PortRange(sources=2, connects=13),
        "error",
        "two own addresses by IP_BIND_ADDRESS_NO_PORT",
    ),
    KernelClaim(
        "has_local_port_range", OwnPorts(), "result", "four connections from a socket range of three ports"
    ),
    KernelClaim("bound_port_recovers", PortLeft(), "result", "connect() from a port that bind() held before"),
    KernelClaim(
        "tw_reuse", TimeWait(tw_reuse=2, wait_s=1.3), "reopened", "tcp_tw_reuse = 2 between two machines"
    ),
    KernelClaim(
        "tw_reuse_clock",
        TimeWait(ports=1, tw_reuse=1, wait_s=0.9, seed=2),
        "reopened",
        "a port 0.9 s in TIME_WAIT, tcp_tw_reuse = 1",
        variant="_early",
    ),
    KernelClaim(
        "tw_reuse_clock",
        TimeWait(ports=1, tw_reuse=1, wait_s=1.1, seed=2),
        "reopened",
        "a port 1.1 s in TIME_WAIT, tcp_tw_reuse = 1",
        variant="_late",
    ),
)

#: Rules that no run can check, each with the reason.
NOT_RUN: Mapping[str, str] = {
    "rst_before_fin": "every available kernel has it",
    "invalid_ratelimit": "every available kernel has it",
    "syn_repeated_at_once": "every available kernel has it",
    "somaxconn": "a default: /proc/sys has it",
    "largest_rmem": "a default: /proc/sys has it",
    "last_local_port": "a default: /proc/sys has it",
    "connect_begins_even": "every available kernel goes by parity",
    "autobind_reuse": "every available kernel has it",
    "filled_hole_acknowledged": "every available kernel has it",
    "payload_share_measured": "it changes buffer accounting, nothing that a program sees",
    "tells_no_memory": "it needs a machine that runs out of memory",
    "spurious_syn_undone": "every available kernel has it",
    "short_loss_timers": "every available kernel has it",
    "closed_window_gives_up": "it needs a peer that shrinks its window while data is in flight",
    "timestamp_counts_s": "it needs half an hour without traffic and timestamps that go back",
}


BY_KEY: Mapping[str, KernelClaim] = {claim.key: claim for claim in CLAIMS}


def since(change: KernelChange) -> str:
    """``6.13; 5.10.234, 6.1.125; 3479c7549fb1``: the versions that have a change, and its commit."""
    stable = ", ".join("{}.{}.{}".format(*tree, patch) for tree, patch in sorted(change.stable.items()))
    return "; ".join(filter(None, ["{}.{}".format(*change.since), stable, change.commit]))


# ----------------------------------------------------------------------
# What kernels show.

#: Verdicts on a claim on a kernel.
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"


@dataclass(frozen=True)
class Observation:
    """The reading of one claim on one kernel."""

    claim: str
    #: The kernel's version with its patch level, and the bench it ran on: `linux:6.1` or `linux`.
    linux: str
    bench: str
    #: When, as YYYY-MM-DD.
    date: str
    #: What was read, and the values of the rule that explain it; or, in `trouble`, why nothing was read.
    read: Any = None
    fits: tuple[Any, ...] = ()
    trouble: str = ""

    @property
    def verdict(self) -> str:
        """`holds`: the rule's value in this version explains what was read, and another would not."""
        claim = BY_KEY[self.claim]
        if self.trouble or len(self.fits) == len(claim.values):
            return OPEN
        return HOLDS if claim.expected(self.linux) in self.fits else FAILS


def observe(
    kernel: str,
    claims: Sequence[KernelClaim] = CLAIMS,
    progress: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Observation]:
    """Run claims on a kernel, `6.1` in virtual time or `HERE`; yields each observation once it is made.

    Raises `tcplab.bench.sandbox.BenchError` where that kernel can't be had, its `Cancelled` after
    `cancelled()` is true.
    """
    stories = [claim.experiment for claim in claims]
    made = _here(stories, progress) if kernel == HERE else run_all(kernel, stories, progress, cancelled)
    today = datetime.now(UTC).date().isoformat()
    for index, trace in made:
        claim = claims[index]
        if isinstance(trace, str):
            yield Observation(claim.key, kernel, f"linux:{kernel}", today, trouble=trace)
        else:
            yield Observation(
                claim.key, trace.linux, trace.bench, today, claim.read(trace), claim.fits(trace)
            )


def _here(stories: Sequence[Experiment], progress: Callable[[str], None]) -> Iterator[tuple[int, Trace]]:
    from tcplab.bench.sandbox import Sandbox, patiently

    with Sandbox() as sandbox:
        for index, story in enumerate(stories):
            progress(f"this Linux: {index} of {len(stories)} run; {story.name}")
            yield index, patiently(partial(run, story, "linux", sandbox=sandbox))


def is_record(path: Path) -> bool:
    """Whether `save` has written this file."""
    try:
        with path.open("rb") as file:
            return file.read(10) == b'{"format":'
    except OSError:
        return False


def save(observations: Sequence[Observation], path: Path = RECORD) -> None:
    """Write observations into the record; they replace earlier ones of the same kernel series."""
    replaced = {(_series(each), each.claim) for each in observations}
    kept = [each for each in recorded(path) if (_series(each), each.claim) not in replaced]
    order = list(BY_KEY)
    rows = sorted(
        [*kept, *observations],
        key=lambda each: (order.index(each.claim), known_release(each.linux).number, each.linux),
    )
    lines = ",\n".join("  " + json.dumps(asdict(each)) for each in rows)
    path.write_text(f'{{"format": {FORMAT}, "observations": [\n{lines}\n]}}\n', encoding="utf-8")
    recorded.cache_clear()


def _series(each: Observation) -> tuple[Any, str]:
    return known_release(each.linux).number, each.bench


@lru_cache(maxsize=4)
def recorded(path: Path = RECORD) -> tuple[Observation, ...]:
    """The recorded observations; empty where there is no record."""
    if not path.is_file():
        return ()
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept.get("format") != FORMAT:
        return ()
    rows = [{**row, "fits": tuple(row["fits"])} for row in kept["observations"]]
    return tuple(Observation(**row) for row in rows if row["claim"] in BY_KEY)


def kernels(observations: Sequence[Observation]) -> list[tuple[str, str]]:
    """The kernels of the observations, (version, bench) each, oldest first."""
    found = {(each.linux, each.bench) for each in observations}
    return sorted(found, key=lambda k: (known_release(k[0]).number, known_release(k[0]).patch, k[1]))


def table(observations: Sequence[Observation]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each claim, its rule, the versions that changed it, and each kernel's reading.

    The cell of a kernel that confirms the claim has the rule's value, another `no:` and what was read.
    """
    columns = kernels(observations)
    found = {(each.claim, each.linux, each.bench): each for each in observations}
    headings = ["claim", "rule", "changed in", *(linux for linux, _ in columns)]
    rows = []
    for claim in CLAIMS:
        cells = [_cell(claim, found.get((claim.key, *column))) for column in columns]
        changed = ", ".join("{}.{}".format(*change.since) for change in RULES[claim.rule].changes)
        rows.append([claim.says, claim.rule, changed, *cells])
    return headings, rows


def _cell(claim: KernelClaim, seen: Observation | None) -> str:
    if seen is None:
        return ""
    value = _word(claim.expected(seen.linux))
    return {HOLDS: value, FAILS: f"no: {_word(seen.read)}", OPEN: "open"}[seen.verdict]


def _word(value: Any) -> str:
    words = {"True": "yes", "False": "no", "None": "none"}
    return words.get(str(value), str(value))


# ----------------------------------------------------------------------
# In words, for a lesson.


def claim_named(name: str) -> KernelClaim:
    """The claim with this key. Raises `ParameterError` where there is none."""
    if name not in BY_KEY:
        raise ParameterError(f"there is no claim {name!r} about versions of Linux: {nearest(name, BY_KEY)}")
    return BY_KEY[name]


def changed_in(change: KernelChange) -> str:
    """``Linux 6.13, and in the stable trees 5.10.234 and 6.1.125``: the first versions that have a change."""
    first = "Linux {}.{}".format(*change.since)
    stable = ["{}.{}.{}".format(*tree, patch) for tree, patch in sorted(change.stable.items())]
    return f"{first}, and in the stable trees {listed(stable)}" if stable else first


def in_versions(claim: KernelClaim, observations: Sequence[Observation] | None = None) -> str:
    """Since which version and patch level a rule holds, and each kernel's reading: for a lesson.

    `observations` are those of the record unless given. For a value of the rule that none of these kernels
    has, the sentence gives the model's reading and says that no kernel was measured.
    """
    rule, reads = RULES[claim.rule], claim.shows.removesuffix("_s").replace("_", " ")
    seen = [
        each for each in (recorded() if observations is None else observations) if each.claim == claim.key
    ]
    given: dict[Any, list[Observation]] = {}
    for each in sorted(seen, key=lambda each: _age(each.linux)):
        if each.verdict == HOLDS:
            given.setdefault(claim.expected(each.linux), []).append(each)
    lines = [f"This changed in {'; again in '.join(map(changed_in, rule.changes))}."]
    if given:
        groups = [
            f"{_readings(claim, group)} on {listed(list(dict.fromkeys(each.linux for each in group)))}"
            for group in given.values()
        ]
        lines.append(f"Measured ({claim.says}): {reads}: {'; '.join(groups)}.")
    others = [(value, read) for value, read in claim.sides().items() if value not in given]
    if others:
        model = [f"{_reading(claim, read)} {_until(rule, value)}" for value, read in others]
        ran = "which none of these kernels is" if given else "which no kernel was asked about"
        lines.append(f"By the model: {'; '.join(model)}, {ran}.")
    return " ".join(lines)


def _age(linux: str) -> tuple[Any, int]:
    return known_release(linux).number, known_release(linux).patch


def _until(rule: KernelRule, value: Any) -> str:
    """``before 4.10``, ``from 5.1 on and before 5.11``: the mainline versions that have a value."""
    values = [(None, rule.first), *((change.since, change.value) for change in rule.changes)]
    since = [
        (began, after[0] if after else None)
        for (began, has), after in zip(values, [*values[1:], None], strict=True)
        if has == value
    ]
    words = [
        " and ".join(
            filter(None, (began and "from {}.{} on".format(*began), end and "before {}.{}".format(*end)))
        )
        for began, end in since
    ]
    return " or ".join(words)


def _readings(claim: KernelClaim, seen: Sequence[Observation]) -> str:
    """The readings of the kernels on one side: one value, or from the least to the most."""
    values = sorted({_reading(claim, each.read) for each in seen})
    least, most = values[0], values[-1]
    return least if least == most else f"{least.removesuffix(' s')} to {most}"


def _reading(claim: KernelClaim, read: Any) -> str:
    if isinstance(read, float):
        return f"{read:.1f} s" if claim.shows.endswith("_s") else f"{read:g}"
    return _word(read)


def to_json(observations: Sequence[Observation]) -> dict[str, Any]:
    """Everything that `tcplab claims --json` prints."""
    return {
        "claims": [
            {
                "claim": claim.key,
                "rule": claim.rule,
                "says": claim.says,
                "experiment": claim.experiment.name,
                "parameters": claim.experiment.values(),
                "reads": claim.shows,
                "changes": [since(change) for change in RULES[claim.rule].changes],
                "sides": [[value, gives] for value, gives in claim.sides().items()],
                "kernels": [
                    {**asdict(each), "verdict": each.verdict, "expected": claim.expected(each.linux)}
                    for each in observations if each.claim == claim.key
                ],
            }
            for claim in CLAIMS
        ],
        "not_run": dict(NOT_RUN),
    }  # fmt: skip
