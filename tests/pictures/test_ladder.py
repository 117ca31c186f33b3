"""What a ladder shows: hosts, arrows, states and calls; a middlebox or a proxy between the ends."""

from itertools import pairwise

import pytest

from pictures.drawn import named, plain, plotly_accepts
from pictures.transcripts import (
    ALL,
    BETWEEN,
    CLIENT,
    MS,
    HalfOpen,
    Refreshed,
    Relayed,
    Story,
    dead_peer,
    healthy,
    keepalive_into_silence,
    trace_of,
)
from tcplab import ProxyLegs
from tcplab.bench import run
from tcplab.core.segment import PSH, RST, Endpoint
from tcplab.core.text import SECOND
from tcplab.experiments import EXPERIMENTS
from tcplab.pictures import theme
from tcplab.pictures.beside import ENTRY_TIMERS, timer_words
from tcplab.pictures.ladder import ARROWS, MAX_HEIGHT, draw, ladder, time_axis
from tcplab.pictures.timeaxis import HALF_OPEN, LABEL, ROW, fold, states
from tcplab.pictures.timeaxis import arrows as joined

every_trace = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def labels(picture):
    """Labels of the arrows from top to bottom, without markup."""
    found = named(picture, "labels")
    return [plain(text) for _, text in sorted(zip(found["y"], found["text"], strict=True))]


def arrows(picture):
    """Per arrow the index of its first segment: (kind, tail, head, size of the head)."""
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


def firsts(trace, folded=True):
    """The first segment of every arrow; each segment is in one arrow, or in the beginning."""
    beginning = fold(trace) if folded else None
    skip = beginning.size if beginning else 0
    made = joined(trace, skip)
    members = sorted(i for arrow in made for i in arrow.members)
    assert members == list(range(skip, len(trace.packets)))
    return [arrow.members[0] for arrow in made]


@every_trace
def test_every_segment_is_in_one_arrow(make):
    trace = make()
    picture = draw(trace)
    assert sorted(arrows(picture)) == firsts(trace)
    assert len(named(picture, "labels")["text"]) == len(firsts(trace))


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
    between += [y for y in named(picture, "captions")["y"] if y >= 0]
    assert all(b - a >= LABEL - 2 for a, b in pairwise(sorted(between)))
    beside = named(picture, "states and calls")
    outer = {min(beside["x"], default=0), max(beside["x"], default=0)}
    for x in outer:
        column = sorted(y for at, y in zip(beside["x"], beside["y"], strict=True) if at == x)
        assert all(b - a >= ROW - 1e-6 for a, b in pairwise(column))


@every_trace
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_accepts_it(make, dark):
    trace = make()
    picture = draw(trace, at=trace.start, title="A title", dark=dark)
    assert plotly_accepts(picture)


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
    assert said[6:9] == [f"keepalive probe {n} of 9  ACK  seq 40  ✗ lost" for n in (1, 2, 3)]
    assert said[-1] == "RST, ACK  seq 41  ✗ lost"


def gaps(picture):
    """Lengths of gaps as the axis writes them, from top to bottom."""
    ticks = map(plain, picture.layout["yaxis"]["ticktext"])
    return [text.removeprefix("↓ ") for text in ticks if text.startswith("↓")]


def test_a_dead_peer_takes_twelve_lines():
    """Waits that double have a line each, those as long as Linux ever waits have one together."""
    picture = draw(dead_peer())
    said = labels(picture)[6:]
    assert len(said) == 12
    assert said[1] == "tail loss probe  PSH, ACK  seq 41 len 40  ✗ lost"
    assert said[-2] == "retransmission 9  PSH, ACK  seq 41 len 40  ✗ lost"
    assert said[-1] == "retransmission 10–15, every 2 min  ✗ lost"
    assert gaps(picture)[:3] == ["204 ms", "204 ms", "408 ms"]
    assert gaps(picture)[-2:] == ["1 min 44 s", "2 min"]


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
    assert labels(picture)[-1] == "retransmission 2  SYN  ✗ dropped by server's firewall  port 40002"
    kind, _, head, _ = arrows(picture)[9]
    assert kind == "dropped"
    assert 0.5 < head[0] < 1


