"""What a ladder shows, judged by the figure's data."""

import re
import time
from itertools import pairwise

import plotly.graph_objects as go
import pytest

from pictures.transcripts import (
    ALL,
    CLIENT,
    ISN,
    MS,
    SERVER,
    Story,
    dead_peer,
    healthy,
    keepalive_into_silence,
)
from tcplab import ProxyLegs
from tcplab.bench import run
from tcplab.core.segment import PSH, RST, Endpoint
from tcplab.core.text import SECOND
from tcplab.experiments import EXPERIMENTS
from tcplab.pictures import theme
from tcplab.pictures.ladder import ARROWS, MAX_HEIGHT, draw, ladder, time_axis
from tcplab.pictures.timeaxis import LABEL, ROW

every_trace = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def named(picture, name):
    """The trace of a picture by its name."""
    (found,) = [trace for trace in picture.data if trace["name"] == name]
    return found


def plain(text):
    return re.sub(r"<[^>]+>", "", text)


def labels(picture):
    """Labels of the arrows from top to bottom, without markup."""
    found = named(picture, "labels")
    return [plain(text) for _, text in sorted(zip(found["y"], found["text"], strict=True))]


def arrows(picture):
    """Per segment its index: (kind, tail, head, size of the head)."""
    found = {}
    for kind in ARROWS:
        trace = named(picture, kind)
        for i in range(0, len(trace["x"]), 4):
            assert trace["x"][i + 3] is None
            (index,) = set(trace["customdata"][i : i + 3])
            assert index not in found
            points = list(zip(trace["x"][i : i + 3], trace["y"][i : i + 3], strict=True))
            found[index] = (kind, points[0], points[2], trace["marker"]["size"][i + 2])
    return found


@every_trace
def test_every_segment_appears_exactly_once(make):
    trace = make()
    picture = draw(trace)
    assert sorted(arrows(picture)) == list(range(len(trace.packets)))
    assert len(named(picture, "labels")["text"]) == len(trace.packets)


@every_trace
def test_only_what_arrived_reaches_the_other_lifeline(make):
    trace = make()
    x = {host: i for i, host in enumerate(trace.hosts)}
    for index, (kind, tail, head, size) in arrows(draw(trace)).items():
        packet = trace.packets[index]
        assert tail[0] == x[packet.sender]
        assert head[1] > tail[1], "an arrow falls"
        assert size > 0
        if packet.arrives is None:
            assert kind in ("lost", "dropped")
            assert 0.3 < abs(head[0] - tail[0]) < 0.95
        else:
            assert kind not in ("lost", "dropped")
            assert head[0] == x[packet.receiver]


@every_trace
def test_no_words_touch(make):
    """All that stands between the lifelines, and all that stands beside each, in rows of its own."""
    picture = draw(make())
    between = list(named(picture, "labels")["y"])
    captions = named(picture, "captions")
    # A caption is centred on its y, a label stands on it.
    between += [y + ROW / 2 for y in captions["y"] if y >= 0]
    assert all(b - a >= LABEL - 2 for a, b in pairwise(sorted(between)))
    beside = named(picture, "states and calls")
    outer = {min(beside["x"], default=0), max(beside["x"], default=0)}
    for x in outer:
        column = sorted(y for at, y in zip(beside["x"], beside["y"], strict=True) if at == x)
        assert all(b - a >= ROW - 1e-6 for a, b in pairwise(column))


@every_trace
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_finds_nothing_to_object_to(make, dark):
    trace = make()
    picture = draw(trace, at=trace.start, title="A title", dark=dark)
    validated = go.Figure(data=picture.data, layout=picture.layout)
    assert picture.figure().to_dict() == validated.to_dict()


@every_trace
def test_a_living_figure_can_be_updated_in_place(make):
    """Always the same traces in the same order, and nothing that is not a trace."""
    trace = make()
    figure, other = ladder(trace), ladder(healthy(), at=6 * SECOND)
    assert [t.name for t in figure.data] == [t.name for t in other.data]
    assert len({t.name for t in figure.data}) == len(figure.data)
    assert figure.data[-1].name == "cursor"
    assert not figure.layout.annotations
    assert not figure.layout.shapes
    assert figure.layout.uirevision == other.layout.uirevision == "ladder"
    assert figure.layout.hovermode == "closest"
    assert figure.layout.showlegend is False


@every_trace
def test_one_unit_of_y_is_one_pixel(make):
    figure = ladder(make())
    low, high = figure.layout.yaxis.range
    margin = figure.layout.margin
    assert low - high == pytest.approx(figure.layout.height - margin.t - margin.b, abs=1)
    assert figure.layout.height <= MAX_HEIGHT + 60


