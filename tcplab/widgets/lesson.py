"""A lesson of the course in a notebook: ``here = open_lesson("03")``, then one call a cell.

    here.ask("power_cut")                                   # predict
    here.explore(Keepalive, goals=["five_minutes"])         # turn: opens with the prediction
    here.proof("lesson_cable_out_idle")                     # the same on real Linux, a line and a fold
    here.recognise()
    here.fix()

What is shown after a prediction belongs to the question asked last, or to `after="NAME"`. Texts are tables:
questions/LESSON.toml and pages/LESSON.toml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet, ref

import anywidget
import ipywidgets as widgets

from tcplab.bench.agreement import Agreement
from tcplab.capture.capture import both_legs, read_capture
from tcplab.capture.recordings import LIBRARY, RUN, recording, sidecar_values
from tcplab.core.text import paragraph, plural, read_number
from tcplab.core.trace import Trace
from tcplab.lesson import question as asked
from tcplab.lesson.course import lessons
from tcplab.lesson.displayed import Displayed
from tcplab.lesson.form import Switch
from tcplab.lesson.goals import goals
from tcplab.lesson.page import articles, fix, lesson_numbered, page_table, proof_texts, recognise
from tcplab.lesson.question import After, NumberQuestion, Question, Reveal, remember
from tcplab.lesson.tables import Shown, as_html, box, chart, provenance, to_html, to_plain
from tcplab.pictures.resets import ResetsPicture, read_reset
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture, timeline
from tcplab.pictures.timeline_studies import read_requests
from tcplab.registry import find
from tcplab.widgets import base
from tcplab.widgets.cases import Cases, Side
from tcplab.widgets.clinic import CaptureClinic
from tcplab.widgets.explorer import Explorer
from tcplab.widgets.goals import GoalList, unknown
from tcplab.widgets.linux import on_linux
from tcplab.widgets.timeline import Bar, LivingTimeline, ShownFrame
from tcplab.widgets.topology import topology

Turning = TypeVar("Turning", bound=Explorer)

#: What stands over a proof until the prediction is made, and after it.
PROOF = "On real Linux"
#: So many rows of what a recording's programs did are in its fold.
MOST_ROWS = 12

#: The fold with what a case's recording really was.
TRUTH = "How this was recorded, and what it really was"


class Recorded(base.Shell):
    """A recorded connection on its timeline, which plays; `said` is what it is, `why` explains a question."""

    def __init__(self, trace: Trace, said: str, why: str = "") -> None:
        super().__init__()
        picture = TimelinePicture(read_timeline(trace))
        self.timeline = LivingTimeline()
        self.timeline.show(ShownFrame(picture, picture.end_s(), picture.now.log, bar=Bar(None)))
        self.say(to_plain(said))
        self._why = box(f"<b>Why.</b> {to_html(why)}") if why else ""
        self.build(self.status, self.timeline, *([widgets.HTML(self._why)] if why else []))

    def _repr_html_(self) -> str:
        return super()._repr_html_() + self.timeline._repr_html_() + self._why


class _Copy(anywidget.AnyWidget):
    """Nothing to see: buttons beside what can be copied."""

    _esm = (base.HERE / "copy.js").read_text("utf-8")


class Lines(base.Shell):
    """A table with lines to copy."""

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self._shown = shown
        self.sentence = shown.plain
        self.build(widgets.HTML(shown.html), _Copy())

    def _repr_html_(self) -> str:
        return self._shown.html


class More(Displayed):
    """Something optional under its title, closed at first and made when it is opened."""

    def __init__(self, title: str, make: Callable[[], Any]) -> None:
        self.title, self._make = title, make

    def _build(self) -> Any:
        place = widgets.VBox()
        fold = base.Fold(self.title, place)

        def opened(change: Any) -> None:
            if change["new"] and not place.children:
                thing = self._make()
                thing = thing.widget() if isinstance(thing, Displayed) else thing
                place.children = [
                    thing if isinstance(thing, widgets.Widget) else widgets.HTML(as_html(thing))
                ]

        fold.observe(opened, "opened")
        return fold

    def __repr__(self) -> str:
        return f"{self.title} (run this cell to open it)"

    def _repr_html_(self) -> str:
        return f"<details><summary>{escape(self.title)}</summary>{as_html(self._make())}</details>"


class Explained(base.Shell):
    """Something that opens after a question, the question's *why* below it, and a fold."""

    def __init__(self, thing: base.Shell, why: str = "", fold: Shown | None = None) -> None:
        super().__init__()
        #: What is explained.
        self.thing = thing
        self.sentence = thing.sentence
        self._why = box(f"<b>Why.</b> {to_html(why)}") if why else ""
        self._fold = fold
        below = [base.Fold(TRUTH, widgets.HTML(fold.html))] if fold else []
        self.build(thing, *([widgets.HTML(self._why)] if why else []), *below)

    def _repr_html_(self) -> str:
        fold = f"<details><summary>{TRUTH}</summary>{self._fold.html}</details>" if self._fold else ""
        return as_html(self.thing) + self._why + fold


