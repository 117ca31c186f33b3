"""The command `tcplab`: a table of commands, and a function for each.

A mistake on the command line is one sentence and exit code 2. Each command imports what it needs when it
runs, so `tcplab doctor` also works where packages are missing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Any, NoReturn

from tcplab.core.table import text_table
from tcplab.core.text import nearest

if TYPE_CHECKING:
    from tcplab.agree import Asked
    from tcplab.bench.agreement import Agreement
    from tcplab.bench.kernels.debian import Kernel
    from tcplab.core.knobs import Knob
    from tcplab.core.trace import Trace
    from tcplab.registry import Story

MISUSED, BROKEN, INTERRUPTED, NO_READER = 2, 1, 130, 141
BENCHES = ("model", "linux")
#: Longer lists are printed without their middle: `--json` has everything.
_HEAD, _TAIL = 40, 20
#: How a file with a picture begins.
_PICTURE = "<!-- drawn by tcplab -->\n"
#: Replacements for a terminal that can't show the characters themselves.
ASCII = str.maketrans({"→": ">", "←": "<", "─": "-", "✗": "x", "–": "-", "…": "...", "×": "x"})


class UsageError(Exception):
    """A mistake on the command line, in one sentence."""


#: An argument of a command, as `argparse` takes it: its name, and its options.
Argument = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """A command: its line in `tcplab --help`, its arguments, and what runs it."""

    help: str
    #: Returns the exit code; None means 0.
    run: Callable[[Namespace], int | None]
    arguments: Sequence[Argument] = ()
    json: bool = True


class _Parser(argparse.ArgumentParser):
    """argparse, except that a mistake is one line and abbreviated names are not accepted."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (tcplab --help shows how).")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except UsageError as mistake:
        return _complain(str(mistake), MISUSED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe; Python must not write to it again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except ModuleNotFoundError as missing:
        how = "pip install 'tcplab[lab]' installs it (in a clone: python3 lab.py setup)"
        return _complain(f"{missing.name} is not installed: {how}.", BROKEN)
    except Exception as error:
        if os.environ.get("TCPLAB_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _complain(f"a mistake in tcplab itself: {what} (TCPLAB_TRACEBACK=1 shows where).", BROKEN)


def _complain(sentence: str, code: int) -> int:
    print(f"tcplab: {sentence}", file=sys.stderr)
    return code


def _run(words: Sequence[str]) -> int:
    from tcplab.bench.sandbox import BenchError
    from tcplab.capture import CaptureError
    from tcplab.core.knobs import ParameterError

    words = _with_words_as_options(words)
    name = next((word for word in words if not word.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        raise UsageError(f"no command {name!r}: {nearest(name, COMMANDS)}")
    if not words:
        raise UsageError(f"which command? There are {', '.join(COMMANDS)} (tcplab --help shows how).")
    parser, parsers = _parsers()
    if name == "run" and {"-h", "--help"} & {*words}:
        return _help_for_run(words, parsers["run"])
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        raise UsageError(_misplaced(unknown[0], arguments.command, parsers[arguments.command]))
    try:
        return COMMANDS[arguments.command].run(arguments) or 0
    except (ParameterError, CaptureError, BenchError) as error:
        raise UsageError(str(error)) from None


def _with_words_as_options(words: Sequence[str]) -> Sequence[str]:
    """`help`, `help run` and `version`, which people try first, as the options that they mean."""
    match list(words):
        case ["version"]:
            return ["--version"]
        case ["help", *command]:
            return [*command, "--help"]
    return words


def _help_for_run(words: Sequence[str], parser: argparse.ArgumentParser) -> int:
    from tcplab.registry import STORIES

    _print(parser.format_help().rstrip())
    for kind in (STORIES[word] for word in words if word in STORIES):
        example = next(iter(kind.presets.values()), kind.quick) or kind.quick
        settings = "".join(f" --set {name}={_value_text(value)}" for name, value in example.items())
        lines = ["", f"{kind.name}: {kind.title}", *_parameter_lines(kind), "", "for example:"]
        _print("\n".join([*lines, f"  tcplab run {kind.name}{settings}"]))
    return 0


def _misplaced(word: str, command: str, parser: argparse.ArgumentParser) -> str:
    known = [part.strip("[]") for part in parser.format_usage().split() if "--" in part] + ["--help"]
    if not word.startswith("-"):
        return f"{word!r} is one word too many for {command} (tcplab {command} --help shows how)."
    if word in known:
        return f"{word} comes after the command: tcplab {command} {word}."
    return f"{command} does not know {word!r}: {nearest(word, known)}"


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    said = "The TCP behaviours that break database connections, to change and to watch."
    parser = _Parser(prog="tcplab", description=said)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {}
    for name, command in COMMANDS.items():
        parsers[name] = commands.add_parser(name, help=command.help)
        for argument, options in command.arguments:
            parsers[name].add_argument(argument, **options)
        if command.json:
            parsers[name].add_argument("--json", action="store_true", help="print one JSON object")
    return parser, parsers


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from tcplab import __version__

        print(f"tcplab {__version__}")
        parser.exit()


def _print_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    print(json.dumps(value, indent=2))


def _print(text: str) -> None:
    """Print, in a terminal no line longer than it is wide."""
    if sys.stdout.isatty():
        wide = get_terminal_size().columns
        text = "\n".join(_wrapped(line, wide) for line in text.splitlines())
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode("ascii", "replace").decode()
    print(text)


def _wrapped(line: str, wide: int) -> str:
    if len(line) <= wide:
        return line
    indent = " " * min(len(line) - len(line.lstrip()) + 2, wide // 2)
    return fill(line, wide, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False)


def _is_picture(path: str | Path) -> bool:
    """Whether this is a picture that tcplab has drawn."""
    return Path(path).read_bytes().startswith(_PICTURE.encode())


def _may_write(path: str | Path, arguments: Namespace) -> None:
    """Refuse to replace a file that tcplab did not write."""
    from tcplab.capture.pcap import is_ours

    if Path(path).exists() and not (is_ours(path) or _is_picture(path)) and not arguments.force:
        raise UsageError(f"{path} is there already, and tcplab did not write it: another name, or --force.")


def _doctor(arguments: Namespace) -> None:
    from tcplab.doctor import report

    rows = report()
    if arguments.json:
        _print_json({"checks": [{"what": row.what, "works": row.works, "says": row.says} for row in rows]})
        return
    width = max(len(row.what) for row in rows)
    for row in rows:
        _print(f"{'yes' if row.works else 'no':3}  {row.what:{width}}  {row.says}")


def _list(arguments: Namespace) -> None:
    from tcplab.registry import EXPERIMENTS, STORIES, STUDIES, find

    if arguments.json and arguments.name:
        _print_json(_described(find(arguments.name)))
        return
    if arguments.json:
        groups: dict[str, Mapping[str, type[Story]]] = {"experiments": EXPERIMENTS, "studies": STUDIES}
        _print_json({name: [_described(kind) for kind in kinds.values()] for name, kinds in groups.items()})
        return
    for kind in [find(arguments.name)] if arguments.name else STORIES.values():
        _print("\n".join([kind.name, f"  {kind.title}", *_parameter_lines(kind), ""]))


def _described(kind: type[Story]) -> dict[str, Any]:
    defaults = kind.defaults()
    return {
        "name": kind.name, "title": kind.title, "lesson": kind.lesson,
        "parameters": [_parameter(name, knob, defaults[name]) for name, knob in kind.knobs().items()],
        "quick": dict(kind.quick), "presets": {name: dict(values) for name, values in kind.presets.items()},
    }  # fmt: skip


def _parameter(name: str, knob: Knob, default: Any) -> dict[str, Any]:
    number = knob.kind in (int, float) and not knob.choices
    return {
        "name": name, "label": knob.label, "kind": "choice" if knob.choices else knob.kind.__name__,
        "default": default, "unit": knob.unit,
        "range": [knob.low, None if knob.high == math.inf else knob.high] if number else None,
        "choices": list(knob.choices) or None, "zero": knob.zero, "help": knob.help,
    }  # fmt: skip


def _run_experiment(arguments: Namespace) -> None:
    from tcplab.bench import run
    from tcplab.registry import find

    kind = find(arguments.name)
    if arguments.bench not in BENCHES and not arguments.bench.startswith("linux:"):
        raise UsageError(f"no bench {arguments.bench!r}: {nearest(arguments.bench, BENCHES)}")
    for file in filter(None, (arguments.pcap, arguments.timeline)):
        _may_write(file, arguments)
    values = {**(kind.quick if arguments.quick else {}), **_settings(arguments.set, kind)}
    experiment = kind.from_values(values)
    try:
        trace = run(
            experiment, arguments.bench, lambda seconds, _: _status(f"{seconds:.0f} s on Linux"), tell=_status
        )
    finally:
        _status("")
    if arguments.pcap and not trace.packets:
        raise UsageError(f"--pcap: {kind.name} on the {arguments.bench} bench has no segments, only curves.")
    if arguments.pcap:
        from tcplab.capture.pcap import write_pcap

        write_pcap(trace, arguments.pcap)
    if arguments.timeline:
        from tcplab.pictures.timeline_layout import timeline

        try:
            Path(arguments.timeline).write_text(_PICTURE + timeline(trace).svg() + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{arguments.timeline} can't be written: {error.strerror}.") from None
    if arguments.json:
        from tcplab.pictures.timeline import read_timeline

        _print_json({**trace.to_json(), "timeline": read_timeline(trace).to_json()})
        return
    notes = [f"Note: {warning}" for warning in trace.warnings]
    for line in (experiment.sentence(trace), *notes, "", *_run_lines(trace)):
        _print(line)


def _value_text(value: Any) -> str:
    """A parameter or a result in the notation of the command line: `none`, `true`, `0.2`, `1, 3, 7`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        texts = [_value_text(each) for each in value]
        return ", ".join(texts if len(texts) <= 15 else [*texts[:10], "…", *texts[-3:]]) or "none"
    return str(value)


def _parameter_lines(kind: type[Story]) -> list[str]:
    """Every parameter with its default, its range and its help."""
    defaults = kind.defaults()
    rows = [
        (f"{name} = {_value_text(defaults[name])}", f"{knob.range_text()}. {knob.help}".rstrip(". ") + ".")
        for name, knob in kind.knobs().items()
    ]
    return [f"    {line}" for line in text_table([], rows)]


def _run_lines(trace: Trace) -> Iterator[str]:
    """The outcome of a run, then its segments or the names of its curves."""
    outcome = [(name, _value_text(value)) for name, value in trace.outcome.items()]
    yield from (f"  {line}" for line in text_table([], outcome))
    if trace.packets:
        yield ""
        yield from _shortened(list(_ladder(trace)))
    if trace.series:
        yield ""
        yield f"  curves: {', '.join(trace.series)}; --json shows them."


def _ladder(trace: Trace) -> Iterator[str]:
    """Segments, calls and notes by time, one line each; hosts are in the trace's order."""
    from tcplab.pictures.text import call_words, words

    hosts = list(trace.hosts)
    wide = max(map(len, hosts))
    digits = 3 if all(packet.t % 1_000_000 == 0 for packet in trace.packets) else 6

    def who(left: str, arrow: str, right: str) -> str:
        return f"{left:>{wide}} {arrow:3} {right:{wide}}"

    def alone(host: str) -> str:
        return who(host, "", "") if hosts.index(host) == 0 else who("", "", host)

    lines = [(note.t, f"{alone(note.host or hosts[0])}  – {note.text}") for note in trace.notes]
    lines += [(call.t, f"{alone(call.host)}  {call_words(call)}") for call in trace.calls]
    for packet, said in zip(trace.packets, words(trace), strict=True):
        gone = packet.arrives is None
        if hosts.index(packet.sender) <= hosts.index(packet.receiver):
            ends = who(packet.sender, "──✗" if gone else "──→", packet.receiver)
        else:
            ends = who(packet.receiver, "✗──" if gone else "←──", packet.sender)
        lines.append((packet.t, f"{ends}  {said.plain}"))
    lines.sort(key=lambda line: line[0])
    rows = [(f"{trace.seconds(t):.{digits}f}", text) for t, text in lines]
    yield from (f"  {line}" for line in text_table(("seconds", ""), rows, numeric=(0,)))


def _shortened(lines: list[str]) -> list[str]:
    left_out = len(lines) - _HEAD - _TAIL
    if left_out < 2:
        return lines
    return [*lines[:_HEAD], f"  … {left_out} lines left out; --json shows everything …", *lines[-_TAIL:]]


def _settings(texts: Iterable[str], kind: type[Story]) -> dict[str, str]:

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            name = next(iter(kind.knobs()))
            example = f"{name}={_value_text(kind.defaults()[name])}"
            raise UsageError(f"--set {text!r}: write name=value, for example {example}.")
        if name not in kind.knobs():
            raise UsageError(f"{kind.name} has no parameter {name!r}: {nearest(name, kind.knobs())}")
        values[name] = value
    return values


def _agree(arguments: Namespace) -> int:
    from tcplab.agree import compare_all, to_compare
    from tcplab.registry import ON_LINUX, find

    for option, value in (("--samples", arguments.samples), ("--jobs", arguments.jobs)):
        if value is not None and not 1 <= value <= 10_000:
            raise UsageError(f"{option} {value} is out of range: 1 to 10000.")
    kernels = list(dict.fromkeys(filter(None, (arguments.linux or "").split(","))))
    kinds = [find(name) for name in arguments.names] or list(ON_LINUX.values())
    settings = {kind: _settings(arguments.set, kind) for kind in kinds}
    asked = to_compare(settings, kernels, arguments.samples or 0, arguments.seed)
    finished: dict[int, Agreement] = {}

    def progress(place: int, done: Agreement) -> None:
        finished[place] = done
        _status("")
        print(f"{len(finished)} of {len(asked)}: {asked[place].words(done)}", file=sys.stderr, flush=True)

    interrupted = False
    try:
        compare_all(asked, progress, jobs=arguments.jobs, tell=_status)
    except KeyboardInterrupt:
        interrupted = True
    results = [(asked[place], done) for place, done in sorted(finished.items())]
    agreed = sum(done.agrees for _, done in results)
    if arguments.json:
        runs = [each.to_json(done) for each, done in results]
        _print_json({"runs": runs, "agreed": agreed, "of": len(asked)})
    else:
        for line in _agreement_lines(results, arguments.set):
            _print(line)
        for kernel in kernels if len(kernels) > 1 else ():
            there = [done for each, done in results if each.kernel == kernel]
            of = sum(each.kernel == kernel for each in asked)
            _print(f"Linux {kernel}: {sum(done.agrees for done in there)} of {of} agree.")
        skipped = sum(bool(done.skipped) for _, done in results)
        missing = f", {skipped} skipped" if skipped else ""
        missing += f", {len(asked) - len(results)} not run" if len(results) < len(asked) else ""
        _print(f"{agreed} of {len(asked)} agree{missing}.")
    return INTERRUPTED if interrupted else 0 if agreed == len(asked) else BROKEN


def _agreement_lines(results: Iterable[tuple[Asked, Agreement]], set_by_hand: Sequence[str]) -> Iterator[str]:
    """Every run that does not agree: its parameters, what differs, and how to draw that sample alone."""
    for asked, done in results:
        if done.agrees:
            continue
        settings = "".join(f" --set {name}={_value_text(value)}" for name, value in done.parameters.items())
        on = f"Linux {done.linux or asked.kernel}: " if asked.kernel else ""
        yield "\n  ".join([on + done.experiment + settings, *map(str, done.differences)])
        if done.skipped:
            yield f"  skipped: {done.skipped}"
        if asked.seed is not None:
            on = f" --linux {asked.kernel}" if asked.kernel else ""
            again = [f"tcplab agree {done.experiment} --samples 1 --seed {asked.seed}{on}", *set_by_hand]
            yield f"  again: {' --set '.join(again)}"


def _claims(arguments: Namespace) -> int:
    from tcplab import claims

    rows: Sequence[claims.Observation] = claims.recorded()
    if arguments.run:
        anew: list[claims.Observation] = []
        try:
            for kernel in arguments.run.split(","):
                anew += claims.observe(kernel.strip(), progress=_status)
        finally:
            _status("")
        rows = anew
    if arguments.into:
        claims.save(rows, Path(arguments.into))
    if arguments.json:
        _print_json(claims.to_json(rows))
    else:
        for line in text_table(*claims.table(rows)):
            _print(line.rstrip())
        _print("\nFrom the source, not run:")
        for rule, why in claims.NOT_RUN.items():
            _print(f"  {rule}: {why}")
    return BROKEN if any(each.verdict == claims.FAILS for each in rows) else 0


def _record(arguments: Namespace) -> None:
    from tcplab.capture.recordings import LIBRARY, record, record_on_kernel
    from tcplab.experiments import EXPERIMENTS
    from tcplab.registry import find_experiment

    folder = Path(arguments.into) if arguments.into else LIBRARY
    kinds = [find_experiment(name) for name in dict.fromkeys(arguments.names or EXPERIMENTS)]
    for kind in kinds:
        _may_write(folder / f"{kind.name}.pcap", arguments)
    running: dict[str, str] = {}
    done = 0

    def status(name: str, seconds: float, segments: int) -> None:
        running[name] = f"{name} {seconds:.0f} s"
        _status(f"{done} of {len(kinds)} recorded; {', '.join(running.values())}")

    try:
        stories = [kind.from_values(kind.quick) for kind in kinds]
        if arguments.linux:
            made = record_on_kernel(arguments.linux, stories, folder, _status)
        else:
            made = record(stories, folder, status)
        for path, trace in made:
            running.pop(trace.experiment, None)
            done += 1
            _status("")
            place = path if arguments.into else os.path.relpath(path)
            _print(f"{place}: {len(trace.packets)} segments on Linux {trace.linux}")
    finally:
        _status("")


def _fetch_status(done: str, text: str) -> None:
    _status(f"{done}; {text}")


def _kernels(arguments: Namespace) -> None:
    from tcplab.bench.kernels import why_not
    from tcplab.bench.kernels.debian import fetch, find_kernel, kernels, remove, unpacked

    def named(text: str | None) -> list[Kernel]:
        if text in (None, "all"):
            return [*kernels().values()] if text else []
        return [find_kernel(name.strip()) for name in text.split(",")]

    wanted, unwanted = named(arguments.fetch), named(arguments.remove)
    for kernel in unwanted:
        remove(kernel)
    try:
        for number, kernel in enumerate(wanted):
            if (there := unpacked(kernel)) is None or not there.pinned:
                fetch(kernel, partial(_fetch_status, f"{number} of {len(wanted)} fetched"))
    finally:
        _status("")
    listed = [(kernel, unpacked(kernel), why_not(kernel.name)) for kernel in kernels().values()]
    if arguments.json:
        _print_json({"kernels": [
            {
                "name": kernel.name, "version": there.version if there else kernel.version,
                "suite": kernel.suite, "fetched": there is not None, "pinned": there is None or there.pinned,
                "megabytes": round(there.size / 1e6, 1) if there else None, "why_not": reason,
            }
            for kernel, there, reason in listed
        ]})  # fmt: skip
        return
    rows = []
    for kernel, there, _ in listed:
        state = f"fetched, {there.size / 1e6:.0f} MB" if there else f"tcplab kernels --fetch {kernel.name}"
        if there and not there.pinned:
            state += f"; not {kernel.version}, with which tcplab was tested"
        rows.append((kernel.name, there.version if there else kernel.version, kernel.suite, state))
    for line in text_table(("kernel", "version", "Debian", "here"), rows):
        _print(line.rstrip())
    for reason in dict.fromkeys(reason for _, _, reason in listed if reason):
        _print(f"Can't run here: {reason}")


def _diagnose(arguments: Namespace) -> int:
    from tcplab.capture import CaptureError
    from tcplab.capture.capture import read_capture
    from tcplab.capture.findings import diagnose
    from tcplab.capture.findings.report import diagnosis_lines, harmless

    several, code, found = len(arguments.files) > 1, 0, False
    results: list[dict[str, Any]] = []
    for file in arguments.files:
        named = {"file": file} if several else {}
        try:
            source = sys.stdin.buffer if file == "-" else file
            diagnosis = diagnose(read_capture(source, progress=lambda share: _status(f"{share:.0%} read")))
        except CaptureError as error:
            code = _complain(harmless(str(error)), MISUSED)
            results.append({**named, "error": str(error)})
            continue
        finally:
            _status("")
        found = found or any(connection.findings for connection in diagnosis.connections)
        if arguments.json:
            results.append({**named, **diagnosis.to_json()})
            for warning in diagnosis.warnings:
                print(f"tcplab: {harmless(warning)}", file=sys.stderr)
            continue
        for line in diagnosis_lines(diagnosis):
            _print(line)
    if arguments.json and several:
        _print_json(results)
    elif arguments.json and not code:
        _print_json(results[0])
    return code or (BROKEN if found and arguments.exit_code else 0)


def _symptom(arguments: Namespace) -> int:
    from tcplab.capture.findings.report import harmless
    from tcplab.lesson.search import answers, log_report, read_log
    from tcplab.lesson.symptoms import look_up

    if arguments.text == ["-"]:
        try:
            found, silent = read_log(_lines_in(), lambda done: _status(f"{done} lines read"))
        finally:
            _status("")
        if arguments.json:
            _print_json([entry.to_json() for entry in found])
            return 0
        for line in log_report(found, silent):
            _print(harmless(line))
        return 0
    text = " ".join(arguments.text)
    if arguments.json:
        _print_json([answer.to_json() for answer in answers(text)])
        return 0
    for line in str(look_up(text)).splitlines():
        _print(line)
    return 0


def _lines_in() -> Iterator[str]:
    """Standard input line by line, whatever its bytes are."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "replace")


def _completion(arguments: Namespace) -> None:
    import shtab

    print(shtab.complete(_parsers()[0], arguments.shell))


def _progress(arguments: Namespace) -> int:
    from tcplab.capture.findings.report import harmless
    from tcplab.lesson.course import done, lessons
    from tcplab.lesson.progress import FILE, ProgressError, read_progress, when

    files = [Path(file) for file in arguments.files]
    files = files or [path for path in (Path(FILE), Path("notebooks", FILE)) if path.exists()][:1]
    if not files:
        raise UsageError(f"no {FILE} here: answer a question in a lesson, or name the files.")
    learners: list[dict[str, Any]] = []
    code = 0
    for file in files:
        try:
            progress = read_progress(file)
        except (ProgressError, OSError) as error:
            why = f"{file} can't be read: {error.strerror}." if isinstance(error, OSError) else str(error)
            code = _complain(harmless(why), MISUSED)
            continue
        folder = file.resolve().parent
        folder = folder.parent if folder.name == "notebooks" else folder
        name = progress.learner or (folder.name if file.name == FILE else file.stem)
        rows = [asdict(each) for each in done(progress).values()]
        learners.append({"learner": name, "file": str(file), "lessons": rows})
    if arguments.json:
        _print_json({"learners": learners})
        return code
    headings = ("learner", "lesson", "answered", "right at first", "hints", "last worked at")
    table = []
    for each in learners:
        name = harmless(each["learner"])
        for row in each["lessons"]:
            lesson = str(lessons().get(row["lesson"]) or row["lesson"].replace("quiz_", "test "))
            answered, right = f"{row['answered']} of {row['of']}", str(row["right_at_first"])
            table.append([name, lesson, answered, right, str(row["hints"]), harmless(when(row["last"]))])
        if not each["lessons"]:
            table.append([name, "nothing yet", "", "", "", ""])
    for line in text_table(headings, table) if learners else []:
        _print(line.rstrip())
    return code


def _learn(arguments: Namespace) -> int:
    from tcplab.learn import FIRST, LearnError, copy_course, open_lab

    folder = Path(arguments.folder)
    try:
        _print(str(copy_course(folder)))
        if arguments.no_open:
            _print(f"Begin with {folder / FIRST}.")
            return 0
        return open_lab(folder)
    except LearnError as error:
        raise UsageError(str(error)) from None


def _status(text: str) -> None:
    """Overwrite the last line of a terminal; print nothing where there is none."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _argument(name: str, **options: Any) -> Argument:
    return name, options


def _setting(help: str) -> Argument:
    return _argument("--set", metavar="K=V", action="append", default=[], help=help)


_FORCE = _argument("--force", action="store_true", help="replace a file that tcplab did not write")
_EXPERIMENTS = _argument("names", metavar="NAME", nargs="*", help="experiments (default: all)")

COMMANDS = {
    "learn": Command("copy the course into a folder and open JupyterLab on it", _learn, (
        _argument("folder", metavar="DIR", nargs="?", default="tcplab-course",
                  help="where (default: tcplab-course); what you changed there is never overwritten"),
        _argument("--no-open", action="store_true", help="only copy"),
    ), json=False),
    "doctor": Command("what works on this machine, and why not", _doctor),
    "list": Command("experiments and studies with their parameters", _list, (
        _argument("name", metavar="NAME", nargs="?", help="only this one"),
    )),
    "run": Command("run an experiment or a study and show what happened", _run_experiment, (
        _argument("name", metavar="NAME", help="an experiment or a study: tcplab list shows them"),
        _argument("--bench", metavar="model|linux|linux:6.1", default="model",
                  help="where it runs (default: model); linux:6.1 is that kernel in virtual time"),
        _setting("a parameter: idle_s=60; may be repeated"),
        _argument("--quick", action="store_true", help="the short version of the experiment"),
        _argument("--pcap", metavar="FILE", help="also write the client's capture, for Wireshark"),
        _argument("--timeline", metavar="FILE", help="also draw the run's timeline, as SVG"),
        _FORCE,
    )),
    "agree": Command("run experiments on the model and on real Linux, and compare", _agree, (
        _EXPERIMENTS,
        _setting("a parameter of every run; may be repeated"),
        _argument("--samples", metavar="N", type=int,
                  help="draw N sets of parameters for each, every third at an end of a range"),
        _argument("--seed", metavar="S", type=int, default=1,
                  help="chooses the samples (default: 1); the Nth is that of --seed S+N-1 alone"),
        _argument("--linux", metavar="VERSION,…",
                  help="on these kernels in virtual time, not this machine's (see: tcplab kernels)"),
        _argument("--jobs", metavar="N", type=int, default=6, help="runs at once (default: 6)"),
    )),
    "claims": Command("what differs between versions of Linux, and what kernels say to it", _claims, (
        _argument("--run", metavar="VERSION",
                  help="run the claims on these kernels: 5.10,6.1; here is the one that runs here"),
        _argument("--into", metavar="FILE", help="also keep what they gave in this file"),
    )),
    "record": Command("record experiments on real Linux, as pcaps with provenance", _record, (
        _EXPERIMENTS,
        _argument("--into", metavar="FOLDER", help="where to write (default: data/captures)"),
        _argument("--linux", metavar="VERSION", help="on that kernel, in virtual time"),
        _FORCE,
    ), json=False),
    "kernels": Command("other kernels to run experiments on, in virtual time", _kernels, (
        _argument("--fetch", metavar="VERSION,…", help="fetch these from Debian; all: every one"),
        _argument("--remove", metavar="VERSION,…", help="remove these from the cache; all: every one"),
    )),
    "diagnose": Command("say what happened in a capture, worst first", _diagnose, (
        _argument("files", metavar="FILE", nargs="+",
                  help="pcap or pcapng; gzip and zstd, too; - is standard input, as after tcpdump -w -"),
        _argument("--exit-code", action="store_true", help="exit with 1 when something was found"),
    )),
    "progress": Command("what was answered in the lessons, of one learner or of a class", _progress, (
        _argument("files", metavar="FILE", nargs="*",
                  help="progress.json of each learner (default: the one here, or in notebooks)"),
    )),
    "symptom": Command("which lesson explains an error message, and what to run first", _symptom, (
        _argument("text", metavar="TEXT", nargs="+",
                  help="the message, an error number or a time; - reads a whole log from standard input"),
    )),
    "completion": Command("print a script that completes tcplab's commands in a shell", _completion, (
        _argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"),
                  help="bash, zsh or tcsh: source <(tcplab completion bash)"),
    ), json=False),
}  # fmt: skip
