"""The what-if form: your path to the database, and at once who gives up first, when, and what to change.

Everything stays in the notebook kernel. Values live in Python, so a cell or a test can set them too:

    form = topology("On-prem: firewall, Oracle")
    form.paste("SQLNET.EXPIRE_TIME = 5")
    form.set(longest_idle_s=28_800)
    print(form.sentence)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from datetime import date
from functools import lru_cache
from html import escape
from math import inf
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

from tcplab.advice import Advice, Environment, PasteReading, advise, read
from tcplab.advice.advice import Remedy
from tcplab.advice.change_files import diffs, suggested, with_remedies, without_secrets
from tcplab.advice.environment import (
    DATABASES,
    DRIVERS_OF,
    POOLS,
    PRESETS,
    PROXIES,
    Leg,
    checked_value,
    known_middleboxes,
    known_setting,
    pools_of,
    proxies_of,
)
from tcplab.advice.paste import Conflict
from tcplab.advice.race import race
from tcplab.advice.race_lanes import Race
from tcplab.advice.reading import LONGEST, NOT_USED
from tcplab.advice.runs import experiment_of
from tcplab.advice.topology_file import STACKS, examples, in_unit, load_topology, read_topology, topology_toml
from tcplab.bench import run
from tcplab.core.knobs import ParameterError
from tcplab.core.text import download, listed, read_number
from tcplab.lesson.displayed import close
from tcplab.pictures.topology import (
    KNOBS,
    OfferedRemedy,
    TopologyView,
    changes_of,
    form_html,
    name_of,
    still_html,
    verdict,
)
from tcplab.pictures.topology_report import TopologyReport
from tcplab.widgets.base import Action, Shell, page_side, visible
from tcplab.widgets.show import picture

#: Bytes of a file that can't be one of ours.
LARGEST = 1_000_000
FILENAME = "topology.toml"


def load(path: str | Path) -> Environment:
    """The environment in a file, TOML or the JSON of earlier versions. Raises `ParameterError`."""
    path = Path(path).expanduser()
    if path.suffix.lower() != ".json":
        return load_topology(path).environment
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be read: {_why(error)}.") from None
    return from_bytes(content, path.name)


def from_bytes(content: bytes, name: str) -> Environment:
    """The environment in a file's bytes. Raises `ParameterError` with one sentence that names it."""
    if len(content) > LARGEST:
        raise ParameterError(f"{name} has {len(content):,} bytes: a saved topology has at most {LARGEST:,}.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ParameterError(f"{name} is not a text file: use a file that this form has saved.") from None
    try:
        if name.lower().endswith(".json"):
            return Environment.from_json(text)
        return read_topology(text, _no_file).environment
    except ParameterError as mistake:
        raise ParameterError(f"{name}: {mistake}") from None


def _no_file(name: str) -> str:
    raise ParameterError(f"it reads {name}, which is not here: open it by its path, or paste {name} too.")


def save(environment: Environment, path: str | Path) -> Path:
    """Write it as TOML; returns where. Raises `ParameterError`, also for a file of another kind."""
    path = Path(path).expanduser()
    if path.is_file():
        try:
            load(path)
        except ParameterError:
            raise ParameterError(f"{path} exists and is not a saved topology: use another name.") from None
    try:
        path.write_text(topology_toml(environment, path.stem), "utf-8")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be written: {_why(error)}.") from None
    return path


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


@lru_cache(maxsize=1)
def _stacks() -> Mapping[str, tuple[str, str]]:
    """The examples by key: what they are called, and their path."""
    made = {}
    for key, path in examples().items():
        env = load_topology(path).environment
        parts = [name_of(env.pool)] if env.pool else [name_of(env.driver)]
        for i, leg in enumerate(env.legs):
            parts += [box.name for box in leg.middleboxes]
            parts.append(name_of(env.server_of(i)))
        made[key] = (STACKS[key], " → ".join(parts))
    return made


@lru_cache(maxsize=1)
def _sample() -> Race:
    return race(load_topology(next(iter(examples().values()))).environment)


def with_products(env: Environment, **products: Any) -> Environment:
    """Other products on the path; what does not fit the new ones is replaced by what does."""
    database = products.get("database", env.database)
    driver = products.get("driver", env.driver)
    if driver not in DRIVERS_OF[database]:
        driver = DRIVERS_OF[database][0]
    pool = products.get("pool", env.pool)
    if pool not in pools_of(driver):
        pool = ""
    proxies = tuple(key for key in products.get("proxies", env.proxies) if key in proxies_of(database))
    old, names = list(env.legs), ["application", *map(name_of, (*proxies, database))]
    legs = [
        replace(old[i] if i < len(old) else Leg("new"), name=f"{names[i]} to {names[i + 1]}")
        for i in range(len(proxies) + 1)
    ]
    more: dict[str, Any] = {}
    if database != env.database:
        more = {"managed": "", "longest_silent_query_s": None}
    return replace(
        env, database=database, driver=driver, pool=pool, proxies=proxies, legs=tuple(legs), **more
    )  # fmt: skip


class TopologyPage(anywidget.AnyWidget):
    """HTML that Python makes, and what is done with it: `on_do` gets each message."""

    _esm = page_side("topology.js")

    html = traitlets.Unicode("").tag(sync=True)
    #: The page's: the width of its place in px, and whether it is dark.
    width = traitlets.Int(0).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)

    def __init__(self, on_do: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self.on_msg(lambda widget, content, buffers: on_do(content))


class TopologyForm(Shell):
    """A path to paste or to click together, and the race of its timers. See `topology`."""

    styles = ("topology.css",)

    def __init__(self, start: Environment | None) -> None:
        super().__init__("tcplab-topology")
        self._start = start
        #: What the path is without the remedies that are ticked; None: nothing was said.
        self._base: Environment | None = start
        self._typed = start or Environment()
        self._said: set[str] = set()
        self._texts: dict[str, str] = {}
        self._choices: dict[int, int] = {}
        self._ticked: dict[str, Remedy] = {}
        self._page = "race"
        #: What the path is now; None when it can't be said.
        self.environment: Environment | None = start
        #: What breaks and what mends it, and the race; None when nothing can be said.
        self.advice: Advice | None = None
        self.race: Race | None = None
        #: What was pasted, line by line; None: nothing was.
        self.reading: PasteReading | None = None
        #: What was read, saved or loaded last; empty: nothing was.
        self.message = ""
        self._offered: tuple[OfferedRemedy, ...] = ()
        self.page = TopologyPage(self._on_message)
        self.page.observe(lambda change: self._show(), "dark")
        #: The packets of the lane that was opened, and its key.
        self.packets, self._shown_lane = widgets.VBox(), ""
        visible(self.status, False)  # the page has the sentence
        self.build(self.page, self.packets, self.status)
        self._update()

    # -- what a cell calls -----------------------------------------------------------------------

    def show(self, environment: Environment) -> None:
        """Show another environment as a whole."""
        self._base = self._typed = environment
        self._said = {name for name in KNOBS if getattr(environment, name) != getattr(Environment(), name)}
        self._texts, self.reading = {}, None
        self._choices, self._ticked = {}, {}
        self._update()

    def set(self, **values: Any) -> None:
        """Change fields of the environment; `sentence` then says what is wrong with one."""
        names = [each.name for each in fields(Environment)]
        if wrong := [name for name in values if name not in names]:
            self.refuse(f"A topology has no {wrong[0]!r}; it has {', '.join(names)}.")
            return

        def change() -> None:
            self._change(replace(self._base or self._typed, **values))
            self._said |= set(values)
            self._update()

        self.guard(change)

    def use(self, preset: str) -> None:
        """Show an example or a worked topology, by its name."""
        if preset in STACKS:
            self.show(load_topology(examples()[preset]).environment)
        elif preset in PRESETS:
            self.show(PRESETS[preset])
        else:
            self.refuse(f"There is no topology {preset!r}; there are {', '.join((*STACKS, *PRESETS))}.")

    def reset(self) -> None:
        """Back to what the form began with."""
        self.message, self._page = "", "race"
        if self._start is not None:
            self.show(self._start)
            return
        self._base, self._texts, self.reading, self._ticked = None, {}, None, {}
        self._typed, self._said = Environment(), set()
        self._update()

    def paste(self, texts: str | Mapping[str, str]) -> None:
        """Read pasted files; they join those that are there. `message` says what was read."""

        def reading() -> None:
            named = {_free("pasted text", self._texts): texts} if isinstance(texts, str) else texts
            both = {**self._texts, **named}
            if sum(map(len, both.values())) > LONGEST:
                raise ParameterError(f"The pasted texts have more than {LONGEST:,} characters.")
            fresh = read(both, start=self._base or self._typed)
            self.reading, self._base, self._choices = fresh, fresh.environment, {}
            self._texts = without_secrets(fresh.files, both)
            self._said |= set(fresh.found)
            self.message = "" if len(self._texts) > 3 else fresh.sentence
            self._page = "race"
            self._update()

        self._attempt(reading)

    def tick(self, *names: str, on: bool = True) -> None:
        """Try remedies, by their names in `remedies`, or take them back."""
        known = {each.remedy.name: each.remedy for each in self._offered}
        for name in names:
            if name not in known:
                self.refuse(f"There is no remedy {name!r}; there are {listed(list(known)) or 'none'}.")
                return
            if on:
                self._ticked[name] = known[name]
                taken = set(known[name].keys)
                # An alternative for the same setting gives way.
                for other, remedy in list(self._ticked.items()):
                    if other != name and taken & set(remedy.keys):
                        del self._ticked[other]
            else:
                self._ticked.pop(name, None)
        self._update()

    @property
    def remedies(self) -> tuple[str, ...]:
        """The names of the remedies that are offered."""
        return tuple(each.remedy.name for each in self._offered)

    def suggest(self) -> None:
        """Tick the fewest remedies that mend all that can be mended, local ones before host-wide ones."""

        def suggest() -> None:
            offered = [each.remedy for each in self._offered]
            chosen = suggested(self._base or self._typed, offered)
            self._ticked = {remedy.name: remedy for remedy in chosen}
            self._update()

        self.guard(suggest)

    def take(self) -> None:
        """Take everything that is proposed, as if it were set."""
        if self.advice is not None:
            changes = {change.key: change.value for change in self.advice.changes}
            base = self._base or self._typed
            self._change(replace(base, settings={**base.settings, **changes}))
            self._update()

    def save(self, path: str | Path) -> None:
        """Write the topology to a file. `message` says where it is, or why that failed."""
        env = self.environment or self._typed

        def write() -> None:
            self.message = f"Saved as {save(env, path).name}."
            self._show()

        self._attempt(write)

    def load(self, path: str | Path) -> None:
        """Show the topology in a file. `message` says what is wrong with one that can't be read."""
        self._attempt(lambda: self._loaded(load(path), Path(path).name))

    def upload(self, content: bytes, name: str) -> None:
        """Show the topology in a file that the browser hands over."""
        self._attempt(lambda: self._loaded(from_bytes(content, name[:60]), name[:60]))

    def _loaded(self, environment: Environment, name: str) -> None:
        self.message = f"Loaded {name}."
        self.show(environment)

    # -- what the page sends ---------------------------------------------------------------------

    def _on_message(self, content: Any) -> None:
        if not isinstance(content, Mapping) or content.get("do") not in _DOES:
            return
        self._attempt(lambda: _DOES[content["do"]](self, content))

    def _do_texts(self, said: Mapping[str, Any]) -> None:
        texts = {str(name)[:80]: str(text) for name, text in said.get("texts", [])}
        topologies = [name for name in texts if name.lower().endswith((".toml", ".json"))]
        for name in topologies:
            self.upload(texts.pop(name).encode(), name)
        if texts:
            self.paste(texts)

    def _do_example(self, said: Mapping[str, Any]) -> None:
        if said.get("value"):
            self.message = ""
            self.use(str(said["value"]))

    def _do_number(self, said: Mapping[str, Any]) -> None:
        name, text = str(said.get("field")), str(said.get("value", ""))
        knob = KNOBS[name]
        number = read_number(text, "s" if knob.unit == "s" else "")
        if number is None or number == inf:
            raise ParameterError(
                f"{knob.label} = {text[:20]!r} is not a number{' of seconds' if knob.unit == 's' else ''}."
            )
        self.set(**{name: int(number) if knob.kind is int and number == int(number) else number})

    def _do_setting(self, said: Mapping[str, Any]) -> None:
        key, text = str(said.get("key")), str(said.get("value", "")).strip()
        each, base = known_setting(key), self._base or self._typed
        settings = {name: value for name, value in base.settings.items() if name != key}
        if text and text.lower() not in ("linux", "none"):
            value: Any = {"on": True, "true": True, "off": False, "false": False}.get(text.lower(), text)
            if not isinstance(value, bool) and not each.is_text:
                number = read_number(text)
                value = in_unit(each, text) if number is None else number
                value = int(value) if isinstance(value, float) and value == int(value) else value
            settings[key] = checked_value(key, value)
        self._change(replace(base, settings=settings))
        self._update()

    def _do_products(self, said: Mapping[str, Any]) -> None:
        what, value = str(said["do"]), str(said.get("value", ""))
        base = self._base or self._typed
        known = {"database": DATABASES, "driver": DRIVERS_OF[base.database], "pool": POOLS}[what]
        if value in known:
            self._change(with_products(base, **{what: value}))
            self._update()

    def _do_proxy(self, said: Mapping[str, Any]) -> None:
        base, at, value = self._base or self._typed, int(said["at"]), str(said.get("value", ""))
        proxies = list(base.proxies)
        if value in PROXIES and value not in proxies:
            proxies[at] = value
            self._change(with_products(base, proxies=tuple(proxies)))
        elif not value:
            del proxies[at]
            legs = list(base.legs)
            joined = replace(legs[at], middleboxes=(*legs[at].middleboxes, *legs[at + 1].middleboxes))
            shorter = replace(base, proxies=(), legs=(base.legs[0],))
            kept = [*legs[:at], joined, *legs[at + 2 :]]
            self._change(_renamed(shorter, tuple(proxies), kept))
        self._update()

    def _do_add(self, said: Mapping[str, Any]) -> None:
        base, leg, value = self._base or self._typed, int(said["leg"]), str(said.get("value", ""))
        legs = list(base.legs)
        if value.startswith("proxy ") and value[6:] in PROXIES:
            proxies = (*base.proxies[:leg], value[6:], *base.proxies[leg:])
            self._change(_renamed(base, proxies, [*legs[: leg + 1], Leg("new"), *legs[leg + 1 :]]))
        elif value in known_middleboxes():
            boxes = (*legs[leg].middleboxes, known_middleboxes()[value])
            legs[leg] = replace(legs[leg], middleboxes=boxes)
            self._change(replace(base, legs=tuple(legs)))
        self._update()

    def _do_box(self, said: Mapping[str, Any]) -> None:
        base, leg, at = self._base or self._typed, int(said["leg"]), int(said["at"])
        boxes, value = list(base.legs[leg].middleboxes), str(said.get("value", ""))
        what = said.get("field")
        if what == "name" and value in known_middleboxes():
            boxes[at] = known_middleboxes()[value]
        elif what == "name" and not value:
            del boxes[at]
        elif what == "idle_s":
            seconds = read_number(value, "s")
            if seconds is None or seconds == inf:
                raise ParameterError(
                    f"idle timer = {value[:20]!r} is not a time: write it as 350 s or 4 min."
                )
            boxes[at] = replace(boxes[at], idle_s=seconds)
        elif what == "expired":
            boxes[at] = replace(boxes[at], expired=value)
        legs = list(base.legs)
        legs[leg] = replace(legs[leg], middleboxes=tuple(boxes))
        self._change(replace(base, legs=tuple(legs)))
        self._update()

    def _do_choose(self, said: Mapping[str, Any]) -> None:
        at, chosen = int(said["conflict"]), int(said["choice"])
        if self.reading is not None:
            conflict = self.reading.conflicts[at]
            self._base = conflict.choices[chosen].on(self._base or self._typed)
            self._choices[at] = chosen
            self._update()

    def _do_correct(self, said: Mapping[str, Any]) -> None:
        """Use what a line's correction says, and read its file again."""
        for file in self.reading.files if self.reading else ():
            for line in file.lines:
                if (file.name, line.number, line.name) == (said["file"], said["line"], said["name"]):
                    wrong = (
                        f"{line.key.partition('.')[2]} = {line.correction}" if line.key else line.correction
                    )
                    self.paste({_free(f"{file.name}, corrected", self._texts): wrong})
                    return

    def _do_lane(self, said: Mapping[str, Any]) -> None:
        """Show a lane's packets below the form; once more, and they are gone."""
        lanes = self.race.lanes if self.race else ()
        lane = next((each for each in lanes if each.situation.letter == said.get("lane")), None)
        is_same = lane is not None and lane.key == self._shown_lane
        self._close_packets()
        if lane is None or is_same or self.environment is None:
            return
        self._shown_lane = lane.key
        experiment = experiment_of(self.environment, lane.key, lane.leg or 0)
        words = widgets.HTML(f"<p>{escape(lane.sentence)}</p>")
        if experiment is None:
            words.value += "<p>No packets to show: the lane adds up times, or no timer runs.</p>"
            self.packets.children = [words]
            return
        trace = run(experiment)
        words.value += f"<p>{escape(experiment.sentence(trace))}</p>"
        self.packets.children = [words, picture(trace)]

    def _close_packets(self) -> None:
        self._shown_lane = ""
        for part in self.packets.children:
            close(part)
        self.packets.children = []

    def _do_page(self, said: Mapping[str, Any]) -> None:
        if said.get("page") in ("race", "table", "lines", "export"):
            self._page = str(said["page"])
            self._show()

    # -- showing -----------------------------------------------------------------------------

    def _change(self, environment: Environment) -> None:
        self._base = environment

    def _attempt(self, action: Action) -> None:
        """Run an action; what is wrong is said as the message, and the answer stays."""

        def say(why: str) -> None:
            self.message = f"✗ {why}"
            self._show()

        self.guard(action, say)

    def _update(self) -> None:
        """Work out what breaks, and show all of it, or why not."""
        self.guard(self._advise)

    def _advise(self) -> None:
        self.error = None
        self._close_packets()  # they were of another path
        base = self._base
        if base is None:
            self.environment = self._typed
            self.advice = self.race = None
            self._offered = ()
        else:
            env = with_remedies(base, self._ticked.values())
            advice, raced = advise(env), race(env, changes_of(self._ticked.values()))
            self.environment, self.advice, self.race = env, advice, raced
            self._offered = tuple(self._offers(base, advice))
        self.say(verdict(self._view()))
        self._show()

    def _offers(self, base: Environment, advice: Advice) -> Iterable[OfferedRemedy]:
        """The remedies of the path as it was, then what is still missing, each with the lanes it mends."""
        now = self.race or race(base)
        first = advise(base) if self._ticked else advice
        offered = {remedy.name: remedy for remedy in first.remedies}
        keys = {key for remedy in offered.values() for key in remedy.keys}
        offered |= {r.name: r for r in advice.remedies if r.name not in offered and not keys & set(r.keys)}
        for remedy in offered.values():
            is_on = remedy.name in self._ticked
            others = [each for each in self._ticked.values() if each.name != remedy.name]
            # One of the two is the race as it is.
            without = race(with_remedies(base, others)) if is_on else now
            mended = now if is_on else race(with_remedies(base, [*others, remedy]))
            still = {lane.key for lane in mended.broken}
            mends = tuple(lane.key for lane in without.lanes if lane.is_broken and lane.key not in still)
            yield OfferedRemedy(remedy, mends, is_on)

    def _conflicts(self) -> list[tuple[Conflict, int]]:
        conflicts = self.reading.conflicts if self.reading else ()
        return [(each, self._choices.get(i, each.taken)) for i, each in enumerate(conflicts)]

    def _view(self) -> TopologyView:
        base = self._base
        before = race(base) if self._ticked and base is not None else None
        is_read = self.reading is not None and self.message == self.reading.sentence
        return TopologyView(
            environment=self.environment or self._typed, race=self.race,
            before=before if self.race else _sample(), reading=self.reading, said=frozenset(self._said),
            ticked=frozenset(changes_of(self._ticked.values())), remedies=self._offered,
            conflicts=[pair for i, pair in enumerate(self._conflicts()) if i not in self._choices],
            notes=self.advice.notes if self.advice else (), error=self.error or "",
            message="" if is_read else self.message, page=self._page,
            exports=self._exports() if self._page == "export" else (), examples=_stacks(),
            dark=self.page.dark,
        )  # fmt: skip

    def report(self) -> TopologyReport:
        """The page to hand on. Raises `ParameterError` where nothing was said."""
        base = self._base
        if base is None or self.race is None:
            raise ParameterError("There is nothing to report yet: paste your files, or choose a stack.")
        files = self.reading.files if self.reading else ()
        unused = [f"{file.name}:{each.number}: {each.name}: {each.why}"
                  for file in files for each in file.of(NOT_USED)]  # fmt: skip
        ticked = tuple(self._ticked.values())
        return TopologyReport("topology", date.today(), advise(base), race(base), self.race, ticked, unused)

    def _exports(self) -> list[tuple[str, str]]:
        """What the page Export shows: title and HTML."""
        changes = [change for remedy in self._ticked.values() for change in remedy.changes]
        comments = {change.key: "ticked" for change in changes}
        toml = topology_toml(self.environment or self._typed, "topology", comments)
        patch = "\n".join(diffs(self._texts, changes).values()) or "# Tick a remedy: its changes come here.\n"
        report = self.report()
        return [
            ("Diff per file", _area("topology.patch", patch, "text/x-diff")),
            ("One-page report", _links(report) + _shown("report.md", report.markdown())),
            (FILENAME, _area(FILENAME, toml, "application/toml")),
        ]

    def _show(self) -> None:
        self.page.html = form_html(self._view())

    def refuse(self, why: str) -> None:
        self.advice = self.race = None
        self._offered = ()
        super().refuse(why)
        self._show()

    def _repr_html_(self) -> str:
        return still_html(self._view())


_DOES: dict[str, Callable[[TopologyForm, Mapping[str, Any]], None]] = {
    "read": lambda form, said: form.paste(str(said.get("text", ""))),
    "texts": TopologyForm._do_texts, "example": TopologyForm._do_example,
    "number": TopologyForm._do_number, "setting": TopologyForm._do_setting,
    "database": TopologyForm._do_products, "driver": TopologyForm._do_products,
    "pool": TopologyForm._do_products, "proxy": TopologyForm._do_proxy, "add": TopologyForm._do_add,
    "box": TopologyForm._do_box, "choose": TopologyForm._do_choose, "correct": TopologyForm._do_correct,
    "tick": lambda form, said: form.tick(str(said["name"]), on=bool(said.get("value"))),
    "suggest": lambda form, said: form.suggest(), "reset": lambda form, said: form.reset(),
    "page": TopologyForm._do_page, "lane": TopologyForm._do_lane,
}  # fmt: skip


def _area(name: str, text: str, kind: str) -> str:
    return download(name, text.encode(), kind) + _shown(name, text)


def _shown(name: str, text: str) -> str:
    return f'<textarea readonly rows="24" aria-label="{escape(name)}">{escape(text)}</textarea>'


def _links(report: TopologyReport) -> str:
    return " · ".join((
        download("topology.html", report.html().encode(), "text/html"),
        download("topology.md", report.markdown().encode(), "text/markdown"),
    ))  # fmt: skip


def _renamed(env: Environment, proxies: tuple[str, ...], legs: list[Leg]) -> Environment:
    """Other proxies with these legs, which get their names."""
    names = ["application", *map(name_of, (*proxies, env.database))]
    named = tuple(replace(leg, name=f"{names[i]} to {names[i + 1]}") for i, leg in enumerate(legs))
    return replace(env, proxies=proxies, legs=named)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else next(
        each for i in range(2, 10_000) if (each := f"{name} {i}") not in taken
    )  # fmt: skip


def topology(start: str | Environment = "", **values: Any) -> TopologyForm:
    """The what-if form, for the last line of a cell: ``topology("java_aws", instances=20)``.

    `start`: an example or a worked topology by name, the path of a file, or an `Environment`; without one
    the form is empty and waits for a paste. `values` are fields of the environment. What is wrong with one
    of them is said in place of the answer.
    """
    given, why = start or None, ""
    if isinstance(given, str):
        try:
            given = PRESETS.get(given) or load(examples().get(given, given))
        except ParameterError as error:
            names = ", ".join((*STACKS, *PRESETS))
            why = f"{start!r} is not a worked topology ({names}), and as a file: {error}"
            given = None
    form = TopologyForm(given if isinstance(given, Environment) else None)
    if why:
        form.refuse(why)
    if values:
        form.set(**values)
    return form
