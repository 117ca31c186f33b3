"""Answers, hints, settings and kept runs in one small file: tomorrow a lesson goes on where today's ended.

The file is progress.json beside 00_start_here.ipynb. It is JSON and holds nothing but what was answered and
set, and when; no path, no name of a person or a machine:

    {"tcplab": 1, "learner": "", "lessons": {LESSON: {
        "began": TIME,
        "questions": {NAME: [{"at": TIME, "did": "check", "answer": "45", "outcome": "wrong"}, …]},
        "goals": {NAME: TIME},
        "explorers": {KEY: {"at": TIME, "values": {"idle_s": 60}, "kept": [{"idle_s": 15}, …]}}}}}

`did` is check, hint or solution; an answer is what the learner gave. `values` are the parameters that differ
from those an explorer began with, `kept` the same of each kept run; KEY is the question that opened it, the
experiment and what it began with. A goal has the time at which it was reached first. TIME is UTC, so long
that texts sort. What came before `began` is cleared. A teacher may write a name into `learner`.

Two files of the same learner merge in any order to the same one, so several kernels may share a file. The
variable TCPLAB_PROGRESS names another file, or says `off`. Where Python itself runs in a browser, the file is
in the browser's storage (IndexedDB), which can only be read between two cells: what it holds may come back
after a cell has asked already.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from math import isinf
from pathlib import Path
from typing import Any

#: The edition of the format.
EDITION = 1
FILE, COURSE_FILE, SWITCH = "progress.json", "00_start_here.ipynb", "TCPLAB_PROGRESS"
CHECK, HINT, SOLUTION = "check", "hint", "solution"
#: A folder that Pyodide keeps in the browser's storage.
IN_BROWSER = Path("/tcplab")
#: What to call when the browser's storage has been read.
on_load: list[Callable[[], None]] = []


class ProgressError(Exception):
    """Why a file is no progress.json, in one sentence."""


@dataclass(frozen=True)
class QuestionEvent:
    """Something a learner did at a question. `answer` and `outcome` belong to a check."""

    at: str
    did: str
    answer: str | float | None = None
    outcome: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is in the file: only a check has all four."""
        return vars(self) if self.did == CHECK else {"at": self.at, "did": self.did}


@dataclass(frozen=True)
class Settings:
    """An explorer's values and those of its kept runs, the newest last, as far as they were changed."""

    at: str
    values: dict[str, Any]
    kept: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class LessonProgress:
    """One lesson: what came before `began` is cleared."""

    began: str = ""
    questions: dict[str, tuple[QuestionEvent, ...]] = field(default_factory=dict)
    explorers: dict[str, Settings] = field(default_factory=dict)
    #: When each goal was reached first.
    goals: dict[str, str] = field(default_factory=dict)

    @property
    def last(self) -> str:
        """When something was done last; empty: nothing was."""
        events = (event.at for events in self.questions.values() for event in events)
        settings = (each.at for each in self.explorers.values())
        return max([*events, *settings, *self.goals.values()], default="")

    def to_json(self) -> dict[str, Any]:
        """As it is in the file."""
        questions = {name: [event.to_json() for event in events] for name, events in self.questions.items()}
        explorers = {key: vars(settings) for key, settings in self.explorers.items()}
        goals = {"goals": self.goals} if self.goals else {}
        return {"began": self.began, "questions": questions, "explorers": explorers, **goals}


