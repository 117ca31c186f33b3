"""The port map: cells, letters, patterns and words, for six ports and for 28,232."""

import re
from collections import Counter

import ipywidgets as widgets
import pytest

from pictures.drawn import named, plain, plotly_accepts
from tcplab import BindOrConnect, PortRange, TimeWait, explore, picture, recording, run
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.pictures.panels import growth
from tcplab.pictures.port_table import local_ports, occupancy
from tcplab.pictures.ports import (
    BY_BIND,
    MOST_CELLS,
    NO_CLIENT,
    STYLES,
    draw_ports,
)
from tcplab.pictures.theme import FONT_SIZE
from tcplab.widgets.show import PICTURES

WIDE = PortRange(first_port=32768, last_port=60999, connects=30)


def letters(drawn):
    return [re.sub("<[^>]+>", " ", text) for text in named(drawn, "letters")["text"]]


def captions(drawn):
    """All texts but those of the cells."""
    named_so = [trace for trace in drawn.data if trace["name"].startswith(("captions", "kept ports"))]
    return " | ".join(plain(text) for trace in named_so for text in trace["text"])


def boxes(drawn, name):
    """How many rectangles a trace has."""
    return sum(x is None for x in named(drawn, name)["x"])


def ports_words(*of):
    """The sentence beside a map."""
    trace, *at = of
    return draw_ports(trace, at=at[0] if at else None).sentence


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("ports_there", [1, 2, 6, 7, 60, 100])
def test_every_port_has_a_cell_with_its_number_state_and_seconds(ports_there, dark):
    trace = run(TimeWait(ports=ports_there))
    drawn = draw_ports(trace, dark=dark, kept=[run(TimeWait(ports=3))])
    assert plotly_accepts(drawn)
    said = letters(drawn)
    even = ports_there if ports_there in (1, 7) or ports_there % 2 == 0 else ports_there - 1
    assert len(said) == ports_there and even
    for port, text in enumerate(said, 60001):
        assert str(port) in text and "✗" in text
        if ports_there != 7 or port < 60007:
            assert re.search(r"(TIME_WAIT|T) +59\.\d s", text), text
    assert boxes(drawn, "state: TIME_WAIT") == (ports_there if ports_there != 7 else 6)


def test_what_may_be_taken_stands_in_a_thick_frame_with_a_mark():
    drawn = draw_ports(run(PortRange(connects=4)))
    assert sum("✓" in text for text in letters(drawn)) == boxes(drawn, "may be taken") == 3
    assert sum("✗" in text for text in letters(drawn)) == 3
    assert (
        named(drawn, "may be taken")["line"]["width"] > 2 * named(drawn, "may not be taken")["line"]["width"]
    )
    assert "client calls connect(10.0.0.2:5432): | ✓ 3 of 6 ports may be taken" in captions(drawn)


def test_no_two_states_look_alike_without_colour():
    assert len({(style.mark.pattern, style.letter) for style in STYLES.values()}) == len(STYLES)
    looks = {
        state: (
            named(draw_ports(run(TimeWait())), f"state: {state}").get("fillpattern", {}).get("shape"),
            style.letter,
        )
        for state, style in STYLES.items()
    }
    assert len(set(looks.values())) == len(STYLES)


def test_ports_that_were_bound_carry_a_mark_and_the_legend_says_what_it_means():
    drawn = draw_ports(run(BindOrConnect(held_by="bind0", then="connect")))
    assert all(BY_BIND in text for text in letters(drawn))
    assert f"{BY_BIND} taken by bind(): every connect() passes it over" in captions(drawn)
    assert BY_BIND not in captions(draw_ports(run(BindOrConnect())))


def test_hovering_says_who_holds_a_port_how_and_why_not():
    trace = run(BindOrConnect(held_by="connect_reuseaddr", then="bind_explicit"))
    first, second, *_ = named(draw_ports(trace), "ports")["hovertext"]
    assert first.startswith("<b>port 60001</b>: TIME_WAIT<br>10.0.0.1:60001 → 10.0.0.2:5432: TIME_WAIT, 58.")
    assert "(taken by connect(), SO_REUSEADDR)" in first
    assert "✗ may not be taken:" in first and "have to be set on both" in first.replace("<br>", " ")
    assert "asks for another port" in second


