"""The sandbox: it starts fast, serves many runs, and leaves nothing behind, however it ends."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import linux_stories
from bench.sandboxes import ROOT, TESTS, gone, marked, need_sandbox, ordinary_python, patient_run
from tcplab.bench.sandbox import (
    BenchError,
    Cancelled,
    Refused,
    Sandbox,
    TooBusy,
    longest,
    refusal,
    run_on_linux,
    why_not,
)
from tcplab.bench.script import ScriptError
from tcplab.experiments import HandshakeAndClose, Keepalive

pytestmark = pytest.mark.linux

#: A child that runs one story after the other until somebody ends it; says when it begins.
RUNS_FOR_EVER = """
import tcplab
from tcplab.bench.sandbox import Sandbox
sandbox = Sandbox()
print("begins", flush=True)
while True:
    sandbox.run(tcplab.HandshakeAndClose())
"""


@pytest.fixture
def mark(monkeypatch):
    """A word in the environment of whatever this test starts; nothing with it outlives the test."""
    need_sandbox()
    word = uuid.uuid4().hex
    monkeypatch.setenv("TCPLAB_TEST", word)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(TESTS)]))
    yield word
    assert gone(word)


# --- a run ---


@pytest.mark.parametrize("refused", [False, True])
def test_a_proc_whose_sysctls_cannot_be_set_gives_way_to_the_machines_own(refused, mark, monkeypatch):
    """Linux before 6.11 refuses them in a /proc of the sandbox's own, as this one does a read-only one."""
    start = subprocess.Popen
    probe = "/proc/sys/kernel/ngroups_max" if refused else "/proc/sys/net/ipv4/tcp_retries2"
    first = f"from tcplab.bench import namespaces; namespaces._PROBE = {probe!r}; "

    def popen(command, **options):
        return start([*command[:-1], first + command[-1]], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with Sandbox() as sandbox:
        trace = patient_run(sandbox, linux_stories.WhichProc())
    assert linux_stories.WhichProc().outcome(trace) == {"own": str(not refused)}
    assert [p for p in trace.packets if p.segment.length] and not trace.warnings


def test_making_it_is_fast(mark):
    took = []
    for _ in range(4):
        began = time.monotonic()
        with Sandbox():
            took.append(time.monotonic() - began)
    assert min(took) < 0.6


def test_a_run_costs_little_beyond_its_waiting(mark):
    with Sandbox() as sandbox:
        took = []
        for _ in range(2):
            began = time.monotonic()
            trace = patient_run(sandbox, HandshakeAndClose())
            took.append(time.monotonic() - began - trace.end / 1e9)
    assert min(took) < 1


def test_it_serves_many_runs_and_goes_on_after_errors(mark):
    with Sandbox() as sandbox:
        first = sandbox.pid
        for _ in range(2):
            with pytest.raises(BenchError, match="by nothing"):
                sandbox.run(linux_stories.Wrong())
            assert patient_run(sandbox, linux_stories.Together()).packets
        assert sandbox.pid == first


def test_each_run_begins_afresh(mark):
    with Sandbox() as sandbox:
        traces = [patient_run(sandbox, linux_stories.Together()) for _ in range(2)]
    first, second = traces
    assert first.hosts == second.hosts
    for trace in traces:  # no socket of an earlier run, no count
        assert {s.remote.port or s.local.port for s in trace.sockets if s.host == "client"} == {5432}
        assert trace.counters_at(trace.end)["client"]["TcpActiveOpens"] == 1


def test_several_run_side_by_side_and_don_t_see_each_other(mark):
    with ThreadPoolExecutor(3) as pool:
        traces = list(pool.map(lambda _: run_patiently_alone(), range(3)))
    assert all(len(trace.packets) == 10 for trace in traces)
    assert len({trace.packets[0].segment.seq for trace in traces}) == 3


def run_patiently_alone():
    """One run in a sandbox of its own."""
    with Sandbox() as sandbox:
        return patient_run(sandbox, HandshakeAndClose())


def test_run_on_linux_makes_one_when_it_gets_none(mark):
    for _ in range(3):
        try:
            trace = run_on_linux(HandshakeAndClose())
            break
        except TooBusy:
            continue
    assert trace.bench == "linux" and not marked(mark)


def test_progress_tells_how_far_it_is(mark):
    calls = []
    with Sandbox() as sandbox:
        trace = patient_run(sandbox, HandshakeAndClose(), lambda *far: calls.append(far))
    assert len(calls) >= 3
    seconds = [far[0] for far in calls]
    assert seconds == sorted(seconds) and seconds[-1] <= trace.end / 1e9
    assert calls[-1][1] == len(trace.packets)


@dataclass(frozen=True)
class OfThisTest(linux_stories.Story):
    """A story that stands where the sandbox can't import it."""

    async def run(self, bench):
        raise AssertionError("never runs")


def test_a_story_that_can_t_be_imported_is_refused_in_a_sentence(mark, monkeypatch):
    monkeypatch.setattr(OfThisTest, "__module__", "a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", sys.modules[__name__])
    with Sandbox() as sandbox, pytest.raises(BenchError) as error:
        sandbox.run(OfThisTest())
    assert str(error.value).startswith("the sandbox can't load this experiment, it has to stand in a module")


def test_a_run_without_time_for_the_wire_says_so_and_not_something_else(mark):
    with Sandbox() as sandbox, pytest.raises(TooBusy, match=r"too busy.*\d+ ms late; try again"):
        sandbox.run(linux_stories.Greedy())


def test_a_script_s_own_mistake_stays_a_script_error(mark):
    with Sandbox() as sandbox:
        first = sandbox.pid
        with pytest.raises(ScriptError, match=r"listen\(5432\) failed: EADDRINUSE"):
            patient_run(sandbox, linux_stories.ListensTwice())
        assert sandbox.pid == first


# --- the end ---


def test_cancelled_from_another_thread(mark):
    sandbox = Sandbox()
    threading.Timer(0.6, sandbox.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        patient_run(sandbox, linux_stories.Patient())
    assert time.monotonic() - began < 3
    assert gone(mark)
    assert patient_run(sandbox, linux_stories.Together()).packets  # and it can be used again
    sandbox.close()


def test_a_run_that_takes_far_too_long_is_ended_in_one_sentence(mark):
    sandbox = Sandbox()
    began = time.monotonic()
    with pytest.raises(BenchError) as error:
        sandbox.run(linux_stories.Patient(), limit_s=1)
    assert time.monotonic() - began < 6
    said = "story was ended after 1 s on the Linux bench: it should have been over long before. Try again."
    assert str(error.value) == said
    assert not marked(mark)
    assert patient_run(sandbox, linux_stories.Together()).packets  # and it can be used again
    sandbox.close()


def test_how_long_a_run_may_take_follows_from_the_model():
    asked = []

    class Listens(Sandbox):
        def run(self, story, progress=None, limit_s=None):
            asked.append(limit_s)

    story = Keepalive(idle_s=60, interval_s=10, probes=6)
    run_on_linux(story, Listens())
    assert asked == [longest(story)]
    assert 3 * 120 + 60 < longest(story) < 3 * 130 + 60


def test_an_exception_in_here_ends_everything_inside(mark):
    def interrupted(seconds, segments):
        raise KeyboardInterrupt

    sandbox = Sandbox()
    with pytest.raises(KeyboardInterrupt):
        patient_run(sandbox, linux_stories.Patient(), interrupted)
    assert not marked(mark)


def test_closing_waits_until_everything_is_gone(mark):
    with Sandbox():
        assert len(marked(mark)) == 3
    assert not marked(mark)


def test_forgetting_it_ends_it(mark):
    sandbox = Sandbox()
    sandbox.start()
    assert marked(mark)
    del sandbox
    assert not marked(mark)


@pytest.mark.parametrize("which", range(3))
def test_the_death_of_any_process_inside_is_the_death_of_all(mark, which):
    sandbox = Sandbox()
    sandbox.start()
    killer = threading.Timer(0.3, lambda: os.kill(marked(mark)[which], signal.SIGKILL))
    killer.start()
    with pytest.raises(BenchError, match="the sandbox has ended unexpectedly"):
        patient_run(sandbox, linux_stories.Patient())
    assert gone(mark)
    assert patient_run(sandbox, linux_stories.Together()).packets  # the next run makes a new one
    sandbox.close()


def child(mark: str, place: Path) -> "subprocess.Popen[str]":
    """A Python of its own that runs stories for ever, with `place` for everything temporary."""
    environment = os.environ | {"TCPLAB_TEST": mark, "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", RUNS_FOR_EVER],
        env=environment,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_at_random_times_nothing_is_left(mark, tmp_path):
    chance = random.Random(7)
    moments = [chance.uniform(0, 1.3) for _ in range(20)]
    seen: set[str] = set()

    def kill_after(moment):
        word, place = uuid.uuid4().hex, tmp_path / f"{moment}"
        place.mkdir()
        process = child(word, place)
        assert process.stdout and process.stdout.readline() == "begins\n"
        time.sleep(moment)
        for number in marked(word):
            try:
                seen.add(os.readlink(f"/proc/{number}/ns/net"))
            except OSError:
                continue
        process.kill()
        process.communicate()
        return gone(word), list(place.iterdir())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(kill_after, moments)) == [(True, [])] * 20
    assert len(seen) > 2  # several of them were killed with namespaces open, however busy the machine
    # What a namespace is kept by, if not by a process: a mount.
    mounts = Path("/proc/self/mountinfo").read_text()
    assert not [name for name in seen if name in mounts]


def test_interrupted_with_ctrl_c_nothing_is_left(mark, tmp_path):
    process = child(mark, tmp_path)
    assert process.stdout and process.stdout.readline() == "begins\n"
    time.sleep(0.7)
    assert len(marked(mark)) == 4
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert gone(mark) and list(tmp_path.iterdir()) == []


# --- this machine's own network ---


ABOUT_THE_NETWORK = (
    ("ip", "-o", "address"),
    ("ip", "route", "show", "table", "all"),
    ("nft", "list", "ruleset"),
)


def of_this_machine() -> dict[str, object]:
    """Interfaces, addresses, routes, sysctls and firewall rules, as far as one may read them."""
    found: dict[str, object] = {
        "cards": sorted(os.listdir("/sys/class/net")),
        "own network": os.readlink("/proc/self/ns/net"),
    }
    readable = [path for path in Path("/proc/sys/net").rglob("*") if path.is_file()]
    for path in [*readable, *(Path("/proc/net", name) for name in ("route", "if_inet6"))]:
        try:
            found[str(path)] = path.read_text()
        except OSError:  # written only, or not there
            continue
    for command in ABOUT_THE_NETWORK:
        if program := shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            done = subprocess.run([program, *command[1:]], capture_output=True, text=True)
            found[" ".join(command)] = done.stdout
    return found


def test_this_machine_s_network_is_neither_changed_nor_used(mark):
    before = of_this_machine()
    with Sandbox() as sandbox:
        sandbox.start()
        during = []
        running = threading.Timer(0.4, lambda: during.append(of_this_machine()))
        running.start()
        patient_run(sandbox, linux_stories.Touches())
        running.join()
    assert during and during[0] == before
    assert of_this_machine() == before


# --- whoever runs it ---


def test_an_ordinary_user_can(mark):
    code = (
        "import tcplab, os\n"
        "from tcplab.bench.sandbox import TooBusy\n"
        "rights = next(l for l in open('/proc/self/status') if l.startswith('CapEff')).split()[1]\n"
        "for _ in range(4):\n"
        "    try:\n"
        "        print(int(rights, 16), tcplab.run(tcplab.FinOrRst(ending='reject'), 'linux').outcome)\n"
        "        break\n"
        "    except TooBusy: pass\n"
    )
    with ordinary_python() as (python, options):
        done = subprocess.run([*python, "-c", code], **options, capture_output=True, text=True)
    outcome = {"server_sends": "RST", "client_error": "ECONNREFUSED", "second_write_error": None}
    assert (done.stderr, done.stdout) == ("", f"0 {outcome}\n")


@pytest.mark.parametrize("kind", ["user", "net"])
def test_where_namespaces_are_switched_off_the_reason_is_one_sentence(mark, need, kind):
    inside = f"""
        echo 0 > /proc/sys/user/max_{kind}_namespaces
        exec {sys.executable} -c 'from tcplab.bench.sandbox import why_not; print(why_not())'
    """
    done = subprocess.run([need("unshare"), "-Ur", "sh", "-ec", inside], capture_output=True, text=True)
    whole = {"user": "user", "net": "network"}[kind]
    said = f"{whole} namespaces are switched off: user.max_{kind}_namespaces is 0; set it to a few hundred.\n"
    assert (done.stderr, done.stdout) == ("", said)


def test_where_proc_is_read_only_that_is_the_reason(need):
    inside = f"""
        mount --bind /proc /proc
        mount -o remount,bind,ro /proc
        exec {sys.executable} -c 'from tcplab.bench.sandbox import why_not; print(why_not())'
    """
    done = subprocess.run([need("unshare"), "-Urm", "sh", "-ec", inside], capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.startswith("/proc is read-only, as in a container: ")


@pytest.mark.parametrize(
    ("step", "number", "files", "says"),
    [
        ("unshare", errno.ENOSPC, {"sys/user/max_user_namespaces": "0"}, "max_user_namespaces is 0"),
        (
            "unshare",
            errno.EPERM,
            {"sys/kernel/unprivileged_userns_clone": "0"},
            "userns_clone=1",
        ),
        ("network", errno.EPERM, {"sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, "AppArmor"),
        ("unshare", errno.EPERM, {"self/status": "Name:\tpython3\nSeccomp:\t2\n"}, "seccomp"),
        ("unshare", errno.EINVAL, {}, "was built without"),
        ("network", errno.EOPNOTSUPP, {}, "veth"),
        ("settings", errno.EROFS, {}, "read-only"),
        ("map", errno.EROFS, {}, "read-only"),
        ("unshare", errno.ENOSPC, {"sys/user/max_net_namespaces": "0"}, "max_net_namespaces is 0"),
        ("unshare", errno.EUSERS, {}, "too many namespaces"),
        ("packets", errno.EPERM, {}, "opening a packet socket failed with EPERM (Operation not permitted)."),
    ],
)
def test_each_refusal_has_its_reason(step, number, files, says):
    reason = refusal(Refused(step, number), lambda name: files.get(name, ""))
    assert says in reason and reason.endswith(".") and "\n" not in reason


def test_elsewhere_the_reason_is_the_system(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert why_not.__wrapped__() == "it needs Linux, and this is darwin."
