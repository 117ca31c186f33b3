"""A study as tables: nothing is lost, nothing is added, and a screen reader can read it."""

import pytest

from tcplab import explore, run
from tcplab.core.trace import Trace
from tcplab.pictures.tables import MOST_ROWS, curve_rows, study_tables
from tcplab.studies import STUDIES


@pytest.mark.parametrize("kind", STUDIES.values(), ids=STUDIES)
def test_what_is_counted_is_all_there(kind):
    trace = run(kind())
    head, rows = curve_rows(trace)
    assert len(rows) <= MOST_ROWS and rows[0][0] == "0"
    assert [row[1] for row in rows[:-1]] == [row[0] for row in rows[1:]]
    for name in {"requests", "errors", "opened", "refused", "writes_accepted"} & set(head):
        column = head.index(name)
        assert sum(int(row[column].replace(",", "")) for row in rows) == sum(trace.series[name])


def test_highest_and_lowest_are_kept():
    trace = run(STUDIES["port_churn"](rate_per_s=600))
    head, rows = curve_rows(trace)
    highest = [row[head.index("in_use_high")] for row in rows]
    assert f"{max(trace.series['in_use_high']):,}" == max(
        highest, key=lambda text: int(text.replace(",", ""))
    )
    assert "outages_s" not in head and "<caption>outages_s</caption>" in study_tables(trace)


@pytest.mark.parametrize("kind", STUDIES.values(), ids=STUDIES)
def test_the_explorer_has_them_as_a_tab(kind):
    explorer = explore(kind)
    panel = next(panel for panel in explorer._panels if panel.title == "Numbers")
    explorer._tabs.selected_index = explorer._panels.index(panel)
    for name in explorer.outcome:
        assert f">{name}<" in panel.widget.value
    before = panel.widget.value
    explorer.set(rate_per_s=explorer.values["rate_per_s"] / 2)
    assert panel.widget.value != before


def test_text_is_escaped():
    trace = Trace("pool", "model", outcome={"<b>x": "<i>"}, series={"t_s": [0.0], "<u>": [1]}, end=10**9)
    shown = study_tables(trace)
    assert not any(tag in shown for tag in ("<b>", "<i>", "<u>"))


def test_a_study_without_curves_still_has_its_outcome():
    assert "none" in study_tables(Trace("pool", "model", outcome={"recovered_after_s": None}))
