"""The command `tcplab`. Whatever is wrong is said in one sentence, with exit code 2.

What a command needs is imported when it runs, so that `tcplab doctor` also works where packages are
missing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tcplab.bench.agreement import Agreement
    from tcplab.core.knobs import Knob
    from tcplab.experiments.experiment import Experiment
    from tcplab.studies.study import Study

    Kind = type[Experiment] | type[Study]

WRONG, MISTAKE, INTERRUPTED, NO_READER = 2, 1, 130, 141
BENCHES = ("model", "linux")
#: What a terminal sees that can't show the real thing.
ASCII = str.maketrans({"→": ">", "←": "<", "─": "-", "✗": "x", "–": "-", "…": "...", "×": "x"})


class Wrong(Exception):
    """Something on the command line that can't be: one sentence."""


class _Parser(argparse.ArgumentParser):
    """argparse, except that a mistake is one line and names are never guessed from a beginning."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise Wrong(f"{message} (tcplab --help shows how).")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except Wrong as wrong:
        return _say(str(wrong), WRONG)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough; nothing may be written again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except ModuleNotFoundError as missing:
        return _say(f"{missing.name} is not installed: python3 lab.py setup installs it.", MISTAKE)
    except Exception as error:
        if os.environ.get("TCPLAB_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _say(f"a mistake in tcplab itself: {what} (TCPLAB_TRACEBACK=1 shows where).", MISTAKE)


def _say(sentence: str, code: int) -> int:
    print(f"tcplab: {sentence}", file=sys.stderr)
    return code


def _run(arguments: Sequence[str]) -> int:
    from tcplab.bench.sandbox import BenchError
    from tcplab.capture import CaptureError
    from tcplab.core.knobs import ParameterError

    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise Wrong(f"no command {command!r}: {_nearest(command, COMMANDS)}")
    if not arguments:
        raise Wrong(f"which command? There are {', '.join(COMMANDS)} (tcplab --help shows how).")
    parser, parsers = _parsers()
    told, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise Wrong(_misplaced(unknown[0], told.command, parsers[told.command]))
    try:
        return COMMANDS[told.command](told) or 0
    except (ParameterError, CaptureError, BenchError) as error:
        raise Wrong(str(error)) from None


def _misplaced(word: str, command: str, parser: argparse.ArgumentParser) -> str:
    known = [part.strip("[]") for part in parser.format_usage().split() if "--" in part] + ["--help"]
    if not word.startswith("-"):
        return f"{word!r} is one word too many for {command} (tcplab {command} --help shows how)."
    if word in known:
        return f"{word} comes after the command: tcplab {command} {word}."
    return f"{command} does not know {word!r}: {_nearest(word, known)}"


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(
        prog="tcplab",
        description="The TCP behaviours that break database connections, to change and to watch.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    doctor = commands.add_parser("doctor", help="what works on this machine, and why not")
    listing = commands.add_parser("list", help="experiments and studies with their parameters")
    run = commands.add_parser("run", help="run an experiment or a study and show what happened")
    run.add_argument("name", metavar="NAME", help="an experiment or a study: tcplab list shows them")
    run.add_argument("--bench", default="model", metavar="model|linux", help="where it runs (default: model)")
    run.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="a parameter: idle_s=60; may be repeated"
    )
    run.add_argument("--quick", action="store_true", help="the short version of the experiment")
    run.add_argument("--pcap", metavar="FILE", help="also write the client's capture, for Wireshark")
    record = commands.add_parser("record", help="record experiments on real Linux, as pcaps with provenance")
    record.add_argument("names", nargs="*", metavar="NAME", help="experiments (default: all)")
    record.add_argument("--into", metavar="FOLDER", help="where to write (default: data/captures)")
    agree = commands.add_parser("agree", help="run experiments on the model and on real Linux, and compare")
    agree.add_argument("names", nargs="*", metavar="NAME", help="experiments (default: all)")
    agree.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="a parameter of every run; may be repeated"
    )
    agree.add_argument("--samples", type=int, metavar="N", help="draw N sets of parameters for each")
    agree.add_argument("--seed", type=int, default=1, metavar="S", help="chooses the samples (default: 1)")
    diagnose = commands.add_parser("diagnose", help="say what happened in a capture, worst first")
    diagnose.add_argument("files", nargs="+", metavar="FILE", help="pcap or pcapng; gzip and zstd, too")
    for each in (doctor, listing, run, agree, diagnose):
        each.add_argument("--json", action="store_true", help="print one JSON object")
    return parser, {
        "doctor": doctor, "list": listing, "run": run, "agree": agree, "record": record, "diagnose": diagnose,
    }  # fmt: skip


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from tcplab import __version__

        print(f"tcplab {__version__}")
        parser.exit()


def _nearest(name: str, names: Iterable[str]) -> str:
    names = list(names)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."


def _print_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    print(json.dumps(value, indent=2))


def _print(text: str) -> None:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode("ascii", "replace").decode()
    print(text)


# --- doctor ---


def _doctor(told: argparse.Namespace) -> None:
    from tcplab.doctor import report

    rows = report()
    if told.json:
        _print_json({"checks": [{"what": row.what, "works": row.works, "says": row.says} for row in rows]})
        return
    width = max(len(row.what) for row in rows)
    for row in rows:
        _print(f"{'yes' if row.works else 'no':3}  {row.what:{width}}  {row.says}")


# --- list ---


def _list(told: argparse.Namespace) -> None:
    from tcplab.pictures.text import parameter_lines
    from tcplab.registry import STORIES
    from tcplab.studies import STUDIES

    if told.json:
        groups: dict[str, list[dict[str, Any]]] = {"experiments": [], "studies": []}
        for kind in STORIES.values():
            groups["studies" if kind.name in STUDIES else "experiments"].append(_described(kind))
        _print_json(groups)
        return
    for kind in STORIES.values():
        _print("\n".join([kind.name, f"  {kind.title}", *parameter_lines(kind), ""]))


def _described(experiment: Kind) -> dict[str, Any]:
    defaults = experiment.defaults()
    return {
        "name": experiment.name,
        "title": experiment.title,
        "lesson": experiment.lesson,
        "parameters": [_parameter(name, knob, defaults[name]) for name, knob in experiment.knobs().items()],
        "quick": dict(experiment.quick),
        "presets": {name: dict(values) for name, values in experiment.presets.items()},
    }


def _parameter(name: str, knob: Knob, default: Any) -> dict[str, Any]:
    number = knob.kind in (int, float) and not knob.choices
    return {
        "name": name,
        "label": knob.label,
        "kind": "choice" if knob.choices else knob.kind.__name__,
        "default": default,
        "unit": knob.unit,
        "range": [knob.low, None if knob.high == math.inf else knob.high] if number else None,
        "choices": list(knob.choices) or None,
        "zero": knob.zero,
        "help": knob.help,
    }


# --- run ---


def _run_experiment(told: argparse.Namespace) -> None:
    from tcplab.bench import run
    from tcplab.pictures.text import run_lines
    from tcplab.registry import find

    kind = find(told.name)
    if told.bench not in BENCHES:
        raise Wrong(f"no bench {told.bench!r}: {_nearest(told.bench, BENCHES)}")
    values = {**(kind.quick if told.quick else {}), **_settings(told.set, kind)}
    experiment = kind.from_values(values)
    trace = run(experiment, told.bench, lambda seconds, _: _status(f"{seconds:.0f} s on Linux"))
    _status("")
    if told.pcap and not trace.packets:
        raise Wrong(f"--pcap: {kind.name} on the {told.bench} bench has no segments, only curves.")
    if told.pcap:
        from tcplab.capture.pcap import write_pcap

        write_pcap(trace, told.pcap)
    if told.json:
        _print_json(trace.to_json())
        return
    _print(experiment.sentence(trace))
    for warning in trace.warnings:
        _print(f"Note: {warning}")
    _print("")
    for line in run_lines(trace):
        _print(line)


def _settings(texts: Iterable[str], kind: Kind) -> dict[str, str]:
    from tcplab.pictures.text import value_text

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            name, default = next((name, kind.defaults()[name]) for name in kind.knobs())
            raise Wrong(f"--set {text!r}: write name=value, for example {name}={value_text(default)}.")
        if name not in kind.knobs():
            raise Wrong(f"{kind.name} has no parameter {name!r}: {_nearest(name, kind.knobs())}")
        values[name] = value
    return values


# --- agree ---


def _agree(told: argparse.Namespace) -> int:
    import random

    from tcplab.agree import agree, draw, quick
    from tcplab.pictures.text import value_text
    from tcplab.registry import ON_LINUX, find

    if told.samples is not None and told.samples < 1:
        raise Wrong(f"--samples {told.samples} is out of range: 1 or more.")
    experiments, chance = [], random.Random(told.seed)
    for kind in [find(name) for name in told.names] or list(ON_LINUX.values()):
        settings = _settings(told.set, kind)
        for _ in range(told.samples or 1):
            experiments.append(draw(kind, settings, chance) if told.samples else quick(kind, settings))
    finished: list[Agreement] = []

    def progress(done: Agreement) -> None:
        finished.append(done)
        said = "agrees" if done.agrees else "DIFFERS"
        print(f"{len(finished)} of {len(experiments)}: {done.experiment} {said}", file=sys.stderr, flush=True)

    results = agree(experiments, progress)
    agreed = sum(result.agrees for result in results)
    if told.json:
        _print_json({"runs": [result.to_json() for result in results], "agreed": agreed, "of": len(results)})
        return 0 if agreed == len(results) else MISTAKE
    for result in results:
        if not result.agrees:
            told_apart = (f" --set {name}={value_text(value)}" for name, value in result.parameters.items())
            _print(result.experiment + "".join(told_apart))
            for difference in result.differences:
                _print(f"  {difference}")
    _print(f"{agreed} of {len(results)} agree.")
    return 0 if agreed == len(results) else MISTAKE


# --- record ---


def _record(told: argparse.Namespace) -> None:
    from tcplab.capture.recordings import record
    from tcplab.experiments import EXPERIMENTS, find

    folder = Path(told.into) if told.into else Path(__file__).resolve().parents[1] / "data" / "captures"
    kinds = [find(name) for name in dict.fromkeys(told.names or EXPERIMENTS)]
    running: dict[str, str] = {}

    def status(name: str, seconds: float, segments: int) -> None:
        running[name] = f"{name} {seconds:.0f} s"
        _status(", ".join(list(running.values())))

    try:
        for path, trace in record([kind.from_values(kind.quick) for kind in kinds], folder, status):
            running.pop(trace.experiment, None)
            _status("")
            shown = path if told.into else os.path.relpath(path)
            _print(f"{shown}: {len(trace.packets)} segments on Linux {trace.linux}")
    finally:
        _status("")


# --- diagnose ---


def _diagnose(told: argparse.Namespace) -> int:
    from tcplab.capture import CaptureError
    from tcplab.capture.capture import read_capture
    from tcplab.capture.findings import diagnose
    from tcplab.capture.findings.report import diagnosis_lines, harmless

    several, code = len(told.files) > 1, 0
    found: list[dict[str, Any]] = []
    for file in told.files:
        named = {"file": file} if several else {}
        try:
            diagnosis = diagnose(read_capture(file))
        except CaptureError as error:
            code = _say(harmless(str(error)), WRONG)
            found.append({**named, "error": str(error)})
            continue
        if told.json:
            found.append({**named, **diagnosis.to_json()})
            for warning in diagnosis.warnings:
                print(f"tcplab: {harmless(warning)}", file=sys.stderr)
            continue
        for line in diagnosis_lines(diagnosis):
            _print(line)
    if told.json and several:
        _print_json(found)
    elif told.json and not code:
        _print_json(found[0])
    return code


def _status(text: str) -> None:
    """Overwrite the last line of a terminal; elsewhere nobody waits for it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "doctor": _doctor,
    "list": _list,
    "run": _run_experiment,
    "agree": _agree,
    "record": _record,
    "diagnose": _diagnose,
}