def test_another_connection_is_lighter_and_carries_its_port():
    story, other = Story(), Story(port=40002, start=6 * SECOND)
    story.exchange(story.open())
    other.open()
    trace = story.finish()
    trace.packets += other.finish().packets
    trace.packets.sort(key=lambda p: p.t)
    picture = draw(trace)
    kinds = [kind for kind, *_ in arrows(picture).values()]
    assert kinds.count("other connection") == 3
    assert sum(text.endswith("  port 40002") for text in labels(picture)) == 3


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
    texts = list(dict.fromkeys(filter(None, named(draw(trace), "hover")["hovertext"])))
    assert texts[1].split("<br>") == [
        "<b>SYN, ACK</b> server → client: seq 0, ack 1, 0 bytes, window 64240, "
        "MSS 1460, window scale 7 (× 128), SACK permitted",
        "segment 2: sent at 1 ms, arrived 1 ms later",
        "server takes the connection; client: connect() → ok",
    ]


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
    whole, part = draw(trace, upto=trace.end), draw(trace, upto=now)
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
        t = story.exchange(t + 5 * MS, seq=1 + 40 * n, ack=1 + 200 * n)
    picture = draw(story.finish())
    more = picture.layout["annotations"][0]["text"]
    low = picture.layout["yaxis"]["range"][0]
    below = sum(tail[1] > low for _, tail, _, _ in arrows(picture).values())
    assert f"{below} more arrows" in more
    assert below > 100
    assert not picture.layout["yaxis"]["fixedrange"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_drawn(name):
    experiment = EXPERIMENTS[name]
    for values in ({}, experiment.quick, *experiment.presets.values()):
        trace = run(experiment(**values))
        assert sorted(arrows(draw(trace))) == firsts(trace)
        assert sorted(arrows(draw(trace, folded=False))) == firsts(trace, folded=False)


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
    assert 1.5 < x < 1.6  # between the proxy's own bars and the database


TRACES = {name: trace_of(make()) for name, make in BETWEEN.items()}
every_story = pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)


def shapes(picture, name):
    """The closed lines of a trace, each as its points without the last, which is the first again."""
    found, points = [], []
    trace = named(picture, name)
    for x, y in zip(trace["x"], trace["y"], strict=True):
        if x is None:
            found.append(points[:-1])
            points = []
        else:
            points.append((x, y))
    return found


def beside(picture, x_from, x_to):
    """What stands beside the lifelines between two x, from top to bottom."""
    trace = named(picture, "states and calls")
    rows = sorted(zip(trace["y"], trace["x"], map(plain, trace["text"]), strict=True))
    return [text for _, x, text in rows if x_from < x < x_to]


# -- a box -------------------------------------------------------------------------------------------


@every_story
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_accepts_every_ladder_with_a_middlebox(trace, dark):
    picture = draw(trace, at=trace.end, dark=dark)
    assert plotly_accepts(picture)


@every_story
def test_every_segment_is_drawn_and_the_same_traces_as_ever(trace):
    picture = draw(trace)
    assert sorted(arrows(picture)) == firsts(trace)
    usual = [each["name"] for each in draw(ALL["healthy"]()).data]
    assert [each["name"] for each in picture.data] == usual


@every_story
def test_between_the_lifelines_no_words_share_a_row(trace):
    picture = draw(trace)
    between = list(named(picture, "labels")["y"])
    between += [y for y in named(picture, "captions")["y"] if y >= 0]
    assert all(b - a >= LABEL - 2 for a, b in pairwise(sorted(between)))


