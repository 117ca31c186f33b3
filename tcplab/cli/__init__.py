"""The command `tcplab`: its table of commands, and how a line becomes a call.

A mistake on the command line is one sentence and exit code 2. Each command imports what it needs when it
runs, so `tcplab doctor` also works where packages are missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from tcplab.cli.asked import console, diagnose_files, learn, progress_table, symptom, topology
from tcplab.cli.proofs import agree, claims_table, doctor, kernels
from tcplab.cli.runs import list_stories, parameter_lines, record_stories, run_story, value_text
from tcplab.cli.terminal import (
    BROKEN,
    INTERRUPTED,
    MISUSED,
    NO_READER,
    UsageError,
    check_output,
    complain,
    drop_output,
    flush_output,
    say,
)
from tcplab.core.text import nearest

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
        check_output()
        try:
            return _run(arguments)
        finally:
            flush_output()
    except UsageError as mistake:
        return complain(str(mistake), MISUSED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return NO_READER
    except ModuleNotFoundError as missing:
        extra = "mcp" if missing.name == "mcp" else "lab"
        how = f"pip install 'tcplab[{extra}]' installs it (in a clone: python3 lab.py setup)"
        return complain(f"{missing.name} is not installed: {how}.", BROKEN)
    except Exception as error:
        if os.environ.get("TCPLAB_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return complain(
            f"tcplab failed. This is a bug: please report it: {what} (TCPLAB_TRACEBACK=1 shows where).",
            BROKEN,
        )


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

    say(parser.format_help().rstrip())
    for kind in (STORIES[word] for word in words if word in STORIES):
        example = next(iter(kind.presets.values()), kind.quick) or kind.quick
        settings = "".join(f" --set {name}={value_text(value)}" for name, value in example.items())
        lines = ["", f"{kind.name}: {kind.title}", *parameter_lines(kind), "", "for example:"]
        say("\n".join([*lines, f"  tcplab run {kind.name}{settings}"]))
    return 0


def _misplaced(word: str, command: str, parser: argparse.ArgumentParser) -> str:
    known = [part.strip("[]") for part in parser.format_usage().split() if "--" in part] + ["--help"]
    if not word.startswith("-"):
        return f"{word!r} is one word too many for {command} (tcplab {command} --help shows how)."
    if word in known:
        return f"{word} comes after the command: tcplab {command} {word}."
    return f"{command} does not know {word!r}: {nearest(word, known)}"


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    said = "The TCP behaviours that break database connections, to change and observe."
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


def _completion(arguments: Namespace) -> None:
    import shtab

    print(shtab.complete(_parsers()[0], arguments.shell))


def _mcp(arguments: Namespace) -> None:
    from tcplab.cli.assistant import serve

    serve(arguments)


def _argument(name: str, **options: Any) -> Argument:
    return name, options


def _setting(help: str) -> Argument:
    return _argument("--set", metavar="K=V", action="append", default=[], help=help)


_FORCE = _argument("--force", action="store_true", help="replace a file that tcplab did not write")
_EXPERIMENTS = _argument("names", metavar="NAME", nargs="*", help="experiments (default: all)")

COMMANDS = {
    "learn": Command("copy the course into a folder and open JupyterLab on it", learn, (
        _argument("folder", metavar="DIR", nargs="?", default="tcplab-course",
                  help="where (default: tcplab-course); your changes there are never overwritten"),
        _argument("--no-open", action="store_true", help="only copy"),
    ), json=False),
    "doctor": Command("show what works on this machine, and why other things don't", doctor),
    "list": Command("list experiments and studies with their parameters", list_stories, (
        _argument("name", metavar="NAME", nargs="?", help="only this one"),
    )),
    "run": Command("run an experiment or a study and show what happened", run_story, (
        _argument("name", metavar="NAME", help="an experiment or a study: tcplab list shows them"),
        _argument("--bench", metavar="model|linux|linux:6.1", default="model",
                  help="where it runs (default: model); linux:6.1 is that kernel in virtual time"),
        _setting("a parameter: idle_s=60; may be repeated"),
        _argument("--quick", action="store_true", help="the short version of the experiment"),
        _argument("--pcap", metavar="FILE", help="also write the client's capture, for Wireshark"),
        _argument("--timeline", metavar="FILE", help="also draw the run's timeline, as SVG"),
        _FORCE,
    )),
    "agree": Command("run experiments on the model and on real Linux, and compare", agree, (
        _EXPERIMENTS,
        _setting("a parameter of every run; may be repeated"),
        _argument("--samples", metavar="N", type=int,
                  help="draw N sets of parameters for each, one in three at an end of a range"),
        _argument("--seed", metavar="S", type=int, default=1,
                  help="chooses the samples (default: 1); the Nth is that of --seed S+N-1 alone"),
        _argument("--linux", metavar="VERSION,…",
                  help="on these kernels in virtual time, not this machine's (see: tcplab kernels)"),
        _argument("--jobs", metavar="N", type=int, default=6, help="runs at once (default: 6)"),
    )),
    "claims": Command("what differs between versions of Linux, tested on kernels", claims_table, (
        _argument("--run", metavar="VERSION",
                  help="test the claims on these kernels: 5.10,6.1; here is the running kernel"),
        _argument("--into", metavar="FILE", help="also write their results to this file"),
        _FORCE,
    )),
    "record": Command("record experiments on real Linux, as pcaps with provenance", record_stories, (
        _EXPERIMENTS,
        _argument("--into", metavar="FOLDER", help="where to write (default: data/captures)"),
        _argument("--linux", metavar="VERSION", help="on that kernel, in virtual time"),
        _FORCE,
    ), json=False),
    "kernels": Command("list and fetch other kernels to run experiments on, in virtual time", kernels, (
        _argument("--fetch", metavar="VERSION,…", help="fetch these from Debian; all: every one"),
        _argument("--remove", metavar="VERSION,…", help="remove these from the cache; all: every one"),
    )),
    "diagnose": Command("show what happened in a capture, worst first", diagnose_files, (
        _argument("files", metavar="FILE", nargs="+",
                  help="pcap or pcapng; gzip and zstd, too; - is standard input, as after tcpdump -w -"),
        _argument("--exit-code", action="store_true", help="exit with 1 when something was found"),
        _argument("--report", metavar="FILE", help="also write a report: FILE.html or FILE.md"),
        _argument("--zone", metavar="ZONE",
                  help="also say when it broke in this time zone: Europe/Berlin (all other times are UTC)"),
        _argument("--redact", action="store_true",
                  help="no address, client port, name or message of the capture in the report"),
        _argument("--shift-time", action="store_true",
                  help="the report's times count from 00:00:00 at the first packet"),
        _FORCE,
    )),
    "progress": Command("show the answers in the lessons, of one learner or of a class", progress_table, (
        _argument("files", metavar="FILE", nargs="*",
                  help="progress.json of each learner (default: the one here, or in notebooks)"),
    )),
    "symptom": Command("show which lesson explains an error message, and what to run first", symptom, (
        _argument("text", metavar="TEXT", nargs="+",
                  help="the message, an error number or a time; - reads a whole log from standard input"),
    )),
    "console": Command("explain console output: ss, netstat, sysctl, sessions, logs", console, (
        _argument("files", metavar="FILE", nargs="+",
                  help="saved output of a terminal, the earliest file first; - is standard input"),
    )),
    "topology": Command("show what breaks first in a topology; exit code 1 if anything does", topology, (
        _argument("file", metavar="FILE.toml",
                  help="application, middleboxes, proxies, database, in path order; - is standard input"),
        _argument("--strict", action="store_true", help="what is not known counts as broken"),
        _argument("--diff", action="store_true", help="print what to change, as a patch of its files"),
        _argument("--report", metavar="FILE", help="also write a report: FILE.html or FILE.md"),
        _FORCE,
    )),
    "mcp": Command("serve an assistant over the Model Context Protocol", _mcp, json=False),
    "completion": Command("print a script that completes tcplab's commands in a shell", _completion, (
        _argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"),
                  help="bash, zsh or tcsh: source <(tcplab completion bash)"),
    ), json=False),
}  # fmt: skip
