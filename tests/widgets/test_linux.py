"""A run on Linux over the model's: the tab shows it only with the values that it was made with."""

import threading
import time
from dataclasses import replace
from html import unescape

import pytest

from bench.sandboxes import need_kernel
from inside import button_of, open_tab, text_in
from tcplab import Keepalive, agreement, bench, both, recording, versions
from tcplab.bench import kernels as bench_kernels
from tcplab.bench import run as really_run
from tcplab.bench import sandbox as sandboxes
from tcplab.bench.agreement import in_time
from tcplab.bench.kernels import debian
from tcplab.bench.sandbox import BenchError, Cancelled
from tcplab.capture import CaptureError
from tcplab.capture.recordings import LIBRARY
from tcplab.core.knobs import ParameterError
from tcplab.experiments import EXPERIMENTS
from tcplab.lesson import after, ask
from tcplab.pictures.timeline import read_timeline
from tcplab.widgets import linux as on_linux
from tcplab.widgets.explorer import explore

TAB = "On real Linux"
KERNELS = [("Linux 6.1.192, virtual time", "6.1"), ("Linux 7.3.4, virtual time", "7.3")]
RUN, CANCEL, BACK = "Run it on this Linux now", "Cancel", "Use the recording's values"


@pytest.fixture
def linux(monkeypatch):
    """Stands in for this machine: a run waits until it is let go, and then gives `answer`."""

    class Linux:
        answer = None
        go = threading.Event()
        asked = threading.Event()

        def run(self, experiment, where="model", progress=None, *, tell=None, cancelled=None, **more):
            if where == "model":
                return really_run(experiment, **more)
            if tell:
                tell("Linux 6.1.192: 0 of 1 run; boots")
            else:
                progress(1.0, 7)
            self.asked.set()
            deadline = time.monotonic() + 20
            while not self.go.wait(0.02) and not (cancelled and cancelled()):
                assert time.monotonic() < deadline
            if cancelled() if cancelled else more["sandbox"].cancelled:
                raise Cancelled("the run was cancelled.")
            if isinstance(self.answer, Exception):
                raise self.answer
            if tell:
                progress(1.0, 7)
            trace = self.answer or really_run(experiment)
            return replace(trace, bench=where, linux="6.1.192" if tell else "6.18.44")

    class Sandbox:
        cancelled = False

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def cancel(self):
            self.cancelled = True
            here.go.set()

    here = Linux()
    here.go.clear()
    here.asked.clear()
    monkeypatch.setattr(bench, "run", here.run)
    monkeypatch.setattr(sandboxes, "Sandbox", Sandbox)
    monkeypatch.setattr(on_linux, "why_not", lambda: None)
    monkeypatch.setattr(on_linux, "other_kernels", lambda: (KERNELS, None))
    return here


def panel(explorer):
    return explorer.panels[TAB]


def wait_for(tab):
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and "_run" in str(getattr(thread, "_target", "")):
            thread.join(20)
    return text_in(tab)


def press(tab, name):
    button = button_of(tab, name)
    assert not button.disabled
    button.click()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_recording_stands_there_at_its_own_values_and_only_there(name, linux):
    kind = EXPERIMENTS[name]
    explorer = explore(kind, latency_ms=6)
    tab = open_tab(explorer, TAB)
    assert "No run on Linux with these values yet." in text_in(tab)
    assert panel(explorer).timeline.frame == ""
    press(tab, BACK)
    assert explorer.values == kind.from_values(kind.quick).values()
    said = text_in(tab)
    assert f"Recorded on Linux {recording(name).linux}" in said and "does what the model says" in said
    assert panel(explorer).timeline.frame and button_of(tab, BACK).layout.display == "none"
    explorer.set(latency_ms=7)
    assert "No run on Linux with these values yet." in text_in(tab)
    assert "does what the model says" not in text_in(tab) and panel(explorer).timeline.frame == ""


def test_another_release_in_the_model_is_told():
    explorer = explore(EXPERIMENTS["keepalive"], **recording("keepalive").parameters)
    tab = open_tab(explorer, TAB)
    explorer.set(linux="4.18")
    said = "The model above follows the rules of Linux 4.18; here it follows those of Linux 6.18"
    assert said in text_in(tab)