def test_a_wide_range_is_put_together_and_says_so():
    drawn = draw_ports(run(WIDE))
    hovers = named(drawn, "ports")["hovertext"]
    assert len(hovers) == 283 and "a cell stands for 100 ports" in captions(drawn)
    assert sum(int(text.split()[0]) for text in letters(drawn)) == 29
    assert hovers[0].startswith("<b>ports 32768 to 32867</b>")
    assert all("the call may take" in text for text in hovers)
    assert drawn.layout["height"] < 700
    area = 0.0
    for state in ("FREE", "ESTABLISHED", "SYN_SENT"):
        x, y = (named(drawn, f"state: {state}")[axis] for axis in "xy")
        rectangles = [(x[i], y[i], x[i + 2], y[i + 2]) for i in range(0, len(x), 6)]
        area += sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in rectangles)
    assert area == pytest.approx(283 * (960 / 20 - 4) * (26 - 4), rel=0.01)


def test_a_bin_that_is_full_for_the_call_has_a_cross():
    trace = run(TimeWait(ports=100))
    trace.parameters = {**trace.parameters, "first_port": 60001, "last_port": 60000 + MOST_CELLS + 10}
    said = letters(draw_ports(trace))
    assert said == ["10 ✗"] * 10, "the others are free, the last one too"


@pytest.mark.parametrize("story", [PortRange(), TimeWait(ports=60), WIDE], ids=["six", "sixty", "wide"])
def test_it_is_readable_from_the_last_row_and_words_stay_in_their_cells(story):
    drawn = draw_ports(run(story))
    assert named(drawn, "letters")["textfont"]["size"] == FONT_SIZE >= 14
    columns = set(named(drawn, "ports")["x"])
    room = 960 / max(len(columns), 3) - 4
    for text in named(drawn, "letters")["text"]:
        longest = max(re.sub("<[^>]+>", "", line) for line in text.split("<br>"))
        assert len(longest) * 7.3 <= room + 8, text


def test_the_sentence_reads_without_the_picture():
    said = ports_words(run(BindOrConnect()))
    assert "client calls bind(0.0.0.0:0): ✗ 0 of 6 ports may be taken (EADDRINUSE)" in said
    assert "6 TIME_WAIT" in said and "The first TIME_WAIT ends in 58." in said
    assert "tcp_tw_reuse is not asked" in said
    trace = run(PortRange(connects=3))
    assert "client will call" in ports_words(trace, trace.start + 1)
    assert "client called" in ports_words(trace, trace.end)
    explicit = run(BindOrConnect(then="bind_explicit"))
    assert "✗ port 60001 may not be taken (EADDRINUSE)" in ports_words(explicit)


def test_the_table_asks_every_kind_of_call():
    html = draw_ports(run(BindOrConnect())).table
    assert html.count("<tr>") == 8 and html.count("EADDRINUSE") == 4 and html.count(">ok<") == 3
    assert '<th scope="row">bind() to port 0</th><td>✗ 0 of 6</td>' in html


def test_a_trace_without_a_client_says_so():
    trace = Trace("nothing", "model")
    assert NO_CLIENT in captions(draw_ports(trace, kept=[run(PortRange())]))
    assert (draw_ports(trace).sentence, draw_ports(trace).table) == (NO_CLIENT, "")


def test_it_draws_recordings_too_and_a_notebook_gets_it_by_its_name():
    assert "✗ 0 of 6 ports" in captions(draw_ports(recording("bind_or_connect")))
    assert PICTURES["ports"] is draw_ports
    shown = picture(run(PortRange()), "ports").figure
    assert shown.to_dict() == draw_ports(run(PortRange())).figure().to_dict()