@dataclass(frozen=True)
class CourseProgress:
    """All that a file holds."""

    lessons: dict[str, LessonProgress] = field(default_factory=dict)
    learner: str = ""

    def lesson(self, name: str) -> LessonProgress:
        """One lesson, an empty one where nothing was done."""
        return self.lessons.get(name) or LessonProgress()

    @property
    def last(self) -> str:
        """When something was done or cleared last; empty: never."""
        return max((max(each.last, each.began) for each in self.lessons.values()), default="")

    def to_json(self) -> str:
        """The content of the file, a lesson on each line."""
        lessons = (f"{_dumps(name)}: {_dumps(each.to_json())}" for name, each in self.lessons.items())
        learner, inside = _dumps(self.learner), ",\n".join(lessons)
        return f'{{"tcplab": {EDITION}, "learner": {learner}, "lessons": {{\n{inside}\n}}}}\n'


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_progress(path: Path) -> CourseProgress:
    """A file's content. Raises `OSError`, and `ProgressError` in one sentence where it is something else."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["tcplab"] != EDITION:
            raise ProgressError(f"{path} was written by another edition of tcplab ({found['tcplab']!r}).")
        lessons = {name: _lesson(each) for name, each in found["lessons"].items()}
        return CourseProgress(lessons, str(found.get("learner", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProgressError(f"{path} is not a progress.json of tcplab, or it is damaged.") from None


def _lesson(found: Mapping[str, Any]) -> LessonProgress:
    questions = {name: _sorted(map(_event, events)) for name, events in found["questions"].items()}
    explorers = {
        key: Settings(str(each["at"]), {**each["values"]}, tuple({**kept} for kept in each["kept"]))
        for key, each in found["explorers"].items()
    }
    goals = {str(name): str(at) for name, at in found.get("goals", {}).items()}
    return _merged(LessonProgress(str(found["began"]), questions, explorers, goals), LessonProgress())


def _event(found: Mapping[str, Any]) -> QuestionEvent:
    outcome = str(found.get("outcome", ""))
    return QuestionEvent(str(found["at"]), str(found["did"]), found.get("answer"), outcome)


def _sorted(events: Iterable[QuestionEvent]) -> tuple[QuestionEvent, ...]:
    return tuple(sorted({*events}, key=lambda event: (event.at, repr(event))))


def merge(mine: CourseProgress, theirs: CourseProgress) -> CourseProgress:
    """What two files of one learner say together; the order does not matter."""
    both = mine.lessons.keys() & theirs.lessons.keys()
    lessons = mine.lessons | theirs.lessons
    lessons |= {name: _merged(mine.lessons[name], theirs.lessons[name]) for name in both}
    return CourseProgress(dict(sorted(lessons.items())), max(mine.learner, theirs.learner))


def _merged(mine: LessonProgress, theirs: LessonProgress) -> LessonProgress:
    began = max(mine.began, theirs.began)
    questions, explorers = {}, {}
    for name in sorted({*mine.questions, *theirs.questions}):
        both = (*mine.questions.get(name, ()), *theirs.questions.get(name, ()))
        if events := _sorted(event for event in both if event.at > began):
            questions[name] = events
    for key in sorted({*mine.explorers, *theirs.explorers}):
        found = [each.explorers[key] for each in (mine, theirs) if key in each.explorers]
        newest = max(found, key=lambda settings: (settings.at, repr(settings)))
        if newest.at > began:
            explorers[key] = newest
    goals: dict[str, str] = {}
    for name in sorted({*mine.goals, *theirs.goals}):
        times = (each.goals[name] for each in (mine, theirs) if name in each.goals)
        if later := [at for at in times if at > began]:
            goals[name] = min(later)
    return LessonProgress(began, questions, explorers, goals)


def place() -> Path | None:
    """The file of this kernel: beside the start page, here or one folder up; None: nothing is kept."""
    wanted = os.environ.get(SWITCH, "")
    if wanted == "off":
        return None
    if wanted:
        return Path(wanted)
    with suppress(OSError):
        here = Path.cwd()
        for folder in (here, here.parent):
            if (folder / COURSE_FILE).exists():
                return folder / FILE
    return None


class Store:
    """The progress of one kernel, and its file. Nothing here raises: `news` says what went wrong, once."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        #: The lesson and the question that an explorer made now belongs to; None: nothing was asked yet.
        self.where: tuple[str, str] | None = None
        self._progress = CourseProgress()
        #: Which edition of the file was read or written last.
        self._known: tuple[int, ...] = ()
        self._news: list[str] = []
        self._greeted: set[str] = set()
        self._failed = False
        self.read()

    def read(self) -> CourseProgress:
        """What is known, with what other kernels have written since."""
        if self.path:
            try:
                if (now := _edition(self.path)) != self._known:
                    self._progress, self._known = merge(self._progress, read_progress(self.path)), now
            except ProgressError:
                self._set_aside(self.path)
            except FileNotFoundError:
                pass
            except OSError as error:
                self._complain(error)
        return self._progress

    def events(self, lesson: str, question: str) -> tuple[QuestionEvent, ...]:
        """What was done at a question, in order."""
        return self._progress.lesson(lesson).questions.get(question, ())

    def settings(self, lesson: str, key: str) -> Settings | None:
        """What an explorer was left at; None: as it began."""
        return self._progress.lesson(lesson).explorers.get(key)

    def add(self, lesson: str, question: str, did: str, answer: Any = None, outcome: str = "") -> None:
        """Write down what was done at a question; the same answer again is nothing new."""
        if isinstance(answer, bool) or not isinstance(answer, int | float | str | None):
            answer = str(answer)
        if isinstance(answer, float) and isinf(answer):
            answer = "never"
        before, event = self.events(lesson, question)[-1:], QuestionEvent(self._now(), did, answer, outcome)
        if did == HINT or not before or replace(before[0], at=event.at) != event:
            self._write(lesson, LessonProgress(questions={question: (event,)}))

    def keep(self, lesson: str, key: str, values: dict[str, Any], kept: Iterable[dict[str, Any]]) -> None:
        """Write down what an explorer is set to; as it began is nothing where nothing was written before."""
        before, now = self.settings(lesson, key), Settings(self._now(), values, tuple(kept))
        if replace(before or Settings("", {}), at=now.at) != now:
            self._write(lesson, LessonProgress(explorers={key: now}))

    def reach(self, lesson: str, goal: str) -> None:
        """Write down that a goal was reached; the first time counts."""
        if goal not in self._progress.lesson(lesson).goals:
            self._write(lesson, LessonProgress(goals={goal: self._now()}))

    def reached(self, lesson: str) -> frozenset[str]:
        """The goals of a lesson that were reached."""
        return frozenset(self._progress.lesson(lesson).goals)

    def clear(self, lessons: Iterable[str]) -> None:
        """Forget these lessons."""
        for lesson in lessons:
            self._greeted.add(lesson)
            if self._progress.lesson(lesson).last:
                self._write(lesson, LessonProgress(began=self._now()))

    def greet(self, lesson: str) -> None:
        """Something of this lesson was brought back: `news` says so, once."""
        if lesson not in self._greeted:
            self._greeted.add(lesson)
            how = "`from tcplab.lesson import start_again; start_again()` clears them"
            self._news.append(f"Your answers from {day(self._progress.lesson(lesson).last)} are back; {how}.")

    def news(self) -> str:
        """What a learner must know and has not read yet; mostly nothing."""
        said, self._news = " ".join(self._news), []
        return said

    def _now(self) -> str:
        """This instant, after everything that was written down before, whatever the clock says."""
        now, last = datetime.now(UTC), self._progress.last
        with suppress(ValueError, TypeError, OverflowError):  # the file may have been edited by hand
            now = max(now, datetime.fromisoformat(last) + timedelta(microseconds=1))
        return now.isoformat(timespec="microseconds")

    def _write(self, lesson: str, change: LessonProgress) -> None:
        if self.path is None:
            return
        self._progress = merge(self._progress, CourseProgress({lesson: change}))
        self._save()

    def _save(self) -> None:
        """Write all that is known, with what other kernels have written since.

        One that writes in the same millisecond may be overtaken; its next write has all of it again.
        """
        assert self.path is not None
        self.read()
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            beside.write_text(self._progress.to_json(), "utf-8")
            os.replace(beside, self.path)
            self._known = _edition(self.path)
        except OSError as error:
            self._complain(error)
            with suppress(OSError):
                beside.unlink(missing_ok=True)

    def _complain(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            why = error.strerror or type(error).__name__
            self._news.append(f"Your answers are not kept for tomorrow: {FILE} cannot be written ({why}).")

    def _set_aside(self, path: Path) -> None:
        aside = path.with_name(f"{path.stem}.broken-{datetime.now():%Y%m%d-%H%M%S-%f}{path.suffix}")
        try:
            os.replace(path, aside)
        except OSError as error:
            return self._complain(error)
        self._news.append(f"{path.name} cannot be read. It is {aside.name} now, and a new one begins.")


class BrowserStore(Store):
    """The store of a Python in a browser: its file is copied from the browser's storage, and back."""

    def __init__(self) -> None:
        from asyncio import Lock

        from pyodide_js import FS

        self._files, self._turn, self._asked = FS, Lock(), False
        IN_BROWSER.mkdir(exist_ok=True)
        FS.mount(FS.filesystems.IDBFS, {}, str(IN_BROWSER))
        super().__init__(IN_BROWSER / FILE)
        self._begin(self._load())

    async def _load(self) -> None:
        async with self._turn:
            await self._copy(True)
        self.read()
        for do in on_load:
            do()

    def _save(self) -> None:
        if not self._asked:
            self._asked = True
            self._begin(self._save_all())

    async def _save_all(self) -> None:
        async with self._turn:
            await self._copy(True)  # what another page has written since
            self._asked = False
            super()._save()
            await self._copy(False)

    async def _copy(self, from_storage: bool) -> None:
        from asyncio import get_running_loop

        from pyodide.ffi import create_once_callable

        done = get_running_loop().create_future()
        self._files.syncfs(from_storage, create_once_callable(done.set_result))
        if error := await done:
            self._complain(OSError(0, str(error)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        from asyncio import ensure_future

        self._task = ensure_future(work)


def _edition(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


@cache
def store() -> Store:
    """The one store of this kernel."""
    if sys.platform == "emscripten" and not os.environ.get(SWITCH):
        import js

        return BrowserStore() if hasattr(js, "indexedDB") else Store(None)
    return Store(place())


@contextmanager
def behind(question: tuple[str, str] | None) -> Iterator[None]:
    """While this lasts, explorers are made that open behind this question of a lesson."""
    here = store()
    before, here.where = here.where, question or here.where
    try:
        yield
    finally:
        here.where = before


class Shelf:
    """Where one explorer's settings are kept: by what opened it, its experiment and what it began with.

    `initial` is what a cell set, `began` every parameter with the value it began with.
    """

    def __init__(self, experiment: str, initial: Mapping[str, Any], began: Mapping[str, Any]) -> None:
        self._lesson, question = store().where or ("", "")
        words = (f"{name}={value}" for name, value in sorted(initial.items()))
        self._key = " ".join(filter(None, (question, experiment, *words)))
        self._began = dict(began)
        self._busy = False

    def bring_back(self, set_to: Callable[..., None], keep: Callable[[], None]) -> bool:
        """Set and keep every run that was kept, then set what was set last; False: nothing was."""
        found = store().settings(self._lesson, self._key)
        if not found or not self._lesson or self._busy:
            return False
        self._busy = True
        for values in found.kept:
            set_to(**self._began | values)
            keep()
        set_to(**self._began | found.values)
        self._busy = False
        store().greet(self._lesson)
        return True

    def keep(self, values: Mapping[str, Any], kept: Iterable[Mapping[str, Any]]) -> None:
        """Keep the values of the run that is shown, and of those that were kept beside it."""
        if self._lesson and not self._busy:
            store().keep(self._lesson, self._key, self._changed(values), map(self._changed, kept))

    def _changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != self._began.get(name)}


def day(at: str) -> str:
    """The day of a time in words, where this machine is: `29 November`; any other text stays."""
    try:
        local = datetime.fromisoformat(at).astimezone()
    except (ValueError, OverflowError):
        return at
    return "earlier today" if local.date() == datetime.now().date() else f"{local.day} {local:%B}"


def when(at: str) -> str:
    """A time to the minute, where this machine is; a time that is none stays."""
    with suppress(ValueError, OverflowError):
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M}"
    return at
