"""The command line: its contract in JSON, its words for people, and one sentence for whatever is wrong."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tcplab import cli
from tcplab.bench import run
from tcplab.capture.capture import read_capture
from tcplab.capture.pcap import write_pcap
from tcplab.experiments import EXPERIMENTS
from tcplab.studies import STUDIES

EVENT = {"t", "host", "call", "result"}
SEGMENT = {"t", "arrives", "fate", "from", "to", "flags", "seq", "ack", "length", "window"}
RUN = {"experiment", "bench", "linux", "parameters", "outcome", "events", "segments", "series"}


@pytest.fixture
def tcplab(capsys):
    """Run a command line: (exit code, standard output, standard error)."""

    def call(*arguments):
        try:
            code = cli.main(list(arguments))
        except SystemExit as done:  # --help and --version
            code = done.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def json_of(tcplab):
    def run(*arguments):
        code, out, err = tcplab(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return run


@pytest.fixture
def wrong(tcplab):
    """The sentence for a command line that can't be."""

    def run(*arguments):
        code, out, err = tcplab(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("tcplab: ") and err.count("\n") == 1 and err.endswith("\n")
        return err.removeprefix("tcplab: ").strip()

    return run


# --- run ---


def test_run_prints_one_object_as_agreed(json_of):
    printed = json_of("run", "keepalive", "--set", "idle_s=60", "--set", "interval_s=10", "--set", "probes=3")
    assert printed.keys() >= RUN
    assert (printed["experiment"], printed["bench"], printed["linux"]) == ("keepalive", "model", "6.18")
    assert printed["parameters"]["idle_s"] == 60 and printed["parameters"]["latency_ms"] == 1
    assert printed["outcome"]["detected_after_s"] == pytest.approx(90, abs=0.01)
    assert all(event.keys() == EVENT for event in printed["events"])
    assert all(segment.keys() == SEGMENT for segment in printed["segments"])
    first, answer, *_, last = printed["segments"]
    assert (first["t"], first["flags"], first["seq"], first["ack"]) == (0, "S", 0, 0)
    assert (answer["from"], answer["to"], answer["flags"], answer["ack"]) == ("server", "client", "SA", 1)
    assert (last["flags"], last["fate"], last["arrives"]) == ("RA", "lost", None)


def test_values_are_texts_of_every_kind(json_of):
    printed = json_of(
        "run", "rst_in_window", "--set", "offset=-1", "--set", "sack_hole=yes", "--set", "latency_ms=2.5",
        "--set", "linux=4.18",
    )  # fmt: skip
    values = printed["parameters"]
    assert (values["offset"], values["sack_hole"], values["latency_ms"]) == (-1, True, 2.5)
    assert printed["linux"] == values["linux"] == "4.18"


def test_the_last_of_two_values_counts_and_quick_gives_way(json_of):
    printed = json_of("run", "keepalive", "--quick", "--set", "probes=5", "--set", "probes=4")
    quick = dict(EXPERIMENTS["keepalive"].quick)
    assert printed["parameters"] == {**printed["parameters"], **quick, "probes": 4}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_quickly_for_people_too(tcplab, name):
    code, out, err = tcplab("run", name, "--quick")
    assert (code, err) == (0, "")
    kind = EXPERIMENTS[name]
    experiment = kind(**kind.quick)
    sentence = out.splitlines()[0]
    trace = run(experiment)
    assert sentence == experiment.sentence(trace)
    for outcome in trace.outcome:
        assert f"  {outcome} " in out
    assert re.search("client ──→ (server|proxy) +SYN", out)


def test_what_people_read(tcplab):
    _, out, _ = tcplab("run", "keepalive", "--quick", "--set", "probes=1")
    lines = out.splitlines()
    assert "Connection timed out (ETIMEDOUT)" in lines[0]
    assert "  error             ETIMEDOUT" in lines
    ladder = [line.split() for line in lines if "──" in line]
    times = [float(words[0]) for words in ladder]
    assert times == sorted(times) and times[0] == 0
    assert any(words[1:4] == ["client", "←──", "server"] and "SYN," in words for words in ladder)
    assert any(words[1:4] == ["client", "──✗", "server"] and "keepalive" in words for words in ladder)
    assert any("connect()" in line and "ok" in line for line in lines)


def test_a_long_table_loses_its_middle_and_says_so(tcplab):
    _, out, _ = tcplab("run", "slow_reader")
    lines = out.splitlines()
    assert len(lines) < 90
    (gap,) = [line for line in lines if "left out" in line]
    assert "--json" in gap


def test_warnings_are_shown(tcplab):
    _, out, _ = tcplab("run", "unanswered_connect", "--set", "linux=4.18", "--set", "linear_timeouts=2")
    (note,) = [line for line in out.splitlines() if line.startswith("Note: ")]
    assert "linear_timeouts is ignored" in note


def test_a_study_has_curves_instead_of_segments(json_of, tcplab, wrong):
    printed = json_of("run", "port_churn", "--set", "rate_per_s=600", "--set", "hold_s=0")
    assert printed.keys() >= RUN
    assert (printed["experiment"], printed["bench"], printed["segments"], printed["events"]) == (
        "port_churn",
        "model",
        [],
        [],
    )
    assert printed["outcome"]["first_refusal_s"] == pytest.approx(28232 / 600)
    assert max(printed["series"]["in_use_high"]) == 28232 and len(printed["series"]["t_s"]) > 100
    code, out, err = tcplab("run", "port_churn", "--set", "rate_per_s=600")
    assert (code, err) == (0, "")
    assert "EADDRNOTAVAIL" in out.splitlines()[0] and "  refused " in out and "time_wait_high" in out
    assert "has no segments" in wrong("run", "port_churn", "--pcap", "churn.pcap")
    assert "did you mean port_churn?" in wrong("run", "port_chrun")
    assert "ports = 0 is out of range: 1 to 65535." in wrong("run", "port_churn", "--set", "ports=0")


def test_pcap_is_written_beside_the_output(tcplab, tmp_path):
    file = tmp_path / "run.pcap"
    code, out, _ = tcplab("run", "keepalive", "--quick", "--json", "--pcap", str(file))
    assert code == 0
    printed = json.loads(out)["segments"]
    capture = read_capture(file).connection(0)
    seen = sorted(printed, key=lambda each: each["t"] if each["from"] == "client" else each["arrives"])
    assert [
        (packet.segment.letters, *relative, packet.segment.length)
        for packet, relative in zip(capture.packets, capture.relative(), strict=True)
    ] == [(each["flags"], each["seq"], each["ack"], each["length"]) for each in seen]


def test_json_carries_the_timeline(tcplab):
    code, out, _ = tcplab("run", "keepalive", "--quick", "--json")
    timeline = json.loads(out)["timeline"]
    assert code == 0
    assert timeline["answer"] == {"from_s": 0, "to_s": timeline["to_s"], "host": "client",
                                  "text": "ETIMEDOUT after 10 s"}  # fmt: skip
    assert [each["key"] for each in timeline["lanes"]][:2] == ["client/program", "client/server"]


def test_the_timeline_is_drawn_beside_the_output_and_again(tcplab, wrong, tmp_path):
    file, other = tmp_path / "run.svg", tmp_path / "other.svg"
    for _ in range(2):
        assert tcplab("run", "keepalive", "--quick", "--timeline", str(file))[0] == 0
    picture = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    assert picture.tag.endswith("svg") and "10 s" in picture.attrib["aria-label"]
    other.write_text("<svg/>", encoding="utf-8")
    said = wrong("run", "keepalive", "--quick", "--timeline", str(other))
    assert "other.svg is there already, and tcplab did not write it" in said
    said = wrong("run", "keepalive", "--quick", "--timeline", str(tmp_path / "no" / "x.svg"))
    assert said.endswith("x.svg can't be written: No such file or directory.")


# --- list and doctor ---


def test_list_says_everything_about_every_parameter(json_of):
    printed = {each["name"]: each for each in json_of("list")["experiments"]}
    assert printed.keys() == EXPERIMENTS.keys()
    for name, kind in EXPERIMENTS.items():
        parameters = {each["name"]: each for each in printed[name]["parameters"]}
        assert {key: each["default"] for key, each in parameters.items()} == kind.defaults()
    keepalive = {each["name"]: each for each in printed["keepalive"]["parameters"]}
    assert keepalive["idle_s"]["range"] == [0, 32767] and keepalive["idle_s"]["unit"] == "s"
    assert keepalive["idle_s"]["zero"] == "off" and keepalive["idle_s"]["help"]
    assert keepalive["peer"]["choices"] == ["alive", "offline", "rebooted", "moved"]
    assert keepalive["peer"]["kind"] == "choice" and keepalive["peer"]["range"] is None
    assert keepalive["unacked"]["kind"] == "bool" and keepalive["probes"]["kind"] == "int"


def test_list_has_the_studies_too(json_of, tcplab):
    printed = {each["name"]: each for each in json_of("list")["studies"]}
    assert printed.keys() == STUDIES.keys()
    for name, kind in STUDIES.items():
        assert {each["name"]: each["default"] for each in printed[name]["parameters"]} == kind.defaults()
        assert f"{name}\n  {kind.title}\n" in tcplab("list")[1]


def test_list_for_people_names_every_parameter_with_its_default(tcplab):
    code, out, err = tcplab("list")
    assert (code, err) == (0, "")
    for name, kind in EXPERIMENTS.items():
        assert f"{name}\n  {kind.title}\n" in out
    assert "    idle_s = 7200 " in out and "0 (off) to 32767 s. Silence before" in out
    assert all(".." not in line for line in out.splitlines())


def test_doctor(json_of, tcplab):
    printed = {each["what"]: each for each in json_of("doctor")["checks"]}
    assert printed["Python"] == {"what": "Python", "works": True, "says": printed["Python"]["says"]}
    code, out, err = tcplab("doctor")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(printed)
    assert all(line.startswith(("yes  ", "no   ")) for line in out.splitlines())


# --- whatever is wrong ---


def setting(text):
    return ["run", "keepalive", "--set", text]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "which command? There are learn, doctor, list, run"),
        (["rnu", "keepalive"], "no command 'rnu': did you mean run?"),
        (["replay"], "no command 'replay': there are learn, doctor, list"),
        (["diagnose"], "the following arguments are required: FILE"),
        (["run"], "required: NAME"),
        (["run", "keepalvie"], "no experiment 'keepalvie': did you mean keepalive?"),
        (["run", "xyzzy"], "no experiment 'xyzzy': there are handshake_and_close, "),
        (setting("idel_s=4"), "keepalive has no parameter 'idel_s': did you mean idle_s?"),
        (setting("q=4"), "keepalive has no parameter 'q': there are idle_s, "),
        (setting("idle_s"), "--set 'idle_s': write name=value, for example idle_s=7200."),
        (setting("=4"), "write name=value"),
        (["run", "keepalive", "--set"], "--set: expected one argument"),
        (setting("idle_s=soon"), "idle_s = 'soon' is not a number: 0 (off) to 32767 s."),
        (setting("idle_s=40000"), "idle_s = 40000 is out of range: 0 (off) to 32767 s."),
        (setting("probes=1.5"), "probes = 1.5 is not a whole number"),
        (setting("peer=dead"), "peer = 'dead' is not one of alive, offline"),
        (setting("linux=2.6"), "linux = '2.6'"),
        (setting("idle_s=nan"), "idle_s = nan is not a number"),
        (["run", "keepalive", "--bench", "modle"], "no bench 'modle': did you mean model?"),
        (["run", "keepalive", "--jsn"], "run does not know '--jsn': did you mean --json?"),
        (["run", "keepalive", "--js"], "run does not know '--js': did you mean --json?"),
        (["run", "keepalive", "twice"], "'twice' is one word too many for run"),
        (["--json", "list"], "--json comes after the command: tcplab list --json."),
        (["doctor", "--quick"], "doctor does not know '--quick'"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_one_sentence_and_exit_code_2(wrong, arguments, says):
    assert says in wrong(*arguments)


def test_a_file_that_cannot_be_written(wrong, tmp_path):
    said = wrong("run", "keepalive", "--quick", "--pcap", str(tmp_path / "no" / "x.pcap"))
    assert said.endswith("x.pcap can't be written: No such file or directory.")


def test_a_mistake_of_ours_is_one_sentence_too(tcplab, monkeypatch):
    def fail(arguments):
        raise RuntimeError("two\nlines")

    monkeypatch.setitem(cli.COMMANDS, "doctor", cli.Command("", fail))
    assert tcplab("doctor") == (
        1,
        "",
        "tcplab: tcplab failed. This is a bug: please report it: "
        "RuntimeError: two (TCPLAB_TRACEBACK=1 shows where).\n",
    )
    monkeypatch.setenv("TCPLAB_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        cli.main(["doctor"])


# --- a topology in a repository ---------------------------------------------------------------------


def topology(tmp_path, timeout):
    """A file with a client whose requests end after `timeout` seconds."""
    file = tmp_path / "here.toml"
    file.write_text(
        '[want]\noutage = "60 s"\n[[hop]]\napplication = "C"\ndriver = "libpq"\n'
        f"set.driver = {{ tcp_user_timeout = {timeout * 1000}, keepalives_idle = 10, "
        "keepalives_interval = 3, connect_timeout = 5 }\n"
        '[[hop]]\ndatabase = "postgresql"\n'
        "set = { tcp_keepalives_idle = 5, tcp_keepalives_interval = 3, tcp_keepalives_count = 3 }\n"
    )
    return str(file)


def test_a_topology_has_three_exit_codes(tcplab, wrong, tmp_path):
    code, out, _ = tcplab("topology", topology(tmp_path, 20))
    assert code == 0 and "Nothing breaks" in out and "? failover not known: give [want] promotion" in out
    assert tcplab("topology", topology(tmp_path, 20), "--strict")[0] == 1
    code, out, _ = tcplab("topology", topology(tmp_path, 200))
    assert code == 1 and re.search(r"^✗ server_dies_sending \d+ s > 60 s: user timeout$", out, re.MULTILINE)
    assert "can't be read" in wrong("topology", str(tmp_path / "none.toml"))


def test_a_topology_s_changes_are_a_patch_and_a_page(tcplab, wrong, tmp_path):
    file = topology(tmp_path, 200)
    (tmp_path / "postgresql.conf").write_text("tcp_keepalives_idle = 600\n")
    text = (tmp_path / "here.toml").read_text().replace("set = {", 'read = ["postgresql.conf"]\nset = {')
    (tmp_path / "here.toml").write_text(text.replace("tcp_keepalives_idle = 5, ", ""))
    code, out, _ = tcplab("topology", file, "--diff")
    assert code == 1 and "-tcp_keepalives_idle = 600\n+tcp_keepalives_idle = " in out
    for name in ("page.html", "page.md"):
        page = tmp_path / name
        tcplab("topology", file, "--report", str(page))
        assert "Assumed, not read" in page.read_text()
        tcplab("topology", file, "--report", str(page))  # its own file is written again
    assert "name a file that ends in" in wrong("topology", file, "--report", "page.pdf")
    (tmp_path / "mine.md").write_text("mine")
    assert "mine.md" in wrong("topology", file, "--report", str(tmp_path / "mine.md"))


def test_a_topology_as_json(tcplab, tmp_path):
    code, out, _ = tcplab("topology", topology(tmp_path, 200), "--json")
    written = json.loads(out)
    assert code == written["exit"] == 1 and written["name"] == "topology"
    assert [lane["letter"] for lane in written["lanes"]] == list("ABCDEFGI")
    assert any(line.startswith("✗ server_dies_sending") for line in written["broken"])


def test_a_missing_package_is_named(tcplab, monkeypatch):
    monkeypatch.setitem(sys.modules, "simpy", None)
    monkeypatch.delitem(sys.modules, "tcplab.bench.model", raising=False)
    code, _, err = tcplab("run", "keepalive", "--quick")
    assert code == 1 and err.count("\n") == 1
    assert err.startswith("tcplab: simpy is not installed: pip install 'tcplab[lab]' installs it ")


def test_interrupting_is_quiet(tcplab, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "doctor", cli.Command("", interrupted))
    assert tcplab("doctor") == (130, "", "")


def test_help_and_version(tcplab):
    code, out, _ = tcplab("--help")
    assert code == 0 and all(re.search(f"^ +{name}\\b", out, re.MULTILINE) for name in cli.COMMANDS)
    code, out, _ = tcplab("run", "--help")
    assert code == 0 and "--bench model|linux" in out and "--pcap FILE" in out
    code, out, _ = tcplab("--version")
    assert code == 0 and out.startswith("tcplab ")


# --- as a program ---


def program(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "tcplab", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_words_that_people_try_first(tcplab):
    assert tcplab("help") == tcplab("--help")
    assert tcplab("version") == tcplab("--version")
    assert tcplab("help", "agree") == tcplab("agree", "--help")


@pytest.mark.parametrize("name", [*EXPERIMENTS, *STUDIES])
def test_help_for_an_experiment_has_its_parameters_and_an_example_that_runs(tcplab, name):
    code, out, _ = tcplab("run", name, "--help")
    assert code == 0 and "--bench" in out
    for parameter, default in {**EXPERIMENTS, **STUDIES}[name].defaults().items():
        assert re.search(rf"^ +{parameter} = ", out, re.MULTILINE), (parameter, default)
    example = out.rpartition("for example:\n  tcplab ")[2].split()
    assert tcplab(*example)[0] == 0


def test_one_experiment_is_listed_alone(json_of, tcplab, wrong):
    assert json_of("list", "keepalive") in json_of("list")["experiments"]
    assert tcplab("list", "keepalive")[1].startswith("keepalive\n")
    assert "did you mean keepalive?" in wrong("list", "keepaliv")


@pytest.mark.parametrize(("typed", "seconds"), [("2h", 7200), ("90s", 90), ("1m30s", 90), ("1 min 30 s", 90)])
def test_durations_as_people_write_them(json_of, typed, seconds):
    assert json_of("run", "keepalive", "--set", f"idle_s={typed}")["parameters"]["idle_s"] == seconds


def test_a_duration_that_never_ends_and_a_unit_where_there_is_none(wrong):
    assert "idle_s = 'never' is not a number" in wrong("run", "keepalive", "--set", "idle_s=never")
    assert "probes = '9s' is not a number" in wrong("run", "keepalive", "--set", "probes=9s")


CAPTURES = Path(__file__).resolve().parent.parent / "data" / "captures"


def test_a_capture_from_a_pipe(tmp_path):
    command = [sys.executable, "-m", "tcplab", "diagnose", "-", "--json", "--exit-code"]
    with (CAPTURES / "dead_peer.pcap").open("rb") as pipe:
        done = subprocess.run(command, stdin=pipe, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == ""
    by_name = subprocess.run(
        [*command[:4], str(CAPTURES / "dead_peer.pcap"), "--json"], capture_output=True, text=True
    )
    assert by_name.returncode == 0 and json.loads(by_name.stdout) == json.loads(done.stdout)
    empty = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (empty.returncode, empty.stderr) == (2, "tcplab: standard input is empty: not a capture file.\n")


def test_the_exit_code_says_whether_something_was_found(tcplab, tmp_path):
    calm = run(EXPERIMENTS["keepalive"]())
    calm.packets = [packet for packet in calm.packets if packet.t < calm.watching_since]
    write_pcap(calm, tmp_path / "calm.pcap")
    assert tcplab("diagnose", str(tmp_path / "calm.pcap"), "--exit-code")[0] == 0
    assert tcplab("diagnose", str(CAPTURES / "dead_peer.pcap"))[0] == 0
    assert tcplab("diagnose", str(CAPTURES / "dead_peer.pcap"), "--exit-code")[0] == 1


def test_a_report_is_written_and_written_again(tcplab, wrong, tmp_path):
    capture = str(CAPTURES / "case_6.pcap")
    for name, begins in (("x.html", "<!doctype html>"), ("x.md", "# ")):
        page = tmp_path / name
        for options in ([], ["--redact", "--shift-time"]):  # the second time it is its own
            code, out, err = tcplab("diagnose", capture, "--report", str(page), *options)
            assert (code, err) == (0, "") and "137 connections" in out
        text = page.read_text("utf-8").removeprefix("<!-- drawn by tcplab -->\n")
        assert text.startswith(begins) and "10.0.0" not in text and "case_6" not in text
        page.write_text("notes of mine")
        assert "tcplab did not write it" in wrong("diagnose", capture, "--report", str(page))
        assert tcplab("diagnose", capture, "--report", str(page), "--force")[0] == 0
        assert hashlib.sha256(Path(capture).read_bytes()).hexdigest() in page.read_text("utf-8")


def test_a_report_that_can_not_be(wrong, tmp_path):
    capture, page = str(CAPTURES / "case_6.pcap"), str(tmp_path / "x.html")
    assert wrong("diagnose", capture, "--redact") == "--redact is about a report: give --report FILE, too."
    assert "--shift-time is about a report" in wrong("diagnose", capture, "--shift-time")
    assert "ends in .html or .md" in wrong("diagnose", capture, "--report", str(tmp_path / "x.pdf"))
    assert "is given twice, so there is no other end" in wrong("diagnose", capture, capture, "--report", page)
    assert "and here are 3" in wrong("diagnose", capture, "a.pcap", "b.pcap", "--report", page)
    assert not (tmp_path / "x.html").exists()


def test_only_a_capture_of_its_own_is_replaced(tcplab, wrong, tmp_path):
    mine = tmp_path / "keepalive.pcap"
    mine.write_bytes(b"of another program")
    assert "tcplab did not write it" in wrong("run", "keepalive", "--pcap", str(mine))
    assert "tcplab did not write it" in wrong("record", "keepalive", "--into", str(tmp_path))
    assert mine.read_bytes() == b"of another program"
    for options in (["--force"], []):  # the second time it is its own
        assert tcplab("run", "keepalive", "--pcap", str(mine), *options)[0] == 0
    assert len(read_capture(mine)) > 10


@pytest.mark.parametrize("beside", ["keepalive.json", "keepalive.run.json"])
def test_what_stands_where_a_recording_goes_is_not_replaced(wrong, tmp_path, beside):
    (tmp_path / beside).write_text("notes of mine")
    assert f"{beside} is there already" in wrong("record", "keepalive", "--into", str(tmp_path))
    assert (tmp_path / beside).read_text() == "notes of mine"


def test_a_record_of_claims_replaces_nothing_else(tcplab, wrong, tmp_path):
    mine = tmp_path / "claims.json"
    mine.write_text("notes of mine")
    assert "tcplab did not write it" in wrong("claims", "--into", str(mine))
    assert mine.read_text() == "notes of mine"
    mine.unlink()
    for _ in range(2):  # the second time it is its own
        tcplab("claims", "--into", str(mine))
        assert len(json.loads(mine.read_text())["observations"]) > 10


def test_a_run_without_end_is_stopped_and_names_its_limit(wrong, monkeypatch):
    monkeypatch.setattr("tcplab.bench.model.MOST_EVENTS", 20_000)
    says = wrong("run", "stale_reject", "--set", "watch_s=86400")
    assert says.startswith(
        "stale_reject was stopped after 20,000 events, the most that one run may have, at "
    )


def test_a_number_of_four_hundred_digits(wrong):
    says = wrong("run", "keepalive", "--set", f"idle_s={'7' * 400}")
    assert says == "idle_s = about 10^400 is out of range: 0 (off) to 32767 s."


@pytest.mark.parametrize(
    "words", ["run keepalive", "run keepalive --json", "list --json", "--help", "--version"]
)
@pytest.mark.parametrize(
    ("where", "says"),
    [
        (">&-", "standard output is closed: there is nowhere to print."),
        ("> /dev/full", "standard output can't be written: No space left on device."),
    ],
)
def test_nowhere_to_print(words, where, says):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m tcplab {words} {where}"], stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (2, f"tcplab: {says}\n")


def test_lines_fit_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.main(["diagnose", str(CAPTURES / "dead_peer.pcap")]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


@pytest.fixture
def class_of_two(tmp_path, monkeypatch):
    """Ben's file is where the notebooks are, Ada has handed hers in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    (tmp_path / "ben" / "notebooks").mkdir(parents=True)
    check = {"at": "2026-11-29T12:00:00.000000+00:00", "did": "check", "answer": "2 h", "outcome": "right"}
    lesson = {"began": "", "questions": {"power_cut": [check]}, "explorers": {}}
    ben = {"tcplab": 1, "lessons": {"keepalive": lesson, "quiz_before": lesson, "unknown": lesson}}
    Path("ben/notebooks/progress.json").write_text(json.dumps(ben))
    Path("ada.json").write_text('{"tcplab": 1, "learner": "Ada\\u001b[2J", "lessons": {}}')
    yield ["ben/notebooks/progress.json", "ada.json"]
    monkeypatch.undo()
    time.tzset()


def test_a_class_s_progress_in_one_table(tcplab, class_of_two):
    code, out, err = tcplab("progress", *class_of_two)
    assert (code, err) == (0, "") and out.splitlines() == [
        "learner     lesson        answered  right at first  hints  last worked at",
        "ben         03 keepalive  1 of 5    1               0      2026-11-29 12:00",
        "ben         test before   1 of 15   1               0      2026-11-29 12:00",
        r"Ada\x1b[2J  nothing yet",
    ]


def test_progress_as_json_and_where_it_looks(json_of, wrong, class_of_two, monkeypatch):
    assert wrong("progress") == "no progress.json here: answer a question in a lesson, or name the files."
    for folder in ("ben", "notebooks"):
        monkeypatch.chdir(folder)
        (learner,) = json_of("progress")["learners"]
        assert learner["learner"] == "ben"
        assert learner["lessons"][0] == {
            "lesson": "keepalive", "answered": 1, "of": 5, "right_at_first": 1, "hints": 0,
            "last": "2026-11-29T12:00:00.000000+00:00",
        }  # fmt: skip


def test_a_broken_progress_does_not_hide_the_others(tcplab, wrong, class_of_two):
    Path("carl.json").write_text("{")
    sentence = "carl.json is not a progress.json of tcplab, or it is damaged."
    assert wrong("progress", "carl.json") == sentence
    assert "gone.json can't be read: No such file" in wrong("progress", "gone.json")
    code, out, err = tcplab("progress", "carl.json", *class_of_two)
    assert (code, err) == (2, f"tcplab: {sentence}\n") and "03 keepalive" in out


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash, which is not installed")
def test_a_shell_completes_commands(tcplab):
    _, script, _ = tcplab("completion", "bash")
    ask = "COMP_WORDS=(tcplab dia); COMP_CWORD=1; _shtab_tcplab; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True)
    assert done.stdout.split() == ["diagnose"], done.stderr


def test_a_reader_who_has_enough_is_no_error():
    process = program("list", "--json")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def test_a_terminal_without_the_signs_gets_others():
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out, err = program("run", "keepalive", "--quick", env=plain).communicate()
    assert err == "" and out.isascii()
    assert "client --> server  SYN" in out and "client --x server  keepalive probe 1" in out


def test_the_installed_command_is_this_one():
    command = Path(sys.executable).with_name("tcplab.exe" if os.name == "nt" else "tcplab")
    done = subprocess.run([command, "run", "nothing"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tcplab: no experiment 'nothing'")


def test_claims_are_shown_with_what_kernels_say(tcplab):
    code, printed, _ = tcplab("claims")
    assert code == 0
    lines = printed.splitlines()
    assert lines[0].startswith("claim ") and "From the source, not run:" in lines
    assert any("syn_linear_timeouts" in line for line in lines)


def test_claims_of_a_kernel_that_is_not_to_be_had(tcplab):
    code, _, error = tcplab("claims", "--run", "2.4")
    assert code == 2 and error.startswith("tcplab: ") and "2.4" in error


def test_symptom_answers_a_message_and_a_log(json_of, tcplab, monkeypatch):
    found = json_of("symptom", "Error 99 connecting to 10.0.0.2:6379. Cannot assign requested address.")
    assert found[0]["lesson"] == "out_of_ports" and found[0]["confidence"] >= 0.5
    assert set(found[0]) == {
        "lesson", "title", "phase", "says", "because", "confidence", "first_command", "source",
    }  # fmt: skip
    code, out, err = tcplab("symptom", "Cannot assign requested address")
    assert (code, err) == (0, "") and "lesson 10 out_of_ports" in out
    log = b"2026-11-30 02:11:10 FATAL:  sorry, too many clients already\n\xff\nall is well\n" * 2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(log)))
    (entry,) = json_of("symptom", "-")
    assert (entry["count"], entry["first"]) == (2, "2026-11-30 02:11:10")
    assert entry["answers"][0]["lesson"] == "not_tcp"


def test_console_says_what_a_paste_means(json_of, tcplab, tmp_path, monkeypatch):
    paste = tmp_path / "ss.txt"
    paste.write_text("LISTEN 129 128 0.0.0.0:5432 0.0.0.0:*\n", "utf-8")
    (found,) = json_of("console", str(paste))
    assert list(found) == ["code", "says", "evidence", "lesson", "fix"]
    assert (found["code"], found["lesson"]) == ("listen_queue_full", "ghost_connections")
    assert found["evidence"][0]["line"] == 1
    more = io.BytesIO(paste.read_bytes() + b"something else\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(more))
    code, out, _ = tcplab("console", "-")
    assert (
        code == 0 and out.startswith("1. Listen queue full") and "not understood (2: something else)" in out
    )


@pytest.mark.parametrize(
    ("content", "says"), [("", "nothing to read"), ("no console at all\n", "None of 1 line")]
)
def test_console_refuses_what_it_does_not_understand(tcplab, tmp_path, content, says):
    paste = tmp_path / "paste.txt"
    paste.write_text(content, "utf-8")
    code, out, err = tcplab("console", str(paste))
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1
    code, _, err = tcplab("console", str(tmp_path / "absent"))
    assert code == 2 and "can't be read: No such file" in err