def test_a_run_shows_how_far_it_is_and_then_the_agreement(linux):
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    assert "A run takes about 5 s in real time" in text_in(tab)
    press(tab, RUN)
    assert linux.asked.wait(20)
    assert "1 of 5 s, 7 segments" in text_in(tab) and button_of(tab, RUN).disabled
    linux.go.set()
    said = wait_for(tab)
    assert "Run just now on Linux 6.18.44" in said and "does what the model says" in said
    assert panel(explorer).timeline.frame and not button_of(tab, RUN).disabled


def test_a_run_is_never_shown_with_other_values(linux):
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    press(tab, RUN)
    assert linux.asked.wait(20)
    explorer.set(idle_s=4)
    linux.go.set()
    assert "it had the values that were set before" in wait_for(tab)
    assert panel(explorer).timeline.frame == ""
    explorer.set(idle_s=3)
    assert "Run just now on Linux" in text_in(tab) and panel(explorer).timeline.frame


def test_a_run_that_differs_says_what_differs_first(linux):
    linux.answer = really_run(EXPERIMENTS["keepalive"](idle_s=3, interval_s=1, probes=3))
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    press(tab, RUN)
    linux.go.set()
    said = wait_for(tab)
    assert "Linux 6.18.44 and the model differ" in said and "the model says [3.0, 4.0]" in said
    assert "<td>keepalive seq 40</td>" in said and "✗" in said


def test_cancelled_nothing_is_left_and_it_can_run_again(linux):
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    press(tab, RUN)
    assert linux.asked.wait(20)
    press(tab, CANCEL)
    assert "Cancelled: the run was discarded." in wait_for(tab)
    assert panel(explorer).timeline.frame == "" and not button_of(tab, RUN).disabled
    press(tab, RUN)
    assert "Run just now" in wait_for(tab)


def test_what_goes_wrong_is_one_sentence(linux):
    linux.answer = BenchError("this machine is too busy to keep to the latency of the wire; try again later.")
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    press(tab, RUN)
    linux.go.set()
    assert "No run: this machine is too busy" in wait_for(tab)


def test_where_linux_cannot_be_had_it_says_why(monkeypatch):
    monkeypatch.setattr(on_linux, "why_not", lambda: "it needs Linux, and this is darwin.")
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    assert "A run is not possible here: it needs Linux, and this is darwin." in text_in(tab)
    assert button_of(tab, RUN).disabled
    press(tab, BACK)
    assert "does what the model says" in text_in(tab)


# -- another kernel, in virtual time ---------------------------------------------------------------


def test_this_machines_linux_comes_first_and_a_kernels_run_is_kept_beside_the_model(linux, monkeypatch):
    monkeypatch.setattr(on_linux, "is_fetched", lambda kernel: True)
    explorer = explore(EXPERIMENTS["keepalive"])
    tab = open_tab(explorer, TAB)
    kernel = panel(explorer).kernel
    assert kernel.value == "" and kernel.layout.display == ""
    assert list(kernel.options) == [("this machine's Linux", ""), *KERNELS]
    kernel.value = "6.1"
    said = text_in(tab)
    assert "No run on Linux 6.1.192 with these values yet. This kernel boots in QEMU and" in said
    assert "runs 2 h 11 min 15 s of virtual time in seconds." in said
    assert button_of(tab, BACK).layout.display == "none"
    linux.go.set()
    press(tab, "Run it on Linux 6.1 now")
    said = wait_for(tab)
    assert "Run just now on Linux 6.1.192, in virtual time." in said and "does what the model says" in said
    assert ">Linux 6.1.192, virtual time, s</th>" in said
    assert "The model above follows the rules of Linux 6.18; here it follows those of Linux 6.1.192" in said
    assert panel(explorer).timeline.frame
    monkeypatch.setattr(on_linux, "is_fetched", lambda kernel: False)
    kernel.value = "7.3"
    assert "This kernel is downloaded first. It boots in QEMU" in text_in(tab)
    for other in ("7.3", ""):
        kernel.value = other
        assert "No run on Linux" in text_in(tab) and panel(explorer).timeline.frame == ""
    kernel.value = "6.1"
    assert "Run just now on Linux 6.1.192" in text_in(tab) and panel(explorer).timeline.frame


