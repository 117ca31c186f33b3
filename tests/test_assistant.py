"""`tcplab mcp`: an assistant starts it and asks, over standard input and output, as its own clients do."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tcplab.advice.topology_file import examples
from tcplab.cli.assistant import TOOLS, answer, shortened

mcp = pytest.importorskip("mcp")
CAPTURE = str(Path(__file__).parents[1] / "data" / "captures" / "redis_kill9.pcap")


def ask(*calls):
    """The tools of a server of its own, and the result of each call."""
    from mcp import StdioServerParameters
    from mcp.client import Client

    async def visit():
        how = StdioServerParameters(command=sys.executable, args=["-m", "tcplab", "mcp"])
        async with Client(how) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, given) for name, given in calls]

    return asyncio.run(visit())


def printed(capsys, *words, code=0):
    from tcplab.cli import main

    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_tools_read_only_and_answer_with_the_commands_own_json(capsys, tmp_path):
    message = "FATAL: sorry, too many clients already"
    tools, results = ask(
        ("symptom", {"text": message}),
        ("console", {"text": "LISTEN 129 128 0.0.0.0:5432 0.0.0.0:*"}),
        ("diagnose", {"file": CAPTURE}),
        ("run", {"name": "keepalive", "values": {"idle_s": 60, "unacked": False}, "most": 3}),
        ("settings", {"product": "hikaricp"}),
        ("claims", {}),
        ("experiments", {"name": "keepalive"}),
        ("topology", {"text": (example := examples()["java_aws"]).read_text("utf-8")}),
    )
    assert [each.name for each in tools] == [tool.__name__ for tool in TOOLS]
    assert all(each.annotations.read_only_hint and each.description for each in tools)
    described = [each for tool in tools for each in tool.input_schema["properties"].values()]
    assert all(each.get("description") for each in described)
    assert not any(result.is_error for result in results)
    symptom, console, diagnose, run, settings, claims, experiment, topology = [
        result.structured_content for result in results
    ]
    assert symptom["answers"] == printed(capsys, "symptom", message)
    paste = tmp_path / "ss.txt"
    paste.write_text("LISTEN 129 128 0.0.0.0:5432 0.0.0.0:*")
    assert console["answers"] == printed(capsys, "console", str(paste))
    assert diagnose == printed(capsys, "diagnose", CAPTURE)
    whole = printed(capsys, "run", "keepalive", "--set", "idle_s=60")
    whole.pop("timeline")
    cut = {name: value[:3] if isinstance(value, list) else value for name, value in whole.items()}
    assert run == {**cut, "left_off": run["left_off"]} and run["left_off"]
    assert [each["name"] for each in settings["settings"]][:1] and settings["product"]["title"] == "HikariCP"
    assert claims == printed(capsys, "claims")
    assert experiment == printed(capsys, "list", "keepalive")
    assert topology == printed(capsys, "topology", str(example), code=1)


def test_a_mistake_is_the_commands_own_sentence():
    _, results = ask(
        ("diagnose", {"file": "no_such_file"}),
        ("diagnose", {"file": "--report"}),
        ("run", {"name": "keepalive", "values": {"idle": 60}}),
        ("settings", {"product": "nothing"}),
    )
    said = [result.content[0].text for result in results]
    assert all(result.is_error for result in results)
    assert said[0].endswith("no_such_file does not exist.")
    assert said[1].endswith("'--report' is no file name.")
    assert said[2].endswith("keepalive has no parameter 'idle': did you mean idle_s?")
    assert "product = 'nothing' is not in the catalogue" in said[3]


def test_a_command_that_takes_too_long_is_ended():
    from mcp.server.mcpserver.exceptions import ToolError

    with pytest.raises(ToolError, match=r"^tcplab diagnose took longer than 0\.01 s and was ended\.$"):
        asyncio.run(answer("diagnose", CAPTURE, longest_s=0.01))


def test_long_lists_are_cut_and_counted():
    found = {"connections": list(range(50)), "packets": 7}
    assert shortened(found, 20, "connections") == {
        "connections": list(range(20)), "packets": 7, "left_off": {"connections": 30},
    }  # fmt: skip
    assert shortened([1, 2], 20) == {"answers": [1, 2]}
    assert shortened(found, 50, "connections") == found


def test_without_the_package_it_says_how_to_get_it(tmp_path):
    import os
    import subprocess

    block = tmp_path / "mcp.py"
    block.write_text("raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')")
    found = subprocess.run(
        [sys.executable, "-m", "tcplab", "mcp"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "mcp is not installed: pip install 'tcplab[mcp]' installs it" in found.stderr
