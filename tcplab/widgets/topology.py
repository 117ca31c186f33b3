"""The what-if desk: one's own topology as a form, and at once what breaks first, when, and what to paste.

Everything stays in the notebook kernel. Values live in Python, so that a cell or a test can turn them too:

    desk = topology("On-prem: firewall, Oracle")
    desk.set(longest_idle_s=28_800)
    print(desk.sentence)
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from tcplab.core.html import paragraph
from tcplab.core.knobs import ParameterError
from tcplab.core.text import number
from tcplab.pictures.timers import draw_timers
from tcplab.widgets.figure import LivingFigure
from tcplab.widgets.topology_form import Form

# ----------------------------------------------------------------------
# An environment as a small file, and its settings as lines that the desk reads again.

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
        raise ParameterError(f"{name} is no text: use a file that this desk has saved.") from None
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
    """A link that hands the file to the browser: nothing leaves the machine."""
    content = b64encode((environment.to_json() + "\n").encode()).decode()
    name = escape(FILENAME, quote=True)
    return f'<a download="{name}" href="data:application/json;base64,{content}">Download {name}</a>'


def as_lines(settings: Mapping[str, Any]) -> str:
    """``product.name = value``, a line each, in the product's own unit: `read_settings` reads them."""
    words = {True: "true", False: "false"}
    return "\n".join(
        f"{key} = {words[value] if isinstance(value, bool) else value}" for key, value in settings.items()
    )


# ----------------------------------------------------------------------
# The desk's answers as text and HTML: what breaks first, all checks, settings to paste, what proves them.

#: Who may change a setting, for people.
WHO = {
    "dba": "The DBA", "application": "The application's team", "network": "The network team",
    "cloud": "Who runs the cloud", "": "Nobody but the product's makers",
}  # fmt: skip
_BROKEN = (
    "check",
    "what must hold",
    "margin",
    "when, and who hears",
    "what it prints",
    "left behind",
    "decides",
)
_HOLDS = ("check", "what holds", "margin")


def first(advice: Advice) -> str:
    """What breaks first, when, with which message, and which timer decides."""
    broken, count = advice.broken, len(advice.checks)
    notes = "".join(f" {note}" for note in advice.notes)
    if not broken:
        return f"Nothing breaks: all {count} checks hold.{notes}"
    check = broken[0]
    where = f" ({check.leg})" if check.leg else ""
    told = [
        f"{len(broken)} of {count} checks {'is' if len(broken) == 1 else 'are'} broken.",
        f"What breaks first, {when(check.breaks_after_s)}: {check.name}{where}.",
        f"What must hold and does not: {_numbers(check)}. {check.says}",
        f"{capital(heard(check))}.",
    ]
    if check.message:
        told.append(f"Printed: “{check.message}”.")
    if check.winner:
        told.append(f"What decides: {check.winner}.")
    if check.left_behind:
        told.append(check.left_behind)
    return " ".join(told) + notes


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
    """Who hears of it, and when."""
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