def everything_in(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything_in(child)


def shown_in(explorer):
    return captions(explorer.picture.drawn)


def test_in_the_explorer_the_map_follows_the_moment():
    explorer = explore(BindOrConnect, then="connect")
    assert "✓ 6 of 6" in shown_in(explorer)
    html = " ".join(each.value for each in everything_in(explorer) if isinstance(each, widgets.HTML))
    assert "what each call would get" in html and "client calls connect(10.0.0.2:5432)" in html
    explorer.look_at(0.3)
    assert "will call" in shown_in(explorer) and "✗ 0 of 6" in shown_in(explorer)
    explorer.picture.slider.value = 0
    assert explorer.cursor.t == explorer.trace.start
    assert "✓ 6 of 6" in shown_in(explorer), "at the beginning all ports are free"
    explorer.picture.choice.value = "Ladder"
    assert explorer.picture.slider.layout.display == "none"


def test_seconds_left_are_those_of_the_moment():
    trace = run(TimeWait(wait_s=30))
    early, late = (letters(draw_ports(trace, at=trace.start + n * SECOND)) for n in (5, 25))
    left = [float(re.search(r"([\d.]+) s left", text)[1]) for text in (early[0], late[0])]
    assert 54.9 < left[0] < 55.3 and left[0] - left[1] == pytest.approx(20, abs=0.11)


# -- over time, and beside another run ---------------------------------------------------------------


def test_ports_in_use_are_those_of_the_map_at_every_moment():
    for trace in (run(PortRange()), run(TimeWait(wait_s=61)), run(BindOrConnect(held_by="bind0"))):
        curve = occupancy(trace, "client")
        for t in range(trace.start + 1, trace.end, (trace.end - trace.start) // 40 or 1):
            cells = local_ports(trace, t).cells
            held = Counter(cell.state for cell in cells if cell.state not in ("FREE", "BOUND"))
            assert {s: n for s, n in [c for at, c in curve if at <= t][-1].items() if s != "BOUND"} == held, t


def test_time_wait_runs_on_after_the_run():
    trace = run(TimeWait())
    drawn = draw_ports(trace)
    waits = named(drawn, "TIME_WAIT")
    assert max(waits["y"]) == 6 and waits["y"][-1] == 0, "all are over at last"
    *_, (over, states) = occupancy(trace, "client")
    assert trace.end < over and (over - trace.start) / SECOND == pytest.approx(60.058) and not states
    assert drawn.limits["s"] == 60 and "TIME_WAIT runs on" in captions(drawn)
    assert "runs on" not in captions(draw_ports(run(PortRange())))


def test_the_ceiling_and_the_refused_call_are_where_they_belong():
    ceiling, drawn, wide = "ceiling: ports in use", draw_ports(run(PortRange())), draw_ports(run(WIDE))
    assert set(named(drawn, ceiling)["y"]) == {6, None} and max(named(drawn, "ESTABLISHED")["y"]) == 6
    refused = named(drawn, "refused")
    assert refused["hovertext"] == ["connect(10.0.0.2:5432): EADDRNOTAVAIL", ""]
    assert refused["x"] == [pytest.approx(0.018), None]
    assert not named(draw_ports(run(PortRange(connects=3))), "refused")["x"]
    assert "far above" in captions(wide) and not named(wide, ceiling)["x"]


def test_a_kept_range_is_drawn_beside_the_present_one_and_the_difference_said():
    now, kept = run(PortRange()), run(PortRange(last_port=60012))
    drawn = draw_ports(now, kept=[kept])
    assert drawn.compared == (
        "6 ports instead of 12, the last call may take 0 instead of 6, "
        "the first call that fails: number 7 (EADDRNOTAVAIL) instead of none"
    )
    said = captions(drawn)
    assert "╌╌ kept: last local port 60012" in said
    assert "6 free, 6 ESTABLISHED; ✓ 6 of 12 ports may be taken" in said
    assert max(named(drawn, "kept 1: ports in use")["y"]) == 7
    assert set(named(drawn, "kept 1: ceiling: ports in use")["y"]) == {12}
    again = draw_ports(now, kept=[kept, now])
    assert again.compared.startswith("As before")


def test_cells_keep_their_places_and_axes_never_shrink():
    wide, narrow = run(PortRange(first_port=60000, last_port=60012)), run(PortRange())
    first = draw_ports(wide)
    second = draw_ports(narrow, limits=first.limits)
    assert second.limits == first.limits
    assert boxes(second, "not in the range") == 7 and len(letters(second)) == 6
    places = [
        dict(zip(letters(drawn), named(drawn, "letters")["x"], strict=True)) for drawn in (first, second)
    ]
    assert [places[0][port] for port in places[0] if "60003" in port] == [
        places[1][port] for port in places[1] if "60003" in port
    ]
    assert growth(first.limits, draw_ports(narrow).limits) == "axis: 13 ports in use, was 6 ports in use"
    waits = draw_ports(run(TimeWait()), limits=first.limits)
    after = draw_ports(narrow, limits=waits.limits)
    assert after.layout["xaxis"]["tickvals"] == waits.layout["xaxis"]["tickvals"], "the clock stays shortened"
    assert len(letters(draw_ports(narrow, limits=draw_ports(run(WIDE)).limits))) == 6
