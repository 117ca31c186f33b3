"""Rows of cells as HTML and as plain text."""

from tcplab.core.table import Cell, Markup, html_table, text_table


def test_every_text_is_escaped_and_markup_is_not():
    html = html_table(["<a>"], [["R&D"], [Markup("<b>x</b>")]], caption="1 < 2")
    assert html == (
        '<table class="tcplab-table"><caption>1 &lt; 2</caption>'
        '<thead><tr><th scope="col">&lt;a&gt;</th></tr></thead>'
        "<tbody><tr><td>R&amp;D</td></tr><tr><td><b>x</b></td></tr></tbody></table>"
    )


def test_rows_have_names_and_numbers_a_class():
    html = html_table(["", "bytes"], [["sent", "40"]], row_headings=True, numeric=[1], classes="")
    assert html == (
        '<table><thead><tr><td></td><th scope="col" class="n">bytes</th></tr></thead>'
        '<tbody><tr><th scope="row">sent</th><td class="n">40</td></tr></tbody></table>'
    )


def test_attributes_reach_table_headings_and_cells():
    html = html_table(
        ["a"], [["1"]], attributes='id="t"', heading_attributes='style="h"', cell_attributes='style="c"'
    )
    assert html == (
        '<table class="tcplab-table" id="t"><thead><tr><th scope="col" style="h">a</th></tr></thead>'
        '<tbody><tr><td style="c">1</td></tr></tbody></table>'
    )


def test_a_cell_has_a_tag_and_attributes_of_its_own():
    rows = [[Cell("idle", 'rowspan="2"'), Cell("5 s", 'class="wins"')], [Cell("why", tag="td")]]
    assert html_table([], rows, row_headings=True, classes="") == (
        '<table><tbody><tr><th scope="row" rowspan="2">idle</th><td class="wins">5 s</td></tr>'
        "<tr><td>why</td></tr></tbody></table>"
    )


def test_plain_text_is_aligned_and_a_cell_may_have_two_lines():
    lines = text_table(["state", "you hear\nafter"], [["idle", "7875 s"], ["query", "–"]], numeric=[1])
    assert lines == ["state  you hear", "          after", "idle     7875 s", "query         –"]
    assert text_table([], [["a", "b"], ["cc", ""]]) == ["a   b", "cc"]
