"""Segments and studies as tables: nothing is lost or added, and no text is HTML."""

from html.parser import HTMLParser

import pytest

from pictures.transcripts import MS, Story
from tcplab import explore, run
from tcplab.core.segment import ACK, PSH, RST
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.pictures.tables import MOST_ROWS, curve_rows, study_tables, trace_rows, trace_table
from tcplab.studies import STUDIES


class Cells(HTMLParser):
    """The table's rows of text, and the attributes of its headings."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.scopes, self._cell = [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = tag
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data


def lost_and_ignored():
    story = Story()
    t = story.open()
    story.say(t, "client", PSH | ACK, 1, 1, 40, fate="lost")
    story.say(t + 250 * MS, "client", PSH | ACK, 1, 1, 40, kind="retransmission")
    story.say(t + 260 * MS, "server", RST, 70000, kind="forged", verdict="ignored")
    return story.finish(t + 300 * MS)


def test_one_row_for_every_segment():
    made = trace_rows(lost_and_ignored())
    assert [row[0] for row in made] == ["1", "2", "3", "4", "5", "6"]
    assert made[0][1:9] == ("0.000000", "+0.001 s", "client → server", "SYN", "0", "", "0", "64240")
    assert made[3][1:] == ("0.003000", "", "client → server", "PSH, ACK", "1", "1", "40", "64240", "✗ lost")
    assert made[4][1] == "0.253000" and made[4][9] == "retransmission 1"
    assert made[5][4:7] == ("RST", "70000", "") and made[5][9] == "forged, → ignored"


def test_an_obeyed_reset_says_so():
    story = Story()
    t = story.open()
    story.say(t, "server", RST, 1, verdict="accepted")
    assert trace_rows(story.finish(t))[-1][9] == "RST accepted"


def test_html_has_the_same_cells_and_headings_with_scope():
    trace = lost_and_ignored()
    cells = Cells(trace_table(trace))
    head, *body = cells.rows
    assert [tuple(row) for row in body] == trace_rows(trace)
    assert len(head) == 10
    assert cells.scopes == ["col"] * 10 + ["row"] * 6


def test_names_are_text_and_not_html():
    story = Story()
    story.open()
    trace = story.finish()
    trace.packets[0].sender = "<img src=x onerror=alert(1)>"
    trace.packets[0].fate = "dropped_by:<b>box</b>"
    html = trace_table(trace)
    assert "<img" not in html and "<b>" not in html
    assert Cells(html).rows[1][3] == "<img src=x onerror=alert(1)> → server"


def test_no_segment_at_all():
    assert "Not one segment" in trace_table(Trace("nothing", "model"))


@pytest.mark.parametrize("kind", STUDIES.values(), ids=STUDIES)
def test_counts_of_a_study_add_up(kind):
    trace = run(kind())
    head, rows = curve_rows(trace)
    assert len(rows) <= MOST_ROWS and float(rows[0][0]) == -trace.watching_since / SECOND
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
    panel = explorer.panels["Numbers"]
    explorer.tabs.select("Numbers")
    for name in explorer.outcome:
        assert f">{name}<" in panel.widget.value
    before = panel.widget.value
    explorer.set(rate_per_s=explorer.values["rate_per_s"] / 2)
    assert panel.widget.value != before


def test_names_and_values_of_a_study_are_escaped():
    trace = Trace("pool", "model", outcome={"<b>x": "<i>"}, series={"t_s": [0.0], "<u>": [1]}, end=10**9)
    shown = study_tables(trace)
    assert not any(tag in shown for tag in ("<b>", "<i>", "<u>"))


def test_a_study_without_curves_still_has_its_outcome():
    assert "none" in study_tables(Trace("pool", "model", outcome={"recovered_after_s": None}))


def test_a_step_without_a_request_has_no_slowest_one():
    series = {"t_s": [float(t) for t in range(80)], "slowest_ms": [None] * 78 + [None, 3.5]}
    _, rows = curve_rows(Trace("pool", "model", series=series, end=80 * SECOND))
    assert [row[2] for row in rows] == ["–"] * 39 + ["3.5"]