def case_file(lesson: str, name: str) -> Shown:
    """What is known of a case before its question: who says what, and packets on the wall clock (UTC).

    Raises `LookupError` in one sentence when the lesson has no such case.
    """
    cases: dict[str, Any] = page_table(lesson).get("cases", {})
    if name not in cases:
        raise LookupError(f"there is no case {name!r}; there are {', '.join(cases)}.")
    case, capture = cases[name], read_capture(LIBRARY / f"{name}.pcap")
    head = f"**{case['title']}.** {case['says']} Captured {case['taken']}."
    plain, html = [to_plain(head)], [f"<p>{to_html(head)}</p>"]
    for each in case.get("packets", ()):
        if note := each.get("note", ""):
            plain.append(note)
            html.append(f"<p>{to_html(note)}</p>")
        trace = capture.connection(each["connection"])
        shown = chart(trace, each.get("since_s", 0), began=capture.began)
        plain.append(shown.plain)
        html.append(f'<div style="overflow-x: auto">{shown.html}</div>')
    return Shown("\n".join(plain), "".join(html))


def opened_clinic(names: Sequence[str]) -> CaptureClinic:
    """The clinic with one capture of data/captures, or with both ends of the same connections."""
    clinic = CaptureClinic(*(str(LIBRARY / f"{name}.pcap") for name in names))
    clinic.wait()
    return clinic


def truth(lesson: str, names: Sequence[str]) -> Shown:
    """How these captures came about, and what an article says of their like."""
    cases = page_table(lesson).get("cases", {})
    stories = [
        *(provenance(LIBRARY / f"{name}.json", 24) for name in names),
        *(box for name in names for box in articles(cases.get(name, {}))),
    ]
    return Shown("\n".join(map(repr, stories)), "".join(story.html for story in stories))


