"""From an environment to what breaks, in order, and to the settings that mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape

from tcplab.advice.checks import Check, Silence, words
from tcplab.advice.environment import Environment, known_setting
from tcplab.advice.limits import Limits
from tcplab.advice.paste import Change, texts
from tcplab.advice.products import CLIENTS, InForce, title
from tcplab.advice.remedies import Remedies
from tcplab.experiments.reading import plural

#: One remedy may uncover the next thing; more rounds than this never did.
_ROUNDS = 4


@dataclass(frozen=True)
class Advice:
    """What is broken today, what to change, and what no setting mends."""

    environment: Environment
    #: Every inequality on every leg: the broken ones first, by when they break.
    checks: tuple[Check, ...]
    #: What to set, grouped by who may.
    changes: tuple[Change, ...]
    #: What is still broken with these changes: no setting of these products mends it.
    left: tuple[Check, ...]
    #: Text to paste by kind of file; kinds without a change are missing.
    paste: Mapping[str, str]
    #: What shows that it works.
    prove: str
    #: Values of today that a product does not take, and what it uses instead.
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[Check, ...]:
        """What is broken today, the first to happen first."""
        return tuple(check for check in self.checks if not check.holds)

    def by_who(self) -> dict[str, tuple[Change, ...]]:
        """The changes by who may make them."""
        groups: dict[str, list[Change]] = {}
        for change in self.changes:
            groups.setdefault(change.who, []).append(change)
        return {who: tuple(changes) for who, changes in groups.items()}

    @property
    def sentence(self) -> str:
        """The whole in a few sentences."""
        if not self.broken:
            held = f"All {len(self.checks)} inequalities hold; nothing has to be changed."
            return " ".join([held, *self.notes])
        first, count = self.broken[0], len(self.broken)
        when = f"after {words(first.breaks_after_s)}" if first.breaks_after_s else "at once"
        told = [
            f"{count} of {len(self.checks)} inequalities {'is' if count == 1 else 'are'} broken; the first "
            f"that hurts, {when}: {first.says}"
        ]
        if self.changes:
            files = ", ".join(self.paste)
            told.append(f"{plural(len(self.changes), 'setting')} to change: {files}.")
        if self.left:
            names = "; ".join(dict.fromkeys(check.name for check in self.left))
            told.append(f"No setting here mends: {names}.")
        return " ".join([*told, *self.notes])

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *(f"{each.inequality}. {each.sentence}" for each in self.checks)])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>({each.inequality}) {escape(each.sentence)}</li>" for each in self.checks)
        return f"<p>{escape(self.sentence)}</p><ul>{items}</ul>"


def advise(environment: Environment) -> Advice:
    """What breaks first and which settings keep the five inequalities.

    Raises `ParameterError` where a setting of the environment can't be what it says.
    """
    checks = _checks(environment)
    changes: dict[str, Change] = {}
    mended, now = environment, checks
    for _ in range(_ROUNDS):
        remedies = Remedies(mended)
        wanted = {
            proposal.key: proposal
            for check in now
            if not check.holds
            for proposal in remedies.of(check)
            if proposal.value != InForce(mended).own(*proposal.key.split(".", 1))
        }
        if not wanted:
            break
        was = InForce(environment)
        for key, proposal in wanted.items():
            own = was.own(*key.split(".", 1))
            changes[key] = Change(known_setting(key), key, proposal.value, own, proposal.why)
        mended = replace(mended, settings={**mended.settings, **{k: p.value for k, p in wanted.items()}})
        now = _checks(mended)
    ordered = tuple(sorted(changes.values(), key=lambda change: (change.who, change.file)))
    return Advice(
        environment, checks, ordered, tuple(check for check in now if not check.holds), texts(ordered),
        _prove(mended), tuple(InForce(environment).not_taken()),
    )  # fmt: skip


def _checks(environment: Environment) -> tuple[Check, ...]:
    found = [*Silence(environment).checks(), *Limits(environment).checks()]
    return tuple(sorted(found, key=lambda check: (check.holds, check.breaks_after_s or 0, check.inequality)))


def _prove(environment: Environment) -> str:
    """The line that shows the keepalive timer counting down, on each host that opens a leg."""
    force, told = InForce(environment), []
    for i, leg in enumerate(environment.legs):
        client, server = environment.client_of(i), environment.server_of(i)
        keepalive = force.keepalive(client, CLIENTS[client])
        port = _PORTS.get(server, environment.port)
        command = f"ss -tno state established '( dport = :{port} )'"
        if keepalive is None:
            told.append(f"{leg.name}: {command}   # {title(client)} has no timer at all: keepalive is off")
        else:
            told.append(
                f"{leg.name}: {command}   # on {title(client)}'s host: every line has "
                f"timer:(keepalive,…), at most {_clock(keepalive.idle_s)}"
            )
    return "\n".join(told)


#: Where the proxies usually listen.
_PORTS = {"pgbouncer": 6432}


def _clock(seconds: float) -> str:
    """As ss writes it (iproute2: misc/ss.c:print_ms_timer): ``15sec``, ``4min59sec``, ``119min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 10:
        return f"{minutes}min"
    return (f"{minutes}min" if minutes else "") + (f"{rest}sec" if rest or not minutes else "")