def test_an_entry_is_as_long_as_the_box_remembers():
    trace = TRACES["half_open"]
    picture = draw(trace)
    ((left, right, _, low),) = shapes(picture, "entries")
    assert left[0] < 1 < right[0]
    forgotten = next(s.t for s in trace.sockets if s.host == "firewall" and s.state == "CLOSED")
    note = next(note for note in trace.notes if note.text.startswith("removes "))
    assert note.t == forgotten
    assert low[1] == picture.axis.y_of(forgotten) - ROW / 2, "what it says at the end stands right below"
    assert "<b>firewall</b><br>▼ idle timer 1 s" in named(picture, "captions")["text"]
    captions = named(picture, "captions")
    written = [
        (x, plain(text)) for x, y, text in zip(captions["x"], captions["y"], captions["text"], strict=True)
        if y >= low[1] and plain(text) in note.text
    ]  # fmt: skip
    assert " ".join(text for _, text in written) == note.text
    assert all(1 < x < 2 for x, _ in written), "beside its lifeline"


def test_the_filling_is_what_is_left_of_the_timer():
    trace = TRACES["refreshed"]
    picture = draw(trace)
    fillings = shapes(picture, "timer: idle")
    widths = [(b[0] - a[0], c[0] - d[0]) for a, b, c, d in fillings]
    full = max(top for top, _ in widths)
    assert all(top == pytest.approx(full) for top, _ in widths), "each segment restarts it"
    pauses = [bottom / full for _, bottom in widths if bottom < 0.9 * full]
    assert pauses[0] == pytest.approx(0.4, abs=0.01), "six seconds of ten are over"
    tops = [a[1] for a, *_ in fillings]
    assert tops == sorted(tops)


def test_a_segment_is_dropped_at_the_box_and_lost_before_it():
    (index, *_) = [i for i, p in enumerate(TRACES["half_open"].packets) if "firewall" in p.fate]
    kind, tail, head, _ = arrows(draw(TRACES["half_open"]))[index]
    assert (kind, tail[0], head[0]) == ("dropped", 0, 1)
    refreshed = TRACES["refreshed"]
    lost = [i for i, p in enumerate(refreshed.packets) if p.fate == "lost"]
    assert {arrows(draw(refreshed))[i][2][0] for i in lost} == {0.5}


def test_two_boxes_have_a_lifeline_and_words_each():
    trace = TRACES["two_boxes"]
    picture = draw(trace)
    assert len(shapes(picture, "entries")) == 2
    assert named(picture, "timer: close")["x"], "the balancer's"
    assert timer_words(trace, "balancer") == "▼ close timer 0.200 s"
    captions = named(picture, "captions")
    at = {plain(text): x for text, x in zip(captions["text"], captions["x"], strict=True)}
    assert 2 < next(x for text, x in at.items() if "session" in text) < 3
    assert 1 < next(x for text, x in at.items() if "connection" in text) < 2
    assert named(picture, "timer: idle")["fillcolor"] != named(picture, "timer: close")["fillcolor"]
    assert len({mark.pattern for mark in ENTRY_TIMERS.values()}) == 2, "not by colour alone"


def test_a_box_without_a_timer():
    trace = trace_of(Refreshed())
    trace.sockets = [s._replace(timer="", due=None) if s.host == "firewall" else s for s in trace.sockets]
    assert timer_words(trace, "firewall") == "entry"
    picture = draw(trace)
    assert shapes(picture, "entries") and not named(picture, "timer: idle")["x"]


def test_a_forged_reset_leaves_from_the_box():
    trace = TRACES["reset_both_client"]
    picture = draw(trace)
    resets = [i for i, p in enumerate(trace.packets) if p.sender == "firewall" and p.segment.flags & RST]
    ends = {(arrows(picture)[i][1][0], arrows(picture)[i][2][0]) for i in resets}
    assert ends == {(1, 0), (1, 2)}


