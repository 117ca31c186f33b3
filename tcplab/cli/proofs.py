"""The commands that hold the model against Linux: doctor, agree, claims, kernels."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tcplab.cli.runs import settings_of, value_text
from tcplab.cli.terminal import (
    BROKEN,
    INTERRUPTED,
    UsageError,
    check_overwriting,
    fetch_status,
    say,
    say_json,
    show_status,
)
from tcplab.core.table import text_table

if TYPE_CHECKING:
    from tcplab.agree import Asked
    from tcplab.bench.agreement import Agreement
    from tcplab.bench.kernels.debian import Kernel


def doctor(arguments: Namespace) -> None:
    from tcplab.doctor import report

    rows = report()
    if arguments.json:
        say_json({"checks": [{"what": row.what, "works": row.works, "says": row.says} for row in rows]})
        return
    width = max(len(row.what) for row in rows)
    for row in rows:
        say(f"{'yes' if row.works else 'no':3}  {row.what:{width}}  {row.says}")


def agree(arguments: Namespace) -> int:
    from tcplab.agree import compare_all, to_compare
    from tcplab.registry import ON_LINUX, find

    for option, value in (("--samples", arguments.samples), ("--jobs", arguments.jobs)):
        if value is not None and not 1 <= value <= 10_000:
            raise UsageError(f"{option} {value} is out of range: 1 to 10000.")
    kernels = list(dict.fromkeys(filter(None, (arguments.linux or "").split(","))))
    kinds = [find(name) for name in arguments.names] or list(ON_LINUX.values())
    settings = {kind: settings_of(arguments.set, kind) for kind in kinds}
    asked = to_compare(settings, kernels, arguments.samples or 0, arguments.seed)
    finished: dict[int, Agreement] = {}

    def progress(place: int, done: Agreement) -> None:
        finished[place] = done
        show_status("")
        print(f"{len(finished)} of {len(asked)}: {asked[place].words(done)}", file=sys.stderr, flush=True)

    interrupted = False
    try:
        compare_all(asked, progress, jobs=arguments.jobs, tell=show_status)
    except KeyboardInterrupt:
        interrupted = True
    results = [(asked[place], done) for place, done in sorted(finished.items())]
    agreed = sum(done.agrees for _, done in results)
    if arguments.json:
        runs = [each.to_json(done) for each, done in results]
        say_json({"runs": runs, "agreed": agreed, "of": len(asked)})
    else:
        for line in _agreement_lines(results, arguments.set):
            say(line)
        for kernel in kernels if len(kernels) > 1 else ():
            there = [done for each, done in results if each.kernel == kernel]
            of = sum(each.kernel == kernel for each in asked)
            say(f"Linux {kernel}: {sum(done.agrees for done in there)} of {of} agree.")
        skipped = sum(bool(done.skipped) for _, done in results)
        missing = f", {skipped} skipped" if skipped else ""
        missing += f", {len(asked) - len(results)} not run" if len(results) < len(asked) else ""
        say(f"{agreed} of {len(asked)} agree{missing}.")
    return INTERRUPTED if interrupted else 0 if agreed == len(asked) else BROKEN


def _agreement_lines(results: Iterable[tuple[Asked, Agreement]], set_by_hand: Sequence[str]) -> Iterator[str]:
    """Every run that does not agree: its parameters, what differs, and how to draw that sample alone."""
    for asked, done in results:
        if done.agrees:
            continue
        settings = "".join(f" --set {name}={value_text(value)}" for name, value in done.parameters.items())
        on = f"Linux {done.linux or asked.kernel}: " if asked.kernel else ""
        yield "\n  ".join([on + done.experiment + settings, *map(str, done.differences)])
        if done.skipped:
            yield f"  skipped: {done.skipped}"
        if asked.seed is not None:
            on = f" --linux {asked.kernel}" if asked.kernel else ""
            again = [f"tcplab agree {done.experiment} --samples 1 --seed {asked.seed}{on}", *set_by_hand]
            yield f"  again: {' --set '.join(again)}"


def claims_table(arguments: Namespace) -> int:
    from tcplab import claims

    if arguments.into:
        check_overwriting(arguments.into, arguments, ours=claims.is_record(Path(arguments.into)))
    rows: Sequence[claims.Observation] = claims.recorded()
    if arguments.run:
        anew: list[claims.Observation] = []
        try:
            for kernel in arguments.run.split(","):
                anew += claims.observe(kernel.strip(), progress=show_status)
        finally:
            show_status("")
        rows = anew
    if arguments.into:
        claims.save(rows, Path(arguments.into))
    if arguments.json:
        say_json(claims.to_json(rows))
    else:
        for line in text_table(*claims.table(rows)):
            say(line.rstrip())
        say("\nFrom the source, not run:")
        for rule, why in claims.NOT_RUN.items():
            say(f"  {rule}: {why}")
    return BROKEN if any(each.verdict == claims.FAILS for each in rows) else 0


def kernels(arguments: Namespace) -> None:
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
                fetch(kernel, partial(fetch_status, f"{number} of {len(wanted)} fetched"))
    finally:
        show_status("")
    listed = [(kernel, unpacked(kernel), why_not(kernel.name)) for kernel in kernels().values()]
    if arguments.json:
        say_json({"kernels": [
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
        say(line.rstrip())
    for reason in dict.fromkeys(reason for _, _, reason in listed if reason):
        say(f"Can't run here: {reason}")