def test_labels_speak_wireshark():
    said = labels(draw(healthy()))
    assert said == [
        "SYN",
        "SYN, ACK",
        "ACK  ack 1",
        "PSH, ACK  seq 1 len 40",
        "PSH, ACK  seq 1 ack 41 len 200",
        "ACK  ack 201",
        "FIN, ACK  seq 41",
        "FIN, ACK  seq 201 ack 42",
        "ACK  ack 202",
    ]


def test_probes_are_counted_and_lost():
    said = labels(draw(keepalive_into_silence()))
    assert said[6:9] == [f"keepalive probe {n}  ACK  seq 40  ✗ lost" for n in (1, 2, 3)]
    assert said[-1] == "RST, ACK  seq 41  ✗ lost"


def test_a_dead_peer_is_told_in_seventeen_lines():
    said = labels(draw(dead_peer()))[6:]
    assert len(said) == 17
    assert said[1] == "tail loss probe  PSH, ACK  seq 41 len 40  ✗ lost"
    assert said[-1] == "retransmission 15  PSH, ACK  seq 41 len 40  ✗ lost"
    breaks = [plain(text) for text in named(draw(dead_peer()), "captions")["text"]]
    assert [text for text in breaks if text in ("0.204 s", "0.408 s", "52.2 s")] == [
        "0.204 s",
        "0.204 s",
        "0.408 s",
        "52.2 s",
    ]
    assert breaks.count("2 min") == 6


@pytest.mark.parametrize("verdict", ["challenged", "ignored", "accepted"])
def test_a_verdict_is_told_by_word_and_line(verdict):
    story = Story()
    t = story.open()
    story.say(t, "server", RST, 300, window=0, kind="forged", verdict=verdict)
    picture = draw(story.finish())
    assert labels(picture)[-1] == f"forged  RST  seq 300  → {verdict}"
    kind = "reset" if verdict == "accepted" else f"reset {verdict}"
    assert arrows(picture)[3][0] == kind
    dashes = {named(picture, k)["line"]["dash"] for k in ("reset", "reset challenged", "reset ignored")}
    assert len(dashes) == 3


def test_a_firewall_is_named_and_stands_where_it_is():
    picture = draw(ALL["lost_segment"]())
    assert labels(picture)[-1] == ":40002  retransmission 2  SYN  ✗ dropped by server's firewall"
    kind, _, head, _ = arrows(picture)[9]
    assert kind == "dropped"
    assert 0.5 < head[0] < 1


def test_another_connection_is_lighter_and_carries_its_port():
    story, other = Story(), Story(port=40002)
    story.exchange(story.open())
    other.open()
    trace = story.finish()
    trace.packets += other.finish().packets
    trace.packets.sort(key=lambda p: p.t)
    picture = draw(trace)
    kinds = [kind for kind, *_ in arrows(picture).values()]
    assert kinds.count("other connection") == 3
    assert sum(text.startswith(":40002  ") for text in labels(picture)) == 3


def test_states_stand_beside_their_host():
    picture = draw(healthy())
    beside = named(picture, "states and calls")
    rows = sorted(zip(beside["y"], beside["x"], map(plain, beside["text"]), strict=True))
    client = [text for _, x, text in rows if (x < 0 and text.isupper()) or (text == "closed" and x < 0)]
    assert client == ["SYN-SENT", "ESTABLISHED", "FIN-WAIT-1", "TIME-WAIT", "closed"]
    server = [text for _, x, text in rows if x > 1 and (text.isupper() or text == "closed")]
    assert server == ["SYN-RECV", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "closed"]


def test_a_state_bar_begins_and_ends_with_its_state():
    trace = healthy()
    picture, axis = draw(trace), time_axis(trace)
    bar = named(picture, "state: open")
    client = [y for x, y in zip(bar["x"], bar["y"], strict=True) if x is not None and x < 0]
    opened = next(s.t for s in trace.sockets if s.state == "ESTABLISHED" and s.host == "client")
    closing = next(s.t for s in trace.sockets if s.state == "FIN_WAIT_1")
    assert axis.t_of(min(client)) == opened
    assert axis.t_of(max(client)) == closing


