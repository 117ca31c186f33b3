"""The commands that answer: diagnose, symptom, console; and those of the course: learn, progress."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tcplab.cli.terminal import (
    BROKEN,
    MISUSED,
    PICTURE,
    UsageError,
    check_overwriting,
    complain,
    say,
    say_json,
    show_status,
)
from tcplab.core.table import text_table
from tcplab.core.text import time_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from tcplab.pictures.incident import CaptureTimeline

#: Of more files than this the first ones are compared with each other.
MOST_MERGED = 6


def diagnose_files(arguments: Namespace) -> int:
    from tcplab.capture import CaptureError
    from tcplab.capture.capture import read_capture
    from tcplab.capture.findings import diagnose
    from tcplab.capture.findings.report import diagnosis_lines, harmless
    from tcplab.pictures.incident import consequences, read_incidents

    several, code, any_finding = len(arguments.files) > 1, 0, False
    _check_report(arguments)
    zone = _zone(arguments.zone)
    results: list[dict[str, Any]] = []
    read: list[tuple[CaptureTimeline, dict[str, Any]]] = []
    for file in arguments.files:
        named = {"file": file} if several else {}
        try:
            source = sys.stdin.buffer if file == "-" else file
            capture = read_capture(source, progress=lambda share: show_status(f"{share:.0%} read"))
            diagnosis = diagnose(capture)
            found = read_incidents(capture, diagnosis)
        except CaptureError as error:
            code = complain(harmless(str(error)), MISUSED)
            results.append({**named, "error": str(error)})
            continue
        finally:
            show_status("")
        any_finding = any_finding or any(connection.findings for connection in diagnosis.connections)
        if arguments.json:
            results.append({**named, **found.to_json(zone)})
            read.append((found, results[-1]))
            for warning in diagnosis.warnings:
                print(f"tcplab: {harmless(warning)}", file=sys.stderr)
            continue
        cause = found.cause
        story = [found.headline(), *([cause.text, cause.left_open] if cause else []), consequences(found)]
        story += [said] if (said := found.in_zone(zone)) else []
        for line in diagnosis_lines(diagnosis, story, found.remarks):
            say(line)
        read.append((found, {}))
    if arguments.report and len(read) == len(arguments.files):
        _write_report(arguments, [found for found, _ in read], zone)
    for line in map(harmless, _merge(read, zone)):
        if not arguments.json:
            say(line)
    if arguments.json and several:
        say_json(results)
    elif arguments.json and not code:
        say_json(results[0])
    return code or (BROKEN if any_finding and arguments.exit_code else 0)


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return time_zone(name) if name else None
    except ValueError as error:
        raise UsageError(f"--zone {error}") from None


def _merge(read: list[tuple[CaptureTimeline, dict[str, Any]]], zone: ZoneInfo | None) -> Iterator[str]:
    """What each pair of files of one incident shows together; also put into their results."""
    from tcplab.capture.both_ends import both_ends

    for (one, result), (other, its_result) in combinations(read[:MOST_MERGED], 2):
        made = both_ends(one, other)
        if isinstance(made, str):
            if len(read) == 2:
                yield from ("", made)
            continue
        for each in (result, its_result):
            each.setdefault("both_ends", []).append(made.to_json(zone))
        merged = made.merged()
        cause = merged.cause
        yield from ("", f"{' and '.join(made.names)}, on one clock:", made.headline())
        yield from [made.why(), cause.leaves_open("these files")] if cause else []
        yield made.clocks_line()
        yield from filter(None, (made.remark(), merged.in_zone(zone)))


def _check_report(arguments: Namespace) -> None:
    """Refuse what can't become a report before anything is read."""
    if not arguments.report:
        for option in ("redact", "shift_time"):
            if getattr(arguments, option):
                raise UsageError(f"--{option.replace('_', '-')} is about a report: give --report FILE, too.")
        return
    if Path(arguments.report).suffix.lower() not in (".html", ".htm", ".md"):
        raise UsageError(f"--report {arguments.report!r}: name a file that ends in .html or .md.")
    if len(arguments.files) > 2:
        raise UsageError(
            "--report is about one capture, or two of the same connections, and here are "
            f"{len(arguments.files)}."
        )
    if len(arguments.files) > len({Path(file).resolve() for file in arguments.files}):
        raise UsageError(f"--report: {arguments.files[0]} is given twice, so there is no other end.")
    if arguments.zone and arguments.shift_time:
        raise UsageError("--zone and --shift-time: shifted times have no zone, so give one of the two.")
    check_overwriting(arguments.report, arguments)


def _write_report(arguments: Namespace, found: list[CaptureTimeline], zone: ZoneInfo | None) -> None:
    from tcplab import __version__
    from tcplab.capture.both_ends import both_ends
    from tcplab.pictures.report import incident_report

    path, (timeline, *others) = Path(arguments.report), found
    digests, both = [_digest(file) for file in arguments.files], None
    for other in others:
        made = both_ends(timeline, other)
        if isinstance(made, str):
            raise UsageError(f"--report: {made}")
        both = made
    if both is not None:
        digests = digests if both.near is timeline else digests[::-1]
        timeline = both.merged()
    report = incident_report(
        timeline, both=both, digests=digests, redact=arguments.redact, shift_time=arguments.shift_time,
        zone=zone, version=__version__,
    )  # fmt: skip
    _write(path, report.markdown() if path.suffix.lower() == ".md" else report.html())