def test_a_kernel_that_boots_says_so_and_can_be_cancelled(linux):
    explorer = explore(EXPERIMENTS["keepalive"])
    tab = open_tab(explorer, TAB)
    panel(explorer).kernel.value = "6.1"
    press(tab, "Run it on Linux 6.1 now")
    assert linux.asked.wait(20)
    assert "Linux 6.1.192: 0 of 1 run; boots" in text_in(tab)
    panel(explorer).kernel.value = ""
    assert button_of(tab, RUN).disabled  # one run at a time
    press(tab, CANCEL)
    assert "Cancelled: the run was discarded." in wait_for(tab)


def test_a_run_that_ends_while_another_linux_is_chosen_is_kept_for_its_own(linux):
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    panel(explorer).kernel.value = "6.1"
    press(tab, "Run it on Linux 6.1 now")
    assert linux.asked.wait(20)
    panel(explorer).kernel.value = ""
    linux.go.set()
    assert "it was on the kernel that was selected before" in wait_for(tab)
    assert panel(explorer).timeline.frame == ""
    panel(explorer).kernel.value = "6.1"
    assert "Run just now on Linux 6.1.192" in text_in(tab)


def test_a_kernel_can_run_where_this_machines_linux_can_not(linux, monkeypatch):
    monkeypatch.setattr(on_linux, "why_not", lambda: "user namespaces are switched off.")
    explorer = explore(EXPERIMENTS["keepalive"])
    tab = open_tab(explorer, TAB)
    assert button_of(tab, RUN).disabled
    panel(explorer).kernel.value = "6.1"
    assert not button_of(tab, "Run it on Linux 6.1 now").disabled


def test_without_other_kernels_there_is_no_choice_and_one_sentence(linux, monkeypatch):
    said = "qemu-system-x86_64 is not installed: apt install --no-install-recommends qemu-system-x86."
    monkeypatch.setattr(on_linux, "other_kernels", lambda: ([], said))
    explorer = explore(EXPERIMENTS["keepalive"], idle_s=3, interval_s=1, probes=2)
    tab = open_tab(explorer, TAB)
    assert panel(explorer).kernel.layout.display == "none"
    assert f"Other kernels, in virtual time, can't run here: {said}" in unescape(text_in(tab))


def test_which_kernels_are_offered(monkeypatch):
    one, other, *_ = debian.kernels().values()
    there = debian.Unpacked(one.folder, "5.10.1", False, (), ())
    monkeypatch.setattr(bench_kernels, "kernels", lambda: {one.name: one, other.name: other})
    monkeypatch.setattr(bench_kernels, "unpacked", lambda kernel: there if kernel is one else None)
    monkeypatch.setattr(bench_kernels, "why_no_machine", lambda: None)
    monkeypatch.setattr(bench_kernels, "why_no_fetch", lambda: None)
    first = ("Linux 5.10.1, virtual time", one.name)
    later = (f"Linux {other.version}, virtual time", other.name)
    assert on_linux.other_kernels() == ([first, later], None)
    monkeypatch.setattr(bench_kernels, "why_no_fetch", lambda: "apt-get is not here.")
    assert on_linux.other_kernels() == ([first], "they can't be fetched here: apt-get is not here.")
    monkeypatch.setattr(bench_kernels, "why_no_machine", lambda: "no QEMU.")
    assert on_linux.other_kernels() == ([], "no QEMU.")


def test_a_click_boots_a_kernel_and_it_does_what_the_model_says():
    version = need_kernel("6.1")
    explorer = explore(EXPERIMENTS["keepalive"])
    tab = open_tab(explorer, TAB)
    panel(explorer).kernel.value = "6.1"
    press(tab, "Run it on Linux 6.1 now")
    (running,) = (t for t in threading.enumerate() if "_run" in str(getattr(t, "_target", "")))
    running.join(300)
    said = text_in(tab)
    assert f"Run just now on Linux {version}, in virtual time." in said and "does what the model says" in said
    assert panel(explorer).timeline.frame


