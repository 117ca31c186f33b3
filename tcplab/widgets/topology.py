"""The what-if form: your own topology, and at once what breaks first, when, and what to paste.

Everything stays in the notebook kernel. Values live in Python, so a cell or a test can set them too:

    form = topology("On-prem: firewall, Oracle")
    form.set(longest_idle_s=28_800)
    print(form.sentence)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from html import escape
from math import inf
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from tcplab.advice import Advice, Check, Environment, advise, read_settings
from tcplab.advice.checks import words
from tcplab.advice.environment import PRESETS
from tcplab.advice.race import LegLanes, race
from tcplab.core.knobs import ParameterError
from tcplab.core.table import Markup, html_table
from tcplab.core.text import STATUS, bullets, download, number, paragraph, terminal, to_paste
from tcplab.pictures.timers import draw_timers
from tcplab.widgets.base import Action, LivingFigure, Shell, Tabs, button, in_row, labelled, titled, visible
from tcplab.widgets.topology_form import EnvironmentForm

#: Bytes of a file that can't be one of ours.
LARGEST = 1_000_000
FILENAME = "topology.json"


def from_bytes(content: bytes, name: str) -> Environment:
    """The environment in a file. Raises `ParameterError` with one sentence that names it."""
    if len(content) > LARGEST:
        raise ParameterError(f"{name} has {len(content):,} bytes: a saved topology has at most {LARGEST:,}.")
    try:
        return Environment.from_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ParameterError(f"{name} is no text: use a file that this form has saved.") from None
    except ParameterError as mistake:
        raise ParameterError(f"{name}: {mistake}") from None


def load(path: str | Path) -> Environment:
    """The environment in a file. Raises `ParameterError` with one sentence that names it."""
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be read: {_why(error)}.") from None
    return from_bytes(content, path.name)


def save(environment: Environment, path: str | Path) -> Path:
    """Write it; returns where. Raises `ParameterError` with one sentence."""
    path = Path(path).expanduser()
    try:
        path.write_text(environment.to_json() + "\n", "utf-8")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be written: {_why(error)}.") from None
    return path


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


def link(environment: Environment) -> str:
    """A link that hands the file to the browser."""
    return download(FILENAME, (environment.to_json() + "\n").encode(), "application/json")


def as_lines(settings: Mapping[str, Any]) -> str:
    """``product.name = value``, a line each, in the product's own unit: `read_settings` reads them."""
    return "\n".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else value}"
        for key, value in settings.items()
    )


#: Who may change a setting, in words.
WHO = {
    "dba": "The DBA", "application": "The application's team", "network": "The network team",
    "cloud": "The cloud team", "": "Only the vendor",
}  # fmt: skip
_BROKEN = (
    "check", "what must hold", "margin", "when, and who hears", "what it prints", "left behind", "decides",
)  # fmt: skip
_HOLDS = ("check", "what holds", "margin")


def first(advice: Advice) -> str:
    """What breaks first, when, with which message, and which timer decides."""
    broken, count = advice.broken, len(advice.checks)
    notes = "".join(f" {note}" for note in advice.notes)
    if not broken:
        return f"Nothing breaks: all {count} checks hold.{notes}"
    check = broken[0]
    where = f" ({check.leg})" if check.leg else ""
    sentences = [
        f"{len(broken)} of {count} checks {'is' if len(broken) == 1 else 'are'} broken.",
        f"What breaks first, {when(check.breaks_after_s)}: {check.name}{where}.",
        f"What must hold and does not: {_numbers(check)}. {check.says}",
        f"{capital(heard(check))}.",
    ]
    if check.message:
        sentences.append(f"Printed: “{check.message}”.")
    if check.winner:
        sentences.append(f"What decides: {check.winner}.")
    if check.left_behind:
        sentences.append(check.left_behind)
    return " ".join(sentences) + notes


def capital(text: str) -> str:
    """With a capital letter at the beginning."""
    return text[:1].upper() + text[1:]


def when(seconds: float | None) -> str:
    """`at once`, `after 350 s (5 min 50 s)`."""
    if not seconds:
        return "at once"
    if seconds == inf:
        return "never"
    said = words(seconds)
    return f"after {said}" if seconds < 100 else f"after {round(seconds):,} s ({words(round(seconds))})"


