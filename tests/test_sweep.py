"""Sweeps: every point of a grid, in its order, whoever does the work."""

import io
import pickle
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import ProcessPoolExecutor

import numpy as np
import pandas as pd
import pytest

import tcplab
from tcplab import sweep as face
from tcplab.core.knobs import ParameterError
from tcplab.sweep import MOST_POINTS, sweep

#: The module: the package's attribute of this name is the function.
SWEEP = sys.modules[sweep.__module__]

GRID = {"idle_s": [60, 300, 600], "interval_s": [10, 75]}
#: The rule that the whole lesson is about: idle + interval × probes.
DETECTED = [idle + 9 * interval for idle in GRID["idle_s"] for interval in GRID["interval_s"]]


def test_every_combination_has_a_row_in_the_grids_order():
    table = sweep("keepalive", GRID)
    assert list(zip(table.idle_s, table.interval_s, strict=True)) == [
        (idle, interval) for idle in GRID["idle_s"] for interval in GRID["interval_s"]
    ]
    assert table.detected_after_s.tolist() == DETECTED
    assert face is sweep


def test_the_table_says_what_was_swept():
    table = sweep(tcplab.Keepalive(probes=3), GRID)
    assert table.attrs["experiment"] == "keepalive"
    assert table.attrs["grid"] == ["idle_s", "interval_s"]
    assert table.attrs["parameters"]["probes"] == 3 and "idle_s" not in table.attrs["parameters"]
    assert table.detected_after_s.tolist() == [idle + 3 * i for idle in (60, 300, 600) for i in (10, 75)]


def test_a_study_and_numpys_numbers_do_too():
    table = sweep(tcplab.PortChurn, {"rate_per_s": np.array([400, 600]), "ports": np.array([28232])})
    assert table.refused.eq(0).tolist() == [True, False]
    assert all(type(value) is float for value in table.rate_per_s.tolist())


def test_a_result_with_a_parameters_name_stands_beside_it():
    table = sweep("rst_in_window", {"window": [65536], "offset": [0, 1]})
    assert {"window", "outcome.window", "verdict"} <= set(table.columns)
    assert table.verdict.tolist() == ["accepted", "challenged"]


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_what_comes_out_does_not_depend_on_the_executor(kind):
    grid = {"keepalive_idle_s": range(60, 660, 60), "quiet_s": [400, 600], "firewall_idle_s": [300, 350]}
    alone = sweep("idle_firewall", grid)
    with kind(2) as executor:
        pd.testing.assert_frame_equal(sweep("idle_firewall", grid, executor), alone)
        assert executor.submit(int).result() == 0  # still ours


def test_what_the_first_second_does_not_do_is_shared_out(monkeypatch):
    alone = sweep("keepalive", GRID)
    monkeypatch.setattr(SWEEP, "_ALONE_S", 0)
    monkeypatch.setattr(SWEEP, "_processes", lambda: ThreadPoolExecutor(2))
    pd.testing.assert_frame_equal(sweep("keepalive", GRID), alone)


def test_pieces_that_come_back_in_another_order_are_put_in_place():
    class Backwards(ThreadPoolExecutor):
        """The first piece is done last."""

        def __init__(self):
            super().__init__(1)
            self.held = []

        def submit(self, function, /, *arguments):
            future = Future()
            self.held.append((future, function, arguments))
            if len(self.held) == 6:
                for future_, function_, arguments_ in reversed(self.held):
                    future_.set_result(function_(*arguments_))
            return future

    assert sweep("keepalive", GRID, Backwards()).detected_after_s.tolist() == DETECTED


def test_a_dask_cluster_of_two_workers_gives_the_same():
    distributed = pytest.importorskip("distributed")
    alone = sweep("keepalive", GRID)
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert len(client.scheduler_info()["workers"]) == 2
        pd.testing.assert_frame_equal(sweep("keepalive", GRID, client.get_executor()), alone)


def test_progress_is_told_up_to_the_last_point():
    told = []
    with ThreadPoolExecutor(2) as executor:
        sweep("keepalive", GRID, executor, lambda done, of: told.append((done, of)))
    assert [of for _, of in told] == [6] * len(told)
    assert sorted(told) == told and told[-1] == (6, 6)


def test_a_long_sweep_shows_its_progress_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(SWEEP, "_PATIENCE_S", 0)
    sweep("keepalive", GRID)
    assert terminal.getvalue().endswith("6 of 6 runs done \n")


def test_a_failure_elsewhere_is_not_swallowed():
    class Broken(ThreadPoolExecutor):
        def submit(self, function, /, *arguments):
            return super().submit(lambda: 1 / 0)

    with Broken(1) as executor, pytest.raises(ZeroDivisionError):
        sweep("keepalive", GRID, executor)


@pytest.mark.parametrize(
    ("story", "grid", "says"),
    [
        ("keepalive", {}, "the grid is empty"),
        ("keepalive", {"idle_s": []}, "idle_s has no values"),
        ("keepalive", {"idle_s": 60}, "idle_s = 60 is not a list of values"),
        ("keepalive", {"peer": "offline"}, "peer = 'offline' is not a list"),
        ("keepalive", {"idle": [60]}, "idle"),
        ("keepalive", {"idle_s": [60, -1]}, "idle_s = -1 is out of range"),
        ("keepaliev", {"idle_s": [60]}, "did you mean keepalive?"),
        ("keepalive", {"idle_s": range(1000), "interval_s": range(1000)}, f"at most {MOST_POINTS:,}"),
    ],
)
def test_what_can_not_be_used_is_said_before_anything_runs(monkeypatch, story, grid, says):
    monkeypatch.setattr(SWEEP, "run", lambda story: pytest.fail("it ran"))
    with pytest.raises(ParameterError, match=says.replace("?", r"\?")):
        sweep(story, grid)


def test_without_pandas_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # as in a browser's Python
    with pytest.raises(ParameterError, match="sweep needs pandas"):
        sweep("keepalive", GRID)


def test_every_story_can_go_to_another_process():
    from tcplab.registry import STORIES

    for kind in STORIES.values():
        story = kind.from_values(kind.quick)
        assert pickle.loads(pickle.dumps(story)) == story