def test_state_bars_adjoin():
    """One state ends where the next is named, also where a moment is several rows high."""
    trace = ALL["crossing_fins"]()
    picture = draw(trace)
    for side in (-1, 1):
        ends = []
        for bar in picture.data:
            if bar["name"].startswith("state:"):
                stretch = []
                for x, y in zip(bar["x"], bar["y"], strict=True):
                    if x is None:
                        ends += [(stretch[0], stretch[-1])] if stretch else []
                        stretch = []
                    elif (x > 0.5) == (side > 0):
                        stretch.append(y)
        ends.sort()
        assert len(ends) == 5
        assert [end for _, end in ends[:-1]] == [begin for begin, _ in ends[1:]]


def test_a_running_timer_has_its_bar_and_its_name():
    picture = draw(keepalive_into_silence())
    assert "timer: keepalive" in named(picture, "states and calls")["text"]
    bar = named(picture, "timer: keepalive")
    assert bar["line"]["dash"] == "dot"
    ys = [y for y in bar["y"] if y is not None]
    trace = keepalive_into_silence()
    axis = time_axis(trace)
    assert (axis.t_of(max(ys)) - axis.t_of(min(ys))) / SECOND == pytest.approx(7875, abs=1)


def test_calls_stand_where_they_returned():
    trace = keepalive_into_silence()
    picture = draw(trace)
    beside = named(picture, "states and calls")
    i = beside["text"].index("recv() → ✗ ETIMEDOUT")
    assert beside["textfont"]["color"][i] == theme.LIGHT.error
    assert picture.axis.t_of(beside["y"][i]) == trace.calls[-1].t
    assert "had blocked for 2 h 11 min 15 s" in beside["hovertext"][i]
    brackets = named(picture, "blocked calls")
    assert max(y for y in brackets["y"] if y is not None) == beside["y"][i]


def test_hover_tells_everything():
    story = Story()
    story.open()
    trace = story.finish()
    texts = named(draw(trace), "segment")["hovertext"]
    for part in (
        "<b>SYN, ACK</b>",
        "0.001 s later",
        f"server {SERVER} → client {CLIENT}",
        f"seq 0 (absolute {ISN['server']})",
        f"ack 1 (absolute {ISN['client'] + 1})",
        "window 64240 bytes",
        "MSS 1460, window scale 7 (× 128), SACK permitted",
        "delivered",
    ):
        assert part in texts[4], part


def test_relative_numbers_hold_across_the_wrap():
    """The client's numbers wrap inside its first request."""
    story = Story()
    t = story.open()
    t = story.exchange(t)
    story.say(t, "client", PSH, 41, length=8)
    assert labels(draw(story.finish()))[-1] == "PSH  seq 41 len 8"


def test_the_cursor_lies_below_all_that_had_happened():
    trace = healthy()
    at = trace.packets[4].t
    picture = draw(trace, at=at)
    (y, _) = picture.data[-1]["y"]
    tails = {i: tail[1] for i, (_, tail, _, _) in arrows(picture).items()}
    assert all(tails[i] < y for i, p in enumerate(trace.packets) if p.t <= at)
    assert all(tails[i] > y for i, p in enumerate(trace.packets) if p.t > at)
    assert draw(trace).data[-1]["y"] == [None, None]


def test_upto_leaves_out_the_future_and_moves_nothing():
    trace = healthy()
    now = trace.packets[3].t + MS // 2
    whole, part = draw(trace), draw(trace, upto=now)
    assert part.layout["yaxis"] == whole.layout["yaxis"]
    everything, until = arrows(whole), arrows(part)
    assert sorted(until) == [i for i, p in enumerate(trace.packets) if p.t <= now]
    _, tail, head, size = until[3]
    assert size == 0, "no head: it is still on its way"
    assert head[0] == pytest.approx(0.5)
    assert tail == everything[3][1]
    said = named(part, "states and calls")["text"]
    assert "recv() → 200 bytes" not in said
    assert "FIN-WAIT-1" not in said
    low = max(y for t in part.data if t["name"].startswith("state:") for y in t["y"] if y is not None)
    assert low <= part.axis.bottom_of(now)


def test_upto_the_end_is_the_whole():
    trace = keepalive_into_silence()
    assert draw(trace, upto=trace.end).data == draw(trace).data


def test_words_of_others_are_no_markup():
    story = Story()
    story.open()
    story.note(0, "<b>box", "<i>&")
    story.call(0, 0, "client", "<script>", "<x>")
    trace = story.finish()
    trace.packets[1].fate = "dropped_by:<i>wall"
    everything = repr(draw(trace).data)
    assert "<script>" not in everything
    assert "<i>wall" not in everything
    assert "&lt;b&gt;box: &lt;i&gt;&amp;" in everything


