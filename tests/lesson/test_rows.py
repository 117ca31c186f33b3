"""Tables of a lesson: sentences in rows, and results of several witnesses side by side."""

import pytest

from tcplab.lesson import as_table, side_by_side
from tcplab.lesson.tables import cell_text


def test_a_table_reads_as_text_and_as_html():
    told = as_table(["who", "hears"], [["the client", "`EPIPE` & **nothing**"]])
    assert repr(told) == "who  hears\nthe client  `EPIPE` & **nothing**"
    assert "<code>EPIPE</code> &amp; <b>nothing</b>" in told._repr_html_()
    assert told._repr_html_().count("<th") - 1 == told._repr_html_().count("<td") == 2


def test_results_stand_beside_each_other_under_their_witness():
    model = {"probe_times_s": [5.0, 6.0], "detected_after_s": 8.0, "error": "ETIMEDOUT"}
    linux = {"probe_times_s": [5.151, 6.244], "detected_after_s": 8.27, "error": "ETIMEDOUT"}
    rows = {"probes": "probe_times_s", "gives up after": "detected_after_s", "with": "error"}
    assert repr(side_by_side({"model": model, "Linux": linux}, rows)).splitlines() == [
        "  model  Linux",
        "probes  5.0 s, 6.0 s  5.2 s, 6.2 s",
        "gives up after  8.0 s  8.3 s",
        "with  ETIMEDOUT  ETIMEDOUT",
    ]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("detected_after_s", None, "never"),
        ("error", None, "none"),
        ("probe_times_s", [], "none"),
        ("bytes_delivered", 100_000, "100,000"),
        ("segments", 10, "10"),
        ("alive", True, "yes"),
        ("alive", False, "no"),
        ("first_fin", "client", "client"),
        ("stalled_s", 0, "0.0 s"),
    ],
)
def test_a_result_in_words(name, value, says):
    assert cell_text(name, value) == says


def test_a_result_that_is_not_there_is_no_empty_cell():
    with pytest.raises(KeyError, match="segmants"):
        side_by_side({"model": {"segments": 10}}, {"segments": "segmants"})