def test_an_entry_opened_again_is_a_second_bar():
    picture = draw(TRACES["reopen_client"])
    first, second = shapes(picture, "entries")
    assert first[2][1] < second[0][1]


@every_story
def test_upto_moves_nothing_and_draws_no_future(trace):
    now = (trace.start + trace.end) // 2
    whole, part = draw(trace, upto=trace.end), draw(trace, upto=now)
    assert part.layout["yaxis"] == whole.layout["yaxis"]
    low = [y for name in ("entries", "timer: idle", "timer: close") for y in named(part, name)["y"] if y]
    assert max(low, default=0) <= part.axis.bottom_of(now)


def test_a_box_has_no_words_of_a_socket():
    said = beside(draw(TRACES["half_open"]), 0.2, 1.8)
    assert said == []


# -- two truths --------------------------------------------------------------------------------------


def test_a_half_open_end_is_told_by_sign_word_and_stripes():
    trace = TRACES["half_open"]
    picture = draw(trace)
    assert beside(picture, 2, 3)[-1] == "⚠ half-open:client has gone"
    bar = named(picture, "state: half open")
    assert bar["line"]["dash"] != "solid" and bar["line"]["color"] == theme.LIGHT.error
    closed = next(s.t for s in trace.sockets if s.host == "client" and s.state == "CLOSED")
    assert min(y for y in bar["y"] if y is not None) == pytest.approx(picture.axis.y_of(closed), abs=ROW)
    assert "client has no such connection any more" in bar["hovertext"][0]
    assert labels(picture)


def test_a_half_open_end_that_hears_of_it_later_is_cut_short():
    found = [s for s in states(TRACES["two_boxes"]) if s.name == HALF_OPEN]
    ((host, gone),) = {(s.host, s.gone) for s in found}
    assert (host, gone) == ("client", "server")
    assert 0.3 < (found[0].ended - found[0].began) / SECOND < 0.7


@pytest.mark.parametrize("name", ["reset_both_client", "reopen_client", "refreshed"])
def test_a_reset_on_its_way_leaves_nobody_half_open(name):
    assert not [s for s in states(TRACES[name]) if s.name == HALF_OPEN]


def test_half_open_is_seen_to_the_end_of_the_picture_however_short_it_is():
    trace = trace_of(HalfOpen())
    trace.end = next(s.t for s in trace.sockets if s.host == "client" and s.state == "CLOSED")
    trace.calls = [call for call in trace.calls if call.t <= trace.end]
    ys = [y for y in named(draw(trace), "state: half open")["y"] if y is not None]
    assert max(ys) - min(ys) >= ROW - 1


# -- a proxy -----------------------------------------------------------------------------------------


def test_a_proxy_writes_on_the_side_of_its_peer():
    trace = trace_of(Relayed())
    picture = draw(trace)
    left, right = beside(picture, 0.2, 1), beside(picture, 1, 1.8)
    assert "recv() → 40 bytes" in left and "recv() → 200 bytes" in right
    assert "recv() → ✗ ETIMEDOUT" in right
    assert not any(text.startswith("timer") for text in left + right)  # no room: its line's hover says it
    assert left[-1] == "close() with SO_LINGER 0 → ok"


def test_a_proxys_bars_stand_on_both_sides_of_its_lifeline():
    picture = draw(TRACES["relayed"])
    bars = sorted({x for x in named(picture, "state: open")["x"] if x is not None})
    assert len(bars) == 4
    assert bars[1] < 1 < bars[2]
    words = named(picture, "states and calls")
    inner = [abs(x - 1) for x in words["x"] if 0.2 < x < 1.8]
    timers = [abs(x - 1) for x in named(picture, "timer: keepalive")["x"] if x is not None and 0.2 < x < 1.8]
    assert max(timers) < min(inner), "its words begin beyond its bars"


def test_the_database_is_half_open_when_its_proxy_gives_up():
    assert "⚠ half-open:proxy has gone" in beside(draw(TRACES["relayed"]), 2, 3)