def heard(check: Check) -> str:
    """Which program gets an error, and when."""
    if check.heard_after_s == inf:
        return f"{check.heard_by} never hears of it"
    return f"{check.heard_by} hears {when(check.heard_after_s)}"


def checks_table(advice: Advice) -> str:
    """Every check in a row: first the broken ones, by when they break, then those that hold."""
    holds = [check for check in advice.checks if check.holds]
    made = ""
    if advice.broken:
        caption = f"✗ {len(advice.broken)} broken, the first to break first"
        made += _table(caption, _BROKEN, map(_broken, advice.broken))
    if holds:
        made += _table(f"✓ {len(holds)} hold", _HOLDS, map(_held, holds))
    return made


def _table(caption: str, headings: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    caption += "; the number in brackets is that of the inequality"
    classes = "tcplab-table tcplab-checks"
    return html_table(headings, rows, caption=caption, row_headings=True, classes=classes)


def _held(check: Check) -> list[str]:
    sign = "✓" if check.holds else "✗"
    where = f"<br><i>{escape(check.leg)}</i>" if check.leg else ""
    name = Markup(f"{sign} ({check.inequality}) {escape(check.name)}{where}")
    return [name, Markup(f"{escape(_numbers(check))}<br>{escape(check.says)}"), _margin(check)]


def _broken(check: Check) -> list[str]:
    error = f"{capital(when(check.breaks_after_s))}; {heard(check)}."
    decides = f"▶ {check.winner}" if check.winner else "–"
    return [*_held(check), error, check.message or "–", check.left_behind or "–", decides]


def _numbers(check: Check) -> str:
    """The inequality in mathematics' signs."""
    return check.numbers.replace(" x ", " × ").replace(" <= ", " ≤ ")


def _margin(check: Check) -> str:
    """How much is left; a whole timer of it is missing where one side never ends."""
    if abs(check.margin) == inf:
        return "unlimited" if check.margin > 0 else "no limit at all"
    sign = "−" if check.margin < 0 else "+"
    return f"{sign}{number(abs(check.margin), check.unit)}"


def changes_html(advice: Advice) -> str:
    """What to change: by who may, then as text to paste, then what no setting mends."""
    return "".join(_changes(advice))


def _changes(advice: Advice) -> Iterator[str]:
    if not advice.changes:
        yield paragraph(
            "Nothing has to be changed." if not advice.broken else "No setting of these products mends it."
        )
    for who, changes in advice.by_who().items():
        yield f"<h4>{escape(WHO[who])}</h4>{bullets(change.sentence for change in changes)}"
    for kind, text in advice.paste.items():
        yield f"<h4>To paste: {escape(kind)}</h4>{to_paste(kind, text)}"
    if advice.left:
        yield f"<h4>Still broken with all of that</h4>{bullets(check.sentence for check in advice.left)}"


def prove_html(advice: Advice) -> str:
    """The command that shows it on each leg, and what it shows."""
    made = paragraph("When it is set, open a new connection, leave it idle, and look: the time counts down.")
    for leg, line in zip(advice.environment.legs, advice.prove.splitlines(), strict=True):
        command, _, note = line.removeprefix(f"{leg.name}: ").partition("   # ")
        made += f"<h4>{escape(leg.name)}</h4>{terminal(f'command for {leg.name}', escape(command))}"
        made += paragraph(f"{capital(note)}.")
    return made


#: What the list of presets says while the values are none of them.
OWN = "your own"
#: The title of the tab with the picture.
_TIMERS = "All timers"
ABOUT = (
    "Type what you know; what you don't know may stay as it comes. Round trips and windows are not asked "
    "for. Nothing leaves this machine, as long as your Jupyter runs on it."
)
_PASTE = (
    "Paste what is set today, of one file or of several: a JDBC URL, libpq's string, HikariCP's or Spring's "
    "properties, sysctl.d, postgresql.conf, pgbouncer.ini, my.cnf, redis.conf, sqlnet.ora, haproxy.cfg. What "
    "is read is listed below. Passwords are not kept."
)


class TopologyForm(Shell):
    """A topology to type, and what breaks in it. See `topology`."""

    styles = ("topology.css",)

    def __init__(self, start: Environment) -> None:
        super().__init__("tcplab-topology")
        self._start = self._last = start
        self._legs: tuple[LegLanes, ...] = ()
        #: What is typed; None when it can't be.
        self.environment: Environment | None = None
        #: What breaks and what mends it; None when nothing can be said.
        self.advice: Advice | None = None
        #: What was read, pasted, saved or loaded last; empty: nothing was.
        self.message = ""
        #: The same where it is shown; the settings of today; the file to download.
        self.messages = [widgets.HTML(), widgets.HTML()]
        self.set_today, self.link = widgets.HTML(), widgets.HTML()
        pages = {"4 · What is set today": self._paste_area(), "5 · Save and load": self._file_area()}
        self.form = EnvironmentForm(self._update, pages)
        #: What each tab shows.
        self.checks, self.changes, self.proof = (widgets.HTML() for _ in range(3))
        self._picture = LivingFigure("topology")
        take = button("What if these were set?", "magic", self.take)
        tabs = {
            "What breaks": self.checks,
            _TIMERS: self._picture,
            "Settings to paste": widgets.VBox([take, self.changes]),
            "Prove it": self.proof,
        }
        self.tabs = Tabs(tabs, self._draw)
        self.build(self._head(), widgets.HTML(paragraph(ABOUT)), self.form, self.status, self.tabs)
        self.show(start)

    def show(self, environment: Environment) -> None:
        """Show another environment as a whole."""
        self.form.show(environment)
        self._update()

    def set(self, **values: Any) -> None:
        """Change fields of the environment; `sentence` then says what is wrong with one."""
        names = [each.name for each in fields(Environment)]
        if wrong := [name for name in values if name not in names]:
            self.refuse(f"A topology has no {wrong[0]!r}; it has {', '.join(names)}.")
        else:
            self.guard(lambda: self.show(replace(self._last, **values)))

    def use(self, preset: str) -> None:
        """Show a worked topology, by its name in the list."""
        if preset in PRESETS:
            self.show(PRESETS[preset])
        else:
            self.refuse(f"There is no topology {preset!r}; there are {', '.join(PRESETS)}.")

    def reset(self) -> None:
        """Back to the topology that the form began with."""
        self._report("")
        self.show(self._start)

    def paste(self, text: str) -> None:
        """Read pasted settings; they join those that are there. `message` says what was read."""

        def read() -> None:
            pasted = read_settings(text)
            self.pasted.value = ""  # it may have held a password
            self.form.settings = {**self.form.settings, **pasted}
            self._report(pasted.sentence)
            self._update()

        self._attempt(read)

    def forget_settings(self) -> None:
        """Use every product with its defaults."""
        self.form.settings = {}
        self._report("All settings are forgotten: every product is taken as it comes.")
        self._update()

    def take(self) -> None:
        """Put the settings that mend it into the form, as if they were set."""
        if self.advice is not None:
            new = {change.key: change.value for change in self.advice.changes}
            self.form.settings = {**self.form.settings, **new}
            self._report("This is what comes of the proposed settings.")
            self._update()

    def save(self, path: str | Path) -> None:
        """Write the topology to a file. `message` says where it is, or why that failed."""
        self._attempt(lambda: self._report(f"Saved as {save(self.form.environment(), path).name}."))

    def load(self, path: str | Path) -> None:
        """Show the topology in a file. `message` says what is wrong with one that can't be read."""
        self._attempt(lambda: self._loaded(load(path), Path(path).name))

    def upload(self, content: bytes, name: str) -> None:
        """Show the topology in a file that the browser hands over."""
        self._attempt(lambda: self._loaded(from_bytes(content, name[:60]), name[:60]))

    def _loaded(self, environment: Environment, name: str) -> None:
        self.show(environment)
        self._report(f"Loaded {name}.")

    @property
    def figure(self) -> Any:
        """The picture of all timers as a plotly figure; None when there is none."""
        return draw_timers(self._legs).figure() if self.advice else None

    # -- building ----------------------------------------------------------------------------

    def _head(self) -> widgets.Widget:
        #: The list of worked topologies.
        self.preset = labelled(widgets.Dropdown(options=[OWN, *PRESETS], description="begin with"))
        self.react(self.preset, self._on_preset)
        title = widgets.HTML("<h3>What if: your own topology</h3>")
        return in_row(title, self.preset, button("Reset", "undo", self.reset))

    def _on_preset(self, name: str) -> None:
        if name in PRESETS:
            self._report("")
            self.use(name)

    def _paste_area(self) -> widgets.Widget:
        self.pasted = titled(widgets.Textarea(description="paste your settings", rows=5))
        self.pasted.placeholder = "jdbc:postgresql://db/shop?tcpKeepAlive=true"
        read = button("Read them", "check", lambda: self.paste(self.pasted.value))
        buttons = in_row(read, button("Forget all settings", "eraser", self.forget_settings))
        about = widgets.HTML(paragraph(_PASTE))
        self.pasted.add_class("tcplab-wide")
        return widgets.VBox([about, self.pasted, buttons, self.messages[0], self.set_today])

    def _file_area(self) -> widgets.Widget:
        chosen = widgets.FileUpload(accept=".json", multiple=False, description="Load a saved file")
        self.react(chosen, lambda files: self._on_upload(chosen))
        path = labelled(widgets.Text(FILENAME, description="or a path", continuous_update=False))
        write = button("Save there", "save", lambda: self.save(path.value))
        read = button("Load from there", "folder-open", lambda: self.load(path.value))
        about = "A small file of text: products, boxes, numbers, settings; no passwords."
        rows = [in_row(*parts) for parts in ((self.link, chosen), (path, write, read))]
        for row in rows:
            row.add_class("tcplab-file")
        return widgets.VBox([widgets.HTML(paragraph(about)), *rows, self.messages[1]])

    def _on_upload(self, chosen: Any) -> None:
        for file in chosen.value:
            with self.quietly():
                chosen.value = ()
            self.upload(bytes(file["content"]), str(file["name"]))

    # -- showing -----------------------------------------------------------------------------

    def _attempt(self, action: Action) -> None:
        """Run an action; what is wrong is said as the message, and the answer stays."""
        self.guard(action, lambda why: self._report(f"✗ {why}"))

    def _report(self, message: str) -> None:
        self.message = message
        html = f"<div {STATUS}>{paragraph(message)}</div>" if message else ""
        for place in self.messages:
            place.value = html

    def _update(self) -> None:
        """Work out what breaks with what is typed, and show all of it, or why not."""
        self.guard(self._advise)

    def _advise(self) -> None:
        environment = self.form.environment()
        advice = advise(environment)
        legs = race(advice)
        self.environment = self._last = environment
        self.advice, self._legs = advice, legs
        self.checks.value = checks_table(advice)
        self.changes.value = changes_html(advice)
        self.proof.value = prove_html(advice)
        self.link.value = link(environment)
        lines = as_lines(self.form.settings)
        label = "settings that differ from what comes, in the products' own units"
        nothing = paragraph("Nothing: every product is taken as it comes.")
        self.set_today.value = f"<h4>Set today</h4>{terminal(label, escape(lines)) if lines else nothing}"
        self.say(first(advice))
        self.tabs.renew()

    def _draw(self, title: str) -> None:
        """Draw the timers when they are seen: what is drawn in a hidden place has no width."""
        if title == _TIMERS:
            self._picture.show(draw_timers(self._legs))

    def refuse(self, why: str) -> None:
        self.environment = self.advice = None
        self.tabs.forget()
        self._picture.clear()
        for each in (self.checks, self.changes, self.proof, self.link):
            each.value = ""
        super().refuse(why)

    def say(self, sentence: str, **how: Any) -> None:
        super().say(sentence, **how)
        visible(self.tabs, self.error is None)
        with self.quietly():
            same = (name for name, preset in PRESETS.items() if preset == self.environment)
            self.preset.value = next(same, OWN)

    def _repr_html_(self) -> str:
        return f"<p><b>What if: your own topology</b></p>{self.status.value}{self.checks.value}"


def topology(start: str | Environment = "", **values: Any) -> TopologyForm:
    """The what-if form, for the last line of a cell: ``topology("AWS: NLB, PgBouncer, RDS", instances=20)``.

    `start`: the name of a worked topology, the path of a saved file, or an `Environment`; without one the
    form begins with libpq and PostgreSQL and no box between. `values` are fields of the environment. What
    is wrong with one of them is said in place of the answer.
    """
    given, why = start or Environment(), ""
    if isinstance(given, str):
        try:
            given = PRESETS.get(given) or load(given)
        except ParameterError as error:
            why = f"{start!r} is no worked topology ({', '.join(PRESETS)}), and as a file: {error}"
            given = Environment()
    form = TopologyForm(given)
    if why:
        form.refuse(why)
    if values:
        form.set(**values)
    return form