def _table(caption: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Rows of HTML; the first cell of each names it."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = ""
    for name, *cells in rows:
        body += f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    return (
        f'<table class="tcplab-table tcplab-checks"><caption>{caption}; the number in brackets is that of '
        f"the inequality</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _held(check: Check) -> list[str]:
    sign = "✓" if check.holds else "✗"
    where = f"<br><i>{escape(check.leg)}</i>" if check.leg else ""
    name = f"{sign} ({check.inequality}) {escape(check.name)}{where}"
    return [name, f"{escape(_numbers(check))}<br>{escape(check.says)}", escape(_margin(check))]


def _broken(check: Check) -> list[str]:
    heard_ = f"{capital(when(check.breaks_after_s))}; {heard(check)}."
    decides = f"▶ {check.winner}" if check.winner else "–"
    texts = [heard_, check.message or "–", check.left_behind or "–", decides]
    return [*_held(check), *map(escape, texts)]


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
        items = "".join(f"<li>{escape(change.sentence)}</li>" for change in changes)
        yield f"<h4>{escape(WHO[who])}</h4><ul>{items}</ul>"
    for kind, text in advice.paste.items():
        rows = text.count("\n")
        label = escape(f"settings to paste: {kind}", quote=True)
        yield (
            f'<h4>To paste: {escape(kind)}</h4><textarea class="tcplab-paste" readonly rows="{rows}" '
            f'spellcheck="false" aria-label="{label}">{escape(text)}</textarea>'
        )
    if advice.left:
        items = "".join(f"<li>{escape(check.sentence)}</li>" for check in advice.left)
        yield f"<h4>Still broken with all of that</h4><ul>{items}</ul>"


def prove_html(advice: Advice) -> str:
    """The command that shows it on each leg, and what it shows."""
    told = paragraph("When it is set, open a new connection, leave it idle, and look: the time counts down.")
    for leg, line in zip(advice.environment.legs, advice.prove.splitlines(), strict=True):
        command, _, note = line.removeprefix(f"{leg.name}: ").partition("   # ")
        label = escape(f"command for {leg.name}", quote=True)
        told += (
            f'<h4>{escape(leg.name)}</h4><pre class="tcplab-console" tabindex="0" aria-label="{label}">'
            f"{escape(command)}</pre>{paragraph(f'{capital(note)}.')}"
        )
    return told


_STYLES = [Path(__file__).with_name(name) for name in ("explorer.css", "topology.css")]
#: What the list of presets says while the values are none of them.
OWN = "your own"
#: The place of the page with all timers.
_TIMERS = 1
ABOUT = (
    "Type what you know; what you don't know may stay as it comes. Nobody asks for round trips or windows. "
    "Nothing leaves this machine, as long as your Jupyter runs on it."
)
_PASTE = (
    "Paste what is set today, of one file or of several: a JDBC URL, libpq's string, HikariCP's or Spring's "
    "properties, sysctl.d, postgresql.conf, pgbouncer.ini, my.cnf, redis.conf, sqlnet.ora, haproxy.cfg. What "
    "is read stands below. Passwords are not kept."
)


class Desk(widgets.VBox):
    """A topology to type, and what becomes of it. See `topology`."""

    def __init__(self, start: Environment) -> None:
        self._start = self._last = start
        self._quiet = False
        self._legs: tuple[LegLanes, ...] = ()
        self._is_drawn = False
        #: What is typed; None when it can't be.
        self.environment: Environment | None = None
        #: What breaks and what mends it; None when nothing can be said.
        self.advice: Advice | None = None
        #: What breaks first, or why that can't be said.
        self.sentence = ""
        #: What was read, pasted, saved or loaded last; empty: nothing was.
        self.told = ""
        pages = {"4 · What is set today": self._paste_area(), "5 · Save and load": self._file_area()}
        self.form = Form(self._update, pages)
        self._said = widgets.HTML()
        self._figure = LivingFigure("topology")
        self._checks, self._changes, self._proof = (widgets.HTML() for _ in range(3))
        self._tabs = self._make_tabs()
        style = "".join(each.read_text() for each in _STYLES)
        super().__init__(
            [
                widgets.HTML(f"<style>{style}</style>").add_class("tcplab-style"),
                self._head(),
                widgets.HTML(paragraph(ABOUT)),
                self.form,
                self._said,
                self._tabs,
            ]
        )
        self.add_class("tcplab-explorer")
        self.add_class("tcplab-desk")
        self.show(start)

    # -- for cells and tests -----------------------------------------------------------------

    def show(self, environment: Environment) -> None:
        """Show another environment as a whole."""
        self.form.show(environment)
        self._update()

    def set(self, **values: Any) -> None:
        """Change fields of the environment; what is wrong with one stands in `sentence` afterwards."""
        try:
            names = [each.name for each in fields(Environment)]
            for name in values:
                if name not in names:
                    raise ParameterError(f"A topology has no {name!r}; it has {', '.join(names)}.")
            self.show(replace(self._last, **values))
        except ParameterError as error:
            self._refuse(str(error))

    def use(self, preset: str) -> None:
        """Show a worked topology, by its name in the list."""
        if preset in PRESETS:
            self.show(PRESETS[preset])
        else:
            self._refuse(f"There is no topology {preset!r}; there are {', '.join(PRESETS)}.")

    def reset(self) -> None:
        """Back to the topology that the desk began with."""
        self._tell("")
        self.show(self._start)

    def paste(self, text: str) -> None:
        """Read pasted settings; they join those that are there. `told` says what was read."""
        self._carefully(lambda: self._paste(text))

    def forget_settings(self) -> None:
        """Take every product as it comes."""
        self.form.settings = {}
        self._tell("All settings are forgotten: every product is taken as it comes.")
        self._update()

    def take(self) -> None:
        """Put the settings that mend it into the form, as if they were set."""
        if self.advice is not None:
            new = {change.key: change.value for change in self.advice.changes}
            self.form.settings = {**self.form.settings, **new}
            self._tell("The desk now shows what comes of the proposed settings.")
            self._update()

    def save(self, path: str | Path) -> None:
        """Write the topology to a file. `told` says where it is, or why that failed."""

        def write() -> None:
            where = save(self.form.environment(), path)
            self._tell(f"Saved as {where.name}.")

        self._carefully(write)

    def load(self, path: str | Path) -> None:
        """Show the topology in a file. `told` says what is wrong with one that can't be read."""

        def read() -> None:
            self.show(load(path))
            self._tell(f"Loaded {Path(path).name}.")

        self._carefully(read)

    @property
    def figure(self) -> Any:
        """The picture of all timers as a plotly figure; None when there is none."""
        return draw_timers(self._legs).figure() if self.advice else None

    # -- building ----------------------------------------------------------------------------

    def _head(self) -> widgets.Widget:
        self._preset = widgets.Dropdown(options=[OWN, *PRESETS], description="begin with")
        self._preset.style.description_width = "initial"
        self._preset.observe(lambda change: self._on_preset(), "value")
        title = widgets.HTML("<h3>The what-if desk: your own topology</h3>")
        return widgets.HBox([title, self._preset, _button("Reset", "undo", self.reset)]).add_class(
            "tcplab-head"
        )

    def _paste_area(self) -> widgets.Widget:
        self._text = widgets.Textarea(
            description="paste your settings",
            placeholder="jdbc:postgresql://db/shop?tcpKeepAlive=true",
            rows=5,
        ).add_class("tcplab-wide")
        self._text.style.description_width = "100%"
        self._told = widgets.HTML()
        self._set = widgets.HTML()
        buttons = [
            _button("Read them", "check", lambda: self.paste(self._text.value)),
            _button("Forget all settings", "eraser", self.forget_settings),
        ]
        head = widgets.HTML(paragraph(_PASTE))
        return widgets.VBox(
            [head, self._text, widgets.HBox(buttons).add_class("tcplab-head"), self._told, self._set]
        )

    def _make_tabs(self) -> widgets.Tab:
        take = _button("What if these were set?", "magic", self.take)
        pages: dict[str, widgets.Widget] = {
            "What breaks": self._checks,
            "All timers": self._figure,
            "Settings to paste": widgets.VBox([take, self._changes]),
            "Prove it": self._proof,
        }
        tabs = widgets.Tab(list(pages.values()), titles=list(pages))
        tabs.selected_index = 0
        tabs.observe(lambda change: self._draw(), "selected_index")
        return tabs

    def _file_area(self) -> widgets.Widget:
        self._link = widgets.HTML()
        self._upload = widgets.FileUpload(accept=".json", multiple=False, description="Load a saved file")
        self._upload.layout.width = "auto"
        self._upload.observe(lambda change: self._carefully(self._on_upload), "value")
        self._path = widgets.Text(FILENAME, description="or a path", continuous_update=False)
        self._path.style.description_width = "initial"
        buttons = [
            _button("Save there", "save", lambda: self.save(self._path.value)),
            _button("Load from there", "folder-open", lambda: self.load(self._path.value)),
        ]
        rows = [[self._link, self._upload], [self._path, *buttons]]
        boxes = [widgets.HBox(row).add_class("tcplab-head").add_class("tcplab-file") for row in rows]
        about = widgets.HTML(
            paragraph("A small file of text: products, boxes, numbers, settings; no passwords.")
        )
        self._filed = widgets.HTML()
        return widgets.VBox([about, *boxes, self._filed])

    # -- when somebody does something ---------------------------------------------------------

    def _on_preset(self) -> None:
        if not self._quiet and self._preset.value in PRESETS:
            self._tell("")
            self.use(self._preset.value)

    def _on_upload(self) -> None:
        if not self._upload.value:
            return
        upload = self._upload.value[0]
        self._upload.value = ()
        self.show(from_bytes(bytes(upload.content), str(upload.name)[:60]))
        self._tell(f"Loaded {str(upload.name)[:60]}.")

    def _paste(self, text: str) -> None:
        read = read_settings(text)
        self._text.value = ""  # it may have held a password
        self.form.settings = {**self.form.settings, **read}
        self._tell(read.sentence)
        self._update()

    def _carefully(self, action: Callable[[], None]) -> None:
        """Do something for the learner, who gets one sentence when it can't be done."""
        try:
            action()
        except ParameterError as error:
            self._tell(f"✗ {error}")

    def _tell(self, sentence: str) -> None:
        self.told = sentence
        said = f'<div role="status" aria-live="polite">{paragraph(sentence)}</div>' if sentence else ""
        self._told.value = self._filed.value = said

    # -- showing -----------------------------------------------------------------------------

    def _update(self) -> None:
        """Work out what breaks with what is typed, and show all of it, or why not."""
        try:
            self.environment = self._last = self.form.environment()
            self.advice = advise(self.environment)
            self._legs = race(self.advice)
        except ParameterError as error:
            self._refuse(str(error))
            return
        except Exception as error:
            # A mistake of ours: the learner can't mend it, whoever reads the log can.
            self.log.error("advice on %s", self.environment, exc_info=error)
            what = f"{type(error).__name__}: {error}"
            self._refuse(f"With these values tcplab itself makes a mistake ({what}); try others.")
            return
        self.sentence = first(self.advice)
        self._is_drawn = False
        self._draw()
        self._checks.value = checks_table(self.advice)
        self._changes.value = changes_html(self.advice)
        self._proof.value = prove_html(self.advice)
        self._link.value = link(self.environment)
        self._show_settings()
        self._say()

    def _draw(self) -> None:
        """Draw the timers where they are seen: a picture that is drawn in a hidden place has no width."""
        if self.advice is not None and not self._is_drawn and self._tabs.selected_index == _TIMERS:
            self._figure.show(draw_timers(self._legs))
            self._is_drawn = True

    def _refuse(self, why: str) -> None:
        self.environment = self.advice = None
        self.sentence = why
        self._figure.clear()
        self._checks.value = self._changes.value = self._proof.value = self._link.value = ""
        self._say()

    def _say(self) -> None:
        self._tabs.layout.display = "" if self.advice else "none"
        self._said.value = self._sentence_html()
        self._quiet = True
        try:
            same = (name for name, preset in PRESETS.items() if preset == self.environment)
            self._preset.value = next(same, OWN)
        finally:
            self._quiet = False

    def _sentence_html(self) -> str:
        wrong = "" if self.advice else " wrong"
        said = self.sentence if self.advice else f"✗ {self.sentence}"
        return f'<div class="tcplab-sentence{wrong}" role="status" aria-live="polite">{paragraph(said)}</div>'

    def _show_settings(self) -> None:
        lines = as_lines(self.form.settings)
        label = "settings that differ from what comes, in the products' own units"
        told = f'<pre class="tcplab-console" tabindex="0" aria-label="{label}">{escape(lines)}</pre>'
        none = paragraph("Nothing: every product is taken as it comes.")
        self._set.value = f"<h4>Set today</h4>{told if lines else none}"

    # -- where no widget can live ------------------------------------------------------------

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        text = f"<p><b>The what-if desk</b></p>{self._sentence_html()}{self._checks.value}"
        return bundle | {"text/plain": repr(self), "text/html": text}


def topology(start: str | Environment = "", **values: Any) -> Desk:
    """The what-if desk, for the last line of a cell: ``topology("AWS: NLB, PgBouncer, RDS", instances=20)``.

    `start`: the name of a worked topology, the path of a saved file, or an `Environment`; without one the
    desk begins with libpq and PostgreSQL and no box between. `values` are fields of the environment. What
    is wrong with one of them is said in place of the answer.
    """
    if isinstance(start, Environment):
        desk = Desk(start)
    elif not start or start in PRESETS:
        desk = Desk(PRESETS[start] if start else Environment())
    else:
        desk = Desk(Environment())
        try:
            desk = Desk(load(start))
        except ParameterError as error:
            names = ", ".join(PRESETS)
            desk._refuse(f"{start!r} is no worked topology ({names}), and as a file: {error}")
    if values:
        desk.set(**values)
    return desk


def _button(text: str, icon: str, pressed: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=text, icon=icon)
    button.layout = widgets.Layout(width="auto", align_self="flex-start")
    button.on_click(lambda _: pressed())
    return button