class OpenLesson(Displayed):
    """One lesson in one notebook. Its methods are the last line of a cell each.

    A notebook shows it as a bar: what is done, a switch for a projector, a button to begin again.
    """

    def __init__(self, name: str) -> None:
        #: The lesson's name: `keepalive`.
        self.name = name
        self._questions: dict[str, Question] = {}
        #: Those whose why an explorer has.
        self._explained: list[Question | None] = []
        self._goals: WeakSet[GoalList] = WeakSet()
        self._last = ""
        self._done: Any = None

    def _build(self) -> Any:
        self._done = widgets.HTML()
        again = base.button(
            "Start again", "undo", self.start_again, "Clear the answers and goals of this lesson"
        )
        self._show_done()
        return base.in_row(self._done, again, Switch()).add_class("tcplab-lesson-bar")

    def _show_done(self) -> None:
        if self._done is not None:
            self._done.value = f"<p>{escape(repr(self))}</p>"

    def __repr__(self) -> str:
        lesson, questions, wanted = lessons()[self.name], asked.tables(self.name), goals(self.name)
        answered = sum(question.committed for question in self._questions.values())
        reached = {name for mine in self._goals for name in mine.reached}
        return (
            f"Lesson {lesson.number}: {answered} of {plural(len(questions), 'prediction')} made, "
            f"{len(reached)} of {plural(len(wanted), 'goal')} reached."
        )

    def ask(self, name: str) -> Question:
        """A question to answer before the picture below it opens.

        Raises `LookupError` in one sentence when the lesson has no such question.
        """
        question = asked.ask(self.name, name)
        question.explains = False
        question.bring_back()
        self._questions[name], self._last = question, name
        question.when_committed(self._show_done)
        question.when_started_again(self._show_done)
        return question

    def explore(
        self, experiment: Any, /, *, after: str = "", goals: Sequence[str] = (), opened: bool = False,
        beside: Mapping[str, Any] | None = None, **initial: Any,
    ) -> After | Explorer:  # fmt: skip
        """An explorer that opens with the prediction, its first run kept, the guess a flag on its axis.

        `goals` are names of the lesson's goals; `initial` are parameters. What is wrong with one is said in
        place of the picture. `opened`: the experiment's own picture is unfolded below the timeline.
        `beside` are other values: their run is kept, too, in the same picture.
        """

        def make(question: Question | None) -> Explorer:
            explorer = self._explorer(experiment, question, goals, initial, beside)
            if opened and explorer.details:
                explorer.details.opened = True
            return explorer

        return self._behind(after, make)

    def cases(
        self, experiment: Any, /, rows: Side, columns: Side, *,
        after: str = "", goals: Sequence[str] = (), **initial: Any,
    ) -> After | Cases:  # fmt: skip
        """One set of controls over several cases of an experiment, a bar for each.

        `rows` and `columns` are one parameter each, with its values: ``rows={"how": ["kill", "vanish"]}``.
        """
        needed = self._needed(goals)

        def make(question: Question | None) -> Cases:
            cases = Cases(experiment, rows, columns, needed, **initial)
            return self._with_goals(cases, goals, self._because(question))

        return self._behind(after, make)

    def replay(self, name: str, /, *, after: str = "", connection: int = 0) -> After | Recorded:
        """A capture in data/captures on its timeline, after the prediction.

        Raises `CaptureError` when there is none of that name, `IndexError` for a connection it lacks.
        """
        trace, said = _captured(name, connection)
        return self._behind(
            after, lambda question: Recorded(trace, said, question.because if question else "")
        )

    def proof(self, *recordings: str, after: str = "") -> Any:
        """The same on real Linux: a computed line for each recording, with both runs in its fold.

        Raises `CaptureError` when one is not in data/captures.
        """
        folds = [self._fold(name) for name in recordings]
        question = self._question(after)
        return Reveal(question, *folds, title=PROOF) if question else _together(folds)

    def resets(self, *recordings: str, after: str = "") -> Any:
        """RSTs of recordings on one axis: where each fell in its receiver's window, and what it did there.

        Each has the `label` of its proof in the lesson's page. Raises `CaptureError` for an unknown one.
        """
        found = [
            read_reset(proof_texts(self.name, name).get("label", name), recording(name))
            for name in recordings
        ]
        picture = ResetsPicture(found)
        question = self._question(after)
        return Reveal(question, picture, title="On one axis") if question else picture

    def topology(self, start: str = "", /, *, after: str = "", **values: Any) -> Any:
        """The what-if form, with an example or empty: then it begins with what one pastes.

        It waits for a question only where `after` names one. The form says what is wrong with an example.
        """
        made = topology(start, **values)
        if not after:
            return made
        return self._behind(after, lambda question: Explained(made, question.because if question else ""))

    def case(self, name: str) -> Shown:
        """A case of the clinic before its question: who says what, and the packets. Raises `LookupError`."""
        return case_file(self.name, name)

    def clinic(self, *names: str, after: str = "") -> Any:
        """The clinic, with a capture of data/captures or both ends of one, after the prediction.

        Without a name it is empty, waits for nothing, and takes a file of one's own.
        """
        if not names:
            return CaptureClinic()

        def make(question: Question | None) -> Explained:
            return Explained(
                opened_clinic(names), question.because if question else "", truth(self.name, names)
            )

        return self._behind(after, make)

    def more(self, title: str, make: Callable[[], Any]) -> More:
        """Something optional, closed: `here.more("Your own numbers", idle_map)`."""
        return More(title, make)

    def recognise(self) -> Shown:
        """What one sees at work, what it means, and what tells."""
        return recognise(self.name)

    def fix(self) -> Lines:
        """Where to set what, to copy."""
        return Lines(fix(self.name))

    def start_again(self) -> Shown:
        """Clear the lesson: questions unanswered, goals open, explorers as they began."""
        shown = asked.start_again()
        self._show_done()
        return shown

    # -- parts -----------------------------------------------------------------------------------

    def _question(self, after: str) -> Question | None:
        """The question that a cell waits for; asked anew where its own cell was not run."""
        name = after or self._last
        if name and name not in self._questions:
            self.ask(name)
        return self._questions.get(name)

    def _behind(self, after: str, make: Callable[[Question | None], Any]) -> Any:
        question = self._question(after)
        return After(question, lambda: make(question)) if question else make(None)

    def _explorer(
        self, experiment: Any, question: Question | None, wanted: Sequence[str], initial: dict[str, Any],
        beside: Mapping[str, Any] | None,
    ) -> Explorer:  # fmt: skip
        explorer = Explorer(experiment, True, self._needed(wanted), beside, **initial)
        self._with_goals(explorer, wanted, question.because if question else "")
        self._explained.append(question)
        if isinstance(question, NumberQuestion) and question.unit == "s":
            _flag(explorer, question)
        return explorer

    def _because(self, question: Question | None) -> str:
        """Why, where no explorer before has said it."""
        return question.because if question and question not in self._explained else ""

    def _needed(self, wanted: Sequence[str]) -> dict[str, list[Any]]:
        """The parameters that reach these goals, and what these or a tempting wrong setting give them.

        Raises `LookupError` for a goal that there is not.
        """
        known = goals(self.name)
        if wrong := next((name for name in wanted if name not in known), ""):
            raise LookupError(unknown(wrong, known))
        needed: dict[str, list[Any]] = {}
        for goal in (known[name] for name in wanted):
            for values in goal.reaches:
                for name, value in values.items():
                    needed.setdefault(name, []).append(value)
            for miss in goal.misses:
                for name in miss.values.keys() & needed.keys():
                    needed[name].append(miss.values[name])
        return needed

    def _with_goals(self, explorer: Turning, wanted: Sequence[str], because: str) -> Turning:
        known = goals(self.name)
        mine = GoalList(explorer, [known[name] for name in wanted], because)
        explorer.beside.children = [mine]
        explorer.still_beside = mine.still
        explorer.on_run.append(self._show_done)
        self._goals.add(mine)
        remember(mine)
        return explorer

    def _fold(self, name: str) -> Shown:
        texts = proof_texts(self.name, name)
        names = [name, *texts.get("also", ())]
        lines, inside = zip(*(self._both(each, texts if each == name else {}) for each in names), strict=True)
        notes = [*texts.get("notes", ()), *articles(texts)]
        origin = provenance(_file(name), MOST_ROWS)._repr_html_()
        body = "".join([*inside, *map(as_html, notes), origin])
        html = f"<details><summary>{to_html(lines[0])}</summary>{body}</details>"
        return Shown("\n".join([to_plain(lines[0]), *(to_plain(str(each)) for each in notes)]), html)

    def _both(self, name: str, texts: dict[str, Any]) -> tuple[str, str]:
        """A recording's line, and HTML of both runs, or of the one that there is."""
        if not (LIBRARY / f"{name}{RUN}").is_file():
            trace, said = _captured(name, texts.get("connection", 0))
            above = _requests(name)
            if above and "connection" not in texts:
                return texts.get("line", said), f"<p>{to_html(said)}</p>{above}"
            wire = paragraph("One of its connections on the wire:") if above else ""
            return texts.get("line", said), f"{above}{wire}{timeline(trace)._repr_html_()}"
        linux = recording(name)
        seen = on_linux(find(linux.experiment).from_values(linux.parameters), linux)
        packets = f"<details><summary>Packet by packet</summary>{seen.packets}</details>"
        line = proof_line(seen.agreement, linux, texts.get("label", ""))
        return line, f"<p>{to_html(line)}</p>{seen.picture._repr_html_()}{packets}"


