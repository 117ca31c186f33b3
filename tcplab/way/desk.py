"""The what-if desk: one's own topology as a form, and at once what breaks first, when, and what to paste.

Everything stays in the notebook kernel. Values live in Python, so that a cell or a test can turn them too:

    desk = topology("On-prem: firewall, Oracle")
    desk.set(longest_idle_s=28_800)
    print(desk.sentence)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from tcplab import view
from tcplab.advice import Advice, Environment, advise, read_settings
from tcplab.knobs import ParameterError
from tcplab.view.desk_timeline import LegLanes, draw_desk_timeline
from tcplab.view.figure_widget import LivingFigure
from tcplab.view.panels import paragraph
from tcplab.way import file, shown
from tcplab.way.form import Form
from tcplab.way.presets import PRESETS
from tcplab.way.timeline import timeline

_STYLES = [Path(view.__file__).with_name(name) for name in ("explorer.css", "desk.css")]
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
            where = file.save(self.form.environment(), path)
            self._tell(f"Saved as {where.name}.")

        self._carefully(write)

    def load(self, path: str | Path) -> None:
        """Show the topology in a file. `told` says what is wrong with one that can't be read."""

        def read() -> None:
            self.show(file.load(path))
            self._tell(f"Loaded {Path(path).name}.")

        self._carefully(read)

    @property
    def figure(self) -> Any:
        """The picture of all timers as a plotly figure; None when there is none."""
        return draw_desk_timeline(self._legs).figure() if self.advice else None

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
        self._path = widgets.Text(file.FILENAME, description="or a path", continuous_update=False)
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
        self.show(file.from_bytes(bytes(upload.content), str(upload.name)[:60]))
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
            self._legs = timeline(self.advice)
        except ParameterError as error:
            self._refuse(str(error))
            return
        except Exception as error:
            # A mistake of ours: the learner can't mend it, whoever reads the log can.
            self.log.error("advice on %s", self.environment, exc_info=error)
            what = f"{type(error).__name__}: {error}"
            self._refuse(f"With these values tcplab itself makes a mistake ({what}); try others.")
            return
        self.sentence = shown.first(self.advice)
        self._is_drawn = False
        self._draw()
        self._checks.value = shown.checks_table(self.advice)
        self._changes.value = shown.changes_html(self.advice)
        self._proof.value = shown.prove_html(self.advice)
        self._link.value = file.link(self.environment)
        self._show_settings()
        self._say()

    def _draw(self) -> None:
        """Draw the timers where they are seen: a picture that is drawn in a hidden place has no width."""
        if self.advice is not None and not self._is_drawn and self._tabs.selected_index == _TIMERS:
            self._figure.show(draw_desk_timeline(self._legs))
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
        lines = file.as_lines(self.form.settings)
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
            desk = Desk(file.load(start))
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