def test_two_hours_are_not_started_by_a_click(linux):
    explorer = explore(EXPERIMENTS["keepalive"])
    tab = open_tab(explorer, TAB)
    assert "It would take 2 h 11 min 15 s in real time" in text_in(tab) and button_of(tab, RUN).disabled


# -- both in one picture ---------------------------------------------------------------------------

RECORDED = sorted(path.name.removesuffix(".run.json") for path in LIBRARY.glob("*.run.json"))


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_run_agrees_and_is_drawn_beside_the_model(name):
    linux = recording(name)
    shown = both(EXPERIMENTS[linux.experiment].from_values(linux.parameters), linux)
    agreed = agreement(linux)
    assert shown.sentence == agreed.sentence == shown.picture.sentence
    assert shown.sentence.startswith(f"Linux {linux.linux} does what the model says: all {agreed.packets} ")
    table = text_in(shown).partition("<details>")[2]
    called = f"Linux {linux.linux}{', virtual time' * linux.is_virtual}"
    assert f">{called}, s</th>" in table
    assert table.count("<tr>") == agreed.packets + 1 and "✗" not in table
    now, (kept,) = shown.picture.now, shown.picture.kept
    assert (now.bench, kept.bench, kept.lanes) == ("model", linux.bench, ())
    drawing = shown.picture.drawing()
    assert drawing.overlaps() == [] and drawing.height <= 420 and drawing.label == shown.sentence
    assert "<svg" in shown._repr_html_()
    if now.answer:
        assert kept.answer.text.startswith(f"{called}: ")
        assert (now.answer.to_s is None) == (kept.answer.to_s is None)
        if now.answer.to_s is not None:
            assert in_time(now.answer.to_s, kept.answer.to_s)


@pytest.mark.parametrize(
    ("claim", "says", "answers"),
    [
        (
            "syn_linear_timeouts",
            "This changed in Linux 6.5. Measured (connect() without an answer, four SYN retries): gave up "
            "after: 31.5 s on 5.10.262 and 6.1.192; ",
            ["ETIMEDOUT after 31.", "ETIMEDOUT after 35.", "ETIMEDOUT after 35."],
        ),
        (
            "tw_reuse_clock_early",
            "This changed in Linux 4.19; again in Linux 6.14.",
            ["connect() takes a port again", "connect() takes a port again", "EADDRNOTAVAIL"],
        ),
    ],
)
def test_versions_are_on_one_time_axis(claim, says, answers):
    shown = versions(claim)
    assert shown.sentence.startswith(says)
    kept = shown.picture.kept
    assert kept[0].lanes and not kept[-1].lanes  # only where a kernel has another rule
    assert all(words in each.answer.text for words, each in zip(answers, kept, strict=True))
    drawing = shown.picture.drawing()
    assert drawing.overlaps() == [] and drawing.height <= 420
    assert text_in(shown).count("does what the model says") == 3 and "<svg" in shown._repr_html_()


def test_versions_of_something_unknown_are_a_sentence():
    with pytest.raises(ParameterError, match=r"^there is no claim 'syn_linear' about versions of Linux: "):
        versions("syn_linear")
    with pytest.raises(CaptureError, match="no recorded run of 'rst_at_sack_edge' on several kernels"):
        versions("rst_at_sack_edge")


def test_other_parameters_are_a_difference_and_not_hidden():
    linux = recording("keepalive")
    shown = both(Keepalive(idle_s=4, interval_s=2, probes=5), linux)
    assert "and the model differ: 7 of 10 packets that matter agree" in shown.sentence
    assert text_in(shown).partition("<details>")[2].count("✗") == 2
    assert shown.picture.kept[0].lanes == read_timeline(linux).lanes
    assert "kept run" in shown.picture.svg()


def test_it_waits_for_a_prediction_and_then_says_its_sentence():
    question = ask("keepalive", "power_cut")
    linux = recording("keepalive")
    waiting = after(question, lambda: both(Keepalive.from_values(linux.parameters), linux))
    assert "Any guess" in repr(waiting)
    question.answer = "1"
    question.check()
    assert repr(waiting) == agreement(linux).sentence
