"""`tcplab mcp`: the commands as tools of an assistant, by the Model Context Protocol on stdin and stdout.

Each tool runs a command of tcplab with `--json` in a process of its own, so an answer is what the command
prints, a mistake is the command's own sentence, and one that takes too long is ended. The tools only read:
no file is written, nothing is sent, and experiments run in the model.
"""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from tcplab import __version__
from tcplab.core import catalogue

#: Seconds after which a command is ended.
LONGEST_S = 120
#: Of a long list in an answer, this many entries are handed out unless the caller asks for more.
MOST = 20
INSTRUCTIONS = """\
tcplab knows how TCP breaks database connections: from a model of Linux that is compared with real kernels,
and from the documented defaults of drivers, pools, proxies and middleboxes. Ask it instead of guessing:
symptom for an error message, console for the output of ss, netstat, nstat or sysctl, diagnose for a capture
file, topology for the timeouts of a path, run for "what happens when", settings for a product's defaults,
claims for what differs between versions of Linux. Times are in seconds unless a name says otherwise."""


async def answer(*words: str, text: str = "", longest_s: float = LONGEST_S) -> Any:
    """What `tcplab WORDS --json` prints, with `text` on its standard input.

    Raises ToolError with the command's own sentence, also when it takes longer than `longest_s` seconds.
    """
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "tcplab", words[0], "--json", *words[1:])
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        given = text.encode("utf-8", "replace")
        said, complaint = await asyncio.wait_for(process.communicate(given), longest_s)
    except TimeoutError:
        raise ToolError(f"tcplab {words[0]} took longer than {longest_s:g} s and was ended.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    with suppress(ValueError):
        return json.loads(said)
    lines = complaint.decode("utf-8", "replace").strip().splitlines()
    raise ToolError(lines[-1].removeprefix("tcplab: ") if lines else f"exit code {process.returncode}")


def shortened(found: Any, most: int, *names: str) -> dict[str, Any]:
    """An answer as an object, these lists cut to `most` entries; `left_off` counts the others."""
    whole = dict(found) if isinstance(found, Mapping) else {"answers": found}
    left_off = {}
    for name in names or ("answers",):
        if isinstance(whole.get(name), list) and len(whole[name]) > most:
            left_off[name] = len(whole[name]) - most
            whole[name] = whole[name][:most]
    return {**whole, "left_off": left_off} if left_off else whole


def not_an_option(word: str, what: str) -> str:
    """A word of the caller's, which must not be an option of a command."""
    if not word or word.startswith("-"):
        raise ToolError(f"{word!r} is no {what}.")
    return word


def serve(arguments: Namespace) -> None:
    """Answer an assistant on standard input and output until it closes them."""
    server().run("stdio")


def server() -> MCPServer:
    """The server with its tools."""
    made = MCPServer("tcplab", instructions=INSTRUCTIONS, version=__version__)
    only_reads = ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    for tool in TOOLS:
        made.tool(annotations=only_reads)(tool)
    return made


Most = Annotated[
    int, Field(description="at most this many entries of each long list; left_off counts the others")
]


async def diagnose(
    file: Annotated[str, Field(description="path of a pcap or pcapng file")], most: Most = MOST
) -> dict[str, Any]:
    """What happened in a capture: the story, the incidents, then each connection with its findings."""
    found = await answer("diagnose", not_an_option(file, "file name"))
    return shortened(found, most, "connections")


async def symptom(
    text: Annotated[
        str,
        Field(description="an error message as printed, with how long it took where that is known"),
    ],
) -> dict[str, Any]:
    """What an error message means, why, and what to run first: ranked, with confidence."""
    return shortened(await answer("symptom", "--", text), MOST)


async def console(
    text: Annotated[
        str,
        Field(description="output of ss, netstat, nstat, sysctl, pg_stat_activity, SHOW PROCESSLIST, dmesg"),
    ],
) -> dict[str, Any]:
    """What a terminal's output says about TCP connections: verdicts, worst first, with lines as evidence."""
    return shortened(await answer("console", "-", text=text), MOST)


async def topology(
    text: Annotated[
        str,
        Field(description="a topology in TOML: [want], then a [[hop]] for each host and box, in path order"),
    ],
) -> dict[str, Any]:
    """Which timer fires first in each situation on a path to a database, and what it leaves."""
    return shortened(await answer("topology", "-", text=text), MOST)


async def experiments(
    name: Annotated[str, Field(description="one of them, with its parameters; empty: all")] = "",
) -> dict[str, Any]:
    """The experiments and studies that `run` knows, with parameters, units, ranges and defaults."""
    return await answer("list", *([not_an_option(name, "experiment")] if name else []))


async def run(
    name: Annotated[str, Field(description="an experiment or a study, as `experiments` lists them")],
    values: Annotated[
        dict[str, str | float | bool],
        Field(description="parameters that differ from the default: idle_s = 60"),
    ] = {},  # noqa: B006 (never changed)
    most: Most = MOST,
) -> dict[str, Any]:
    """Play an experiment in the model of Linux TCP: its outcome, its segments and calls with their times."""
    words = ["run", not_an_option(name, "experiment")]
    for key, value in values.items():
        words += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    found = await answer(*words)
    found.pop("timeline", None)  # the same run once more, as a picture needs it
    lists = [key for key, value in found.items() if isinstance(value, list)]
    return shortened(found, most, *lists)


async def settings(
    product: Annotated[str, Field(description="a product's key, for example hikaricp; empty: all keys")] = "",
) -> dict[str, Any]:
    """A product's settings that decide how long connections live: default, unit, version and source."""
    if not product:
        return {"products": {each.key: each.title for each in catalogue.products()}}
    try:
        found = [asdict(each) for each in catalogue.find(product=product)]
    except catalogue.CatalogueError as why:
        raise ToolError(str(why)) from None
    for each in found:
        del each["product"]
    [of] = [each for each in catalogue.products() if each.key == product]
    return {"product": asdict(of), "settings": found}


async def claims() -> dict[str, Any]:
    """What differs between versions of Linux, each with the version, and what real kernels did when asked."""
    return await answer("claims")


TOOLS = (symptom, console, diagnose, topology, experiments, run, settings, claims)
