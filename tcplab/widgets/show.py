"""What a notebook shows of a trace or an answer in one call. ipywidgets are imported when it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import wraps
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from tcplab.advice.products import shipped
from tcplab.advice.settings import settings
from tcplab.bench import run
from tcplab.core.knobs import Parameters
from tcplab.core.table import html_table
from tcplab.core.text import duration, in_words, paragraph, to_paste
from tcplab.core.trace import Trace
from tcplab.lesson.displayed import Displayed
from tcplab.lesson.tables import Shown
from tcplab.pictures.ladder import draw
from tcplab.pictures.panels import Limits, growth
from tcplab.pictures.ports import draw_ports
from tcplab.pictures.queues import draw_queues
from tcplab.pictures.studies import draw_churn, draw_failover, draw_pool
from tcplab.pictures.tables import study_tables, trace_rows, trace_table
from tcplab.pictures.text import words
from tcplab.pictures.theme import Picture
from tcplab.pictures.window import draw_window
from tcplab.studies import Pool
from tcplab.what_if import answer

if TYPE_CHECKING:
    from tcplab.widgets.base import LivingFigure


class Draw(Protocol):
    """A picture of a run: beside kept ones, the newest last, on axes no shorter than `limits`."""

    def __call__(
        self, trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
    ) -> Picture: ...


def _ladder(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """The ladder shows one run: its axis is the order of what happened."""
    return draw(trace, dark=dark)


#: Every picture of a trace by the name that experiments give it.
PICTURES: dict[str, Draw] = {
    "ladder": _ladder, "window": draw_window, "queues": draw_queues, "ports": draw_ports,
    "churn": draw_churn, "pool": draw_pool, "failover": draw_failover,
}  # fmt: skip
#: The picture of a study, which has no segments.
_CURVES = {"port_churn": "churn", "pool": "pool", "failover": "failover"}
#: Those that stay readable however many segments there are; a ladder takes the beginning of a long run.
OF_ALL = ("window", "queues", "ports", "churn", "pool", "failover")


class PicturesInTurn:
    """One run after another beside kept ones, on axes that grow where they have to and never shrink."""

    def __init__(self) -> None:
        #: Runs to draw in grey, the newest last.
        self.kept: Sequence[Trace] = ()
        self._limits: dict[str, Limits] = {}

    def draw(self, name: str, trace: Trace, **options: Any) -> tuple[Picture, str]:
        """The picture of this name, and below it its sentence and how far an axis has grown."""
        before = self._limits.get(name)
        drawn = PICTURES[name](trace, kept=self.kept, limits=before, **options)
        self._limits[name] = drawn.limits
        return drawn, f"{drawn.sentence} {growth(drawn.limits, before)}".strip()

    def forget(self) -> None:
        """Forget how long the axes were."""
        self._limits.clear()


def picture(trace: Trace, name: str = "") -> LivingFigure:
    """A picture of a trace: its `ladder`, of a study its curves, or another one by name."""
    from tcplab.widgets.base import LivingFigure

    name = name or _CURVES.get(trace.experiment, "ladder")
    figure = LivingFigure(trace.experiment)
    drawn = PICTURES[name](trace)
    numbers = study_tables(trace) if trace.series else drawn.table or trace_table(trace)
    figure.show(drawn, f"{name.capitalize()}: {drawn.sentence or summary(trace)}", numbers)
    return figure


def summary(trace: Trace) -> str:
    """A run in one sentence that needs no experiment: how much, between whom, and what came last."""
    if not trace.packets:
        return f"{trace.seconds(trace.end):.3g} s, without a segment of its own."
    last, said = trace.packets[-1], words(trace)[-1]
    what = ", ".join(part for part in (said.name, said.fate) if part) or said.flags
    return (
        f"{len(trace.packets)} segments between {' and '.join(trace.hosts)}. "
        f"The last goes from {last.sender} to {last.receiver} after {duration(last.t - trace.start)}: {what}."
    )


def segment_table(trace: Trace) -> Shown:
    """Segments line by line: text where there is only text, HTML in a notebook."""
    return Shown("\n".join(map("  ".join, trace_rows(trace))), trace_table(trace))


class ShownWhatIf(Displayed, answer.WhatIf):
    """A `WhatIf` that a notebook shows as two ladders side by side."""

    def _build(self) -> Any:
        from tcplab.widgets.what_if import SideBySide

        return SideBySide(self)

    def _repr_html_(self) -> str:
        return str(self.widget()._repr_html_())


@wraps(answer.what_if)
def what_if(connection: Trace, **settings: Any) -> answer.WhatIf:
    said = answer.what_if(connection, **settings)
    return ShownWhatIf(**{each.name: getattr(said, each.name) for each in fields(said)})


def settings_html(experiment: Parameters) -> str:
    """The parameters as text to paste, a block for each place where they can be set."""
    blocks = (
        f"<h4>{escape(layer)}</h4>{to_paste(layer, lines)}" for layer, lines in settings(experiment).items()
    )
    nothing = "These parameters belong to the experiment only: no system has a setting for them."
    return "".join(blocks) or paragraph(nothing)


def pool_defaults() -> Shown:
    """Common pools with their defaults, by day and by night.

    By day 200 requests a second meet a restart; at night, for two hours, a request comes every 100 s through
    a firewall that removes what was idle for 350 s.
    """
    columns = (
        "pool", "size, order", "tests", "restart by day: errors, dead ones left", "night: errors, slowest",
        "what the study leaves out",
    )  # fmt: skip
    at: dict[str, Any] = {"breaks": "server_restart", "break_at_s": 65.001, "duration_s": 100}
    night: dict[str, Any] = {"rate_per_s": 0.01, "duration_s": 7200, "breaks": "idle_firewall"}
    rows = []
    for pool in shipped():
        day, dark = Pool(**{**at, **pool.settings}), Pool(**{**pool.settings, **pool.background, **night})
        awake, slept = run(day).outcome, run(dark).outcome
        tests = dict.fromkeys(each.probe.replace("_", " ") for each in (day, dark))
        slowest = "no answer" if slept["p99_ms"] is None else in_words(slept["p99_ms"] / 1000)
        rows.append(
            [
                pool.title, f"{day.size}, {day.order}", " + ".join(tests),
                f"{awake['errors']}, {awake['zombies_left']}",
                f"{slept['errors']} of {slept['requests']}, {slowest}",
                pool.beyond,
            ]
        )  # fmt: skip
    plain = "\n".join("  ".join(row) for row in rows)
    return Shown(plain, html_table(columns, rows))