def test_a_message_in_several_lines_has_room():
    story = Story()
    t = story.open()
    message = "FATAL: terminating connection due to administrator command, and so on, and on"
    story.call(t, t, "client", "psql: select a_function_with_a_long_name(1);", message)
    story.call(t, t, "client", "close()", "ok")
    beside = named(draw(story.finish()), "states and calls")
    rows = [
        (y - ROW / 2 * n, y + ROW / 2 * n)
        for x, y, text in zip(beside["x"], beside["y"], beside["text"], strict=True)
        if x < 0 and (n := text.count("<br>") + 1)
    ]
    assert max(bottom - top for top, bottom in rows) == 4 * ROW
    assert all(b[0] >= a[1] - 1e-6 for a, b in pairwise(sorted(rows)))


def test_a_proxy_stands_in_the_middle():
    picture = draw(ALL["proxy"]())
    heads = {i: (tail[0], head[0]) for i, (_, tail, head, _) in arrows(picture).items()}
    assert heads == {0: (0, 1), 1: (1, 2), 2: (2, 1), 3: (1, 0)}
    bars = {x for x in named(picture, "state: open")["x"] if x is not None}
    assert len(bars) == 4, "one bar at each end, two at the proxy"
    assert len([x for x in bars if 0.5 < x < 1.5]) == 2


def test_a_very_long_trace_says_how_much_is_below():
    story = Story()
    t = story.open()
    for n in range(200):
        t = story.exchange(t, seq=1 + 40 * n, ack=1 + 200 * n)
    picture = draw(story.finish())
    more = picture.layout["annotations"][0]["text"]
    low = picture.layout["yaxis"]["range"][0]
    below = sum(tail[1] > low for _, tail, _, _ in arrows(picture).values())
    assert f"{below} more segments" in more
    assert below > 100
    assert not picture.layout["yaxis"]["fixedrange"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_drawn(name):
    experiment = EXPERIMENTS[name]
    for values in ({}, experiment.quick, *experiment.presets.values()):
        trace = run(experiment(**values))
        picture = draw(trace)
        assert sorted(arrows(picture)) == list(range(len(trace.packets)))


def test_sixty_segments_take_less_than_five_milliseconds():
    trace = ALL["many"]()
    assert len(trace.packets) >= 60
    spent = []
    for _ in range(20):
        began = time.perf_counter()
        draw(trace)
        spent.append(time.perf_counter() - began)
    assert min(spent) < 0.005


def _contrast(a, b):
    """WCAG 2.1 contrast ratio of two colours like #rrggbb."""

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_is_readable_on_its_paper(colours):
    words = [colours.ink, colours.soft, colours.error, colours.repeat, colours.probe, colours.cursor]
    assert all(_contrast(colour, colours.paper) >= 4.5 for colour in words)
    # Thick bars, whose names stand beside them.
    bars = [*colours.states.values(), *colours.timers.values(), *colours.zones.values()]
    assert all(_contrast(colour, colours.paper) >= 2.2 for colour in bars)


def test_nothing_is_smaller_than_fourteen_pixels():
    figure = ladder(keepalive_into_silence(), title="T").to_dict()

    def sizes(part):
        for key, value in part.items():
            if key in ("font", "textfont", "tickfont") and "size" in value:
                yield value["size"]
            if isinstance(value, dict) and key != "template":
                yield from sizes(value)

    found = list(sizes(figure["layout"])) + [size for t in figure["data"] for size in sizes(t)]
    assert found
    assert min(found) >= 14


def test_sockets_that_follow_each_other_share_a_lane():
    first, second = Story(), Story(start=8 * SECOND, port=40002)
    for story in (first, second):
        t = story.open()
        story.state(t + MS, "client", "CLOSED")
        story.state(t + MS, "server", "CLOSED")
    trace = first.finish()
    later = second.finish()
    trace.packets += later.packets
    trace.sockets += later.sockets
    trace.end = later.end
    bars = {x for x in named(draw(trace), "state: open")["x"] if x is not None}
    assert len(bars) == 2
    assert Endpoint(CLIENT.address, 40002) in {s.local for s in trace.sockets}


def test_what_befell_a_host_stands_on_no_lifeline_where_a_proxy_has_the_middle():
    trace = run(ProxyLegs())
    captions = named(draw(trace), "captions")
    ((x, text),) = [at for at in zip(captions["x"], captions["text"], strict=True) if "unplugged" in at[1]]
    assert "database: unplugged" in text
    assert x == 1.5  # between proxy and database