def proof_line(agreement: Agreement, linux: Trace, label: str = "") -> str:
    """`**Linux 6.18, 5/1/3:** the same 8 packets, the same ETIMEDOUT, at most 0.27 s later`."""
    version = ".".join(linux.linux.split(".")[:2])
    where = f"**Linux {version}{f', {label}' if label else ''}:**"
    if not agreement.agrees:
        return f"{where} {agreement.sentence}"
    if not agreement.packets:
        return f"{where} the same results as the model"
    error = linux.outcome.get("error", linux.outcome.get("client_error", ...))
    same = "" if error is ... else f", the same {error}" if error else ", no error in either"
    late = ceil(agreement.behind_s * 100) / 100
    when = f"at most {late:g} s later" if late > 0 else "at the same times"
    return f"{where} the same {plural(agreement.packets, 'packet')}{same}, {when}"


def _requests(name: str) -> str:
    """HTML of the requests of a recorded pool; empty for other recordings."""
    sidecar = sidecar_values(_file(name))
    if "requests" not in sidecar:
        return ""
    return TimelinePicture(read_requests(sidecar))._repr_html_()


def _captured(name: str, connection: int) -> tuple[Trace, str]:
    """A connection of a capture in data/captures, or both legs of one; and what it is in one line."""
    path = _file(name)
    if path.stem == name:
        trace = read_capture(path).connection(connection)
    else:
        trace = both_legs(read_capture(path), read_capture(LIBRARY / f"{name}_back.pcap"))
    sidecar = sidecar_values(path)
    products = [f"{product} {version}" for product, version in sidecar["software"].items()]
    products = [each for each in products if not each.startswith("tcplab")][:1]
    where = ", ".join([*products, f"Linux {'.'.join(sidecar['linux'].split('.')[:2])}"])
    end = "" if sidecar["title"].endswith("?") else "."
    return trace, f"**{where}:** {sidecar['title']}{end}"


def _file(name: str) -> Path:
    """The capture of that name, or the front leg of a proxy's two."""
    whole, front = LIBRARY / f"{name}.pcap", LIBRARY / f"{name}_front.pcap"
    return front if front.is_file() and not whole.is_file() else whole


def _flag(explorer: Explorer, question: NumberQuestion) -> None:
    """The guess as a flag on the explorer's axis, as often as it changes."""

    shown = ref(explorer)  # which a cell that runs again replaces

    def show() -> None:
        guess = read_number(question.answer, "s") if question.answer is not None else None
        if explorer := shown():
            explorer.guess(guess if guess is None or guess >= 0 else None)

    question.when_checked(show)


def _together(folds: Sequence[Shown]) -> Shown:
    return Shown("\n".join(map(repr, folds)), "".join(fold.html for fold in folds))


def open_lesson(number: str) -> OpenLesson:
    """A lesson by its two digits or its name. Raises `LookupError` in one sentence when there is none."""
    return OpenLesson(lesson_numbered(number))