def _write(path: str | Path, text: str) -> None:
    try:
        Path(path).write_text(PICTURE + text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}.") from None


def _digest(file: str) -> str:
    """A file's SHA-256; empty for standard input."""
    from hashlib import file_digest

    if file == "-":
        return ""
    with open(file, "rb") as source:
        return file_digest(source, "sha256").hexdigest()


def symptom(arguments: Namespace) -> int:
    from tcplab.capture.findings.report import harmless
    from tcplab.lesson.search import answers, log_report, read_log
    from tcplab.lesson.symptoms import look_up

    if arguments.text == ["-"]:
        try:
            found, silent = read_log(_lines_in(), lambda done: show_status(f"{done} lines read"))
        finally:
            show_status("")
        if arguments.json:
            say_json([entry.to_json() for entry in found])
            return 0
        for line in log_report(found, silent):
            say(harmless(line))
        return 0
    text = " ".join(arguments.text)
    if arguments.json:
        say_json([answer.to_json() for answer in answers(text)])
        return 0
    for line in str(look_up(text)).splitlines():
        say(line)
    return 0


def console(arguments: Namespace) -> int:
    from tcplab.capture.findings.report import harmless
    from tcplab.console import explain
    from tcplab.console.verdicts import decode, lines_of

    if arguments.files.count("-") > 1:
        raise UsageError("- is standard input, which can be read only once.")
    texts = []
    for file in arguments.files:
        try:
            texts.append(decode(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(f"{file} can't be read: {why}.") from None
    found = explain(*texts)
    if arguments.json:
        say_json([verdict.to_json() for verdict in found.verdicts])
        if found.rest:
            print(f"tcplab: {harmless(found.rest)}", file=sys.stderr)
        return 0
    for line in lines_of(found):
        say(harmless(line))
    return 0


def topology(arguments: Namespace) -> int:
    """Exit code 0: it holds, or is accepted; 1: it breaks; 2 by `ParameterError`: it can't be read."""
    from datetime import date

    from tcplab import __version__
    from tcplab.advice import advise
    from tcplab.advice.change_files import diffs, suggested, with_remedies, without_secrets
    from tcplab.advice.race import race
    from tcplab.advice.topology_file import judge, load_topology
    from tcplab.capture.findings.report import harmless
    from tcplab.pictures.topology_report import TopologyReport

    if arguments.report:
        if Path(arguments.report).suffix.lower() not in (".html", ".htm", ".md"):
            raise UsageError(f"--report {arguments.report!r}: name a file that ends in .html or .md.")
        check_overwriting(arguments.report, arguments)
    topology = load_topology(arguments.file)
    today = race(topology.environment)
    judgement = judge(topology, today, date.today())
    code = judgement.exit_code(arguments.strict)
    if arguments.report or arguments.diff:
        advice = advise(topology.environment)
        remedies = suggested(topology.environment, advice.remedies)
    if arguments.report:
        then = race(with_remedies(topology.environment, remedies))
        report = TopologyReport(
            topology.name, date.today(), advice, today, then, remedies, topology.not_used, __version__
        )
        is_markdown = arguments.report.lower().endswith(".md")
        _write(arguments.report, report.markdown() if is_markdown else report.html())
    if arguments.diff and not arguments.json:
        changes = [change for remedy in remedies for change in remedy.changes]
        for patch in diffs(without_secrets(topology.files, topology.texts), changes).values():
            for line in patch.splitlines():
                say(harmless(line))
        return code
    if arguments.json:
        say_json({"name": topology.name, "exit": code, **judgement.to_json()})
        return code
    lines = [*judgement.broken, *judgement.accepted, *judgement.unknown]
    for line in [harmless(topology.name), judgement.race.sentence, *lines]:
        say(harmless(line))
    for name in topology.not_used:
        say(harmless(f"not used: {name}"))
    return code


def _lines_in() -> Iterator[str]:
    """Standard input line by line, whatever its bytes are."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "replace")


def progress_table(arguments: Namespace) -> int:
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
            code = complain(harmless(why), MISUSED)
            continue
        folder = file.resolve().parent
        folder = folder.parent if folder.name == "notebooks" else folder
        name = progress.learner or (folder.name if file.name == FILE else file.stem)
        rows = [asdict(each) for each in done(progress).values()]
        learners.append({"learner": name, "file": str(file), "lessons": rows})
    if arguments.json:
        say_json({"learners": learners})
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
        say(line.rstrip())
    return code


def learn(arguments: Namespace) -> int:
    from tcplab.learn import FIRST, LearnError, copy_course, open_lab

    folder = Path(arguments.folder)
    try:
        say(str(copy_course(folder)))
        if arguments.no_open:
            say(f"Begin with {folder / FIRST}.")
            return 0
        return open_lab(folder)
    except LearnError as error:
        raise UsageError(str(error)) from None
