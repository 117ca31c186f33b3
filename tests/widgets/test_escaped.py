"""What a file says is text: no word of a capture, its sidecar or a recording becomes HTML anywhere.

Plotly reads HTML in labels and hovers too, so that its data is searched as well.
"""

import json
from dataclasses import replace
from itertools import chain

import pytest

from inside import text_in
from tcplab import (
    IdleFirewall,
    Keepalive,
    ProxyLegs,
    SlowReader,
    picture,
    read_capture,
    replay,
    run,
    segment_table,
    write_pcap,
)
from tcplab.lesson.tables import provenance
from tcplab.pictures import console
from tcplab.pictures.console import screens_html
from tcplab.pictures.ladder import ladder
from tcplab.widgets.show import PICTURES

HOSTILE = "<img src=x onerror=alert(1)>"
STUDIES = ("churn", "pool", "failover")


def hostile(trace):
    """The same run with everything that could be words replaced by a tag."""
    names = {host: f"{HOSTILE}{host}" for host in trace.hosts}

    def name(host):
        return names.get(host, host)

    return replace(
        trace,
        experiment=f"{HOSTILE}.pcap",
        linux=HOSTILE,
        hosts={name(host): address for host, address in trace.hosts.items()},
        packets=[
            replace(p, sender=name(p.sender), receiver=name(p.receiver), fate=_fate(p)) for p in trace.packets
        ],
        calls=[
            call._replace(
                host=name(call.host), call=f"{HOSTILE}{call.call}", result=f"{call.result}{HOSTILE}"
            )
            for call in trace.calls
        ],
        sockets=[sample._replace(host=name(sample.host)) for sample in trace.sockets],
        counters=[
            sample._replace(host=name(sample.host), name=f"{HOSTILE}{sample.name}")
            for sample in trace.counters
        ],
        notes=[note._replace(host=name(note.host), text=f"{HOSTILE}{note.text}") for note in trace.notes],
        warnings=[HOSTILE],
    )


def _fate(packet):
    return f"dropped_by:{HOSTILE}" if packet.fate.startswith("dropped_by") else packet.fate


STORIES = {
    "keepalive": Keepalive(idle_s=60),
    "three hosts": ProxyLegs(),
    "a box on the way": IdleFirewall(),
    "slow reader": SlowReader(),
}


@pytest.fixture(scope="module", params=STORIES, ids=STORIES.keys())
def trace(request):
    return hostile(run(STORIES[request.param]))


def strings(thing):
    match thing:
        case str():
            yield thing
        case dict():
            yield from chain.from_iterable(map(strings, [*thing, *thing.values()]))
        case list() | tuple():
            yield from chain.from_iterable(map(strings, thing))


def assert_harmless(shown):
    assert not [text for text in strings(shown) if "<img" in text]


@pytest.mark.parametrize("name", [name for name in PICTURES if name not in STUDIES])
def test_no_picture_has_it_as_markup(trace, name):
    drawn = PICTURES[name](trace)
    assert_harmless([drawn.data, drawn.layout])
    if name == "ladder":
        assert "&lt;img" in json.dumps(drawn.data)  # it is there, as text


def test_a_title_that_a_caller_gives_is_the_callers_own(trace):
    assert_harmless(json.loads(ladder(trace, title="plain").to_json()))


def test_tables_and_consoles_have_it_as_text(trace):
    for t in (trace.start, trace.end // 2, trace.end):
        assert_harmless(screens_html(trace, t))
        assert HOSTILE in console.console(trace, t)
    assert_harmless(segment_table(trace).html)


def test_a_replay_has_it_as_text(trace):
    widget = replay(trace)
    widget.fold.opened = True
    for step in range(0, len(widget.steps), 3):
        widget.go(step)
        assert_harmless([text_in(widget), json.loads(widget.picture.drawn)])
        assert_harmless(widget._repr_mimebundle_().get("text/html", ""))
    assert "&lt;img" in text_in(widget)


def test_a_picture_is_saved_under_a_plain_name(trace):
    drawn = json.loads(picture(trace).drawn)
    assert drawn["filename"] == trace.experiment  # a file's name, never shown as HTML
    del drawn["filename"]
    assert_harmless(drawn)


@pytest.fixture
def recorded(tmp_path):
    """A capture with a sidecar that is nothing but tags."""
    path = tmp_path / f"{HOSTILE}.pcap"
    write_pcap(run(Keepalive(idle_s=60)), path)
    trace = read_capture(path).connection(0)
    told = {
        "title": HOSTILE, "story": f"{HOSTILE} and **{HOSTILE}** and `{HOSTILE}`", "linux": HOSTILE,
        "software": {HOSTILE: HOSTILE}, "date": HOSTILE, "command": HOSTILE, "hosts": trace.hosts,
        "events": [{"t": 0.1, "host": "client", "call": f"recv({HOSTILE})", "result": f"FATAL: {HOSTILE}"}],
        "states": [{"t": 0.2, "host": "client", "state": f"ESTAB{HOSTILE}", "recv_q": 1, "send_q": 2}],
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(told))
    return path


def test_a_sidecar_is_shown_as_text(recorded):
    capture = read_capture(recorded)
    trace = capture.connection(0)
    assert HOSTILE in trace.calls[0].result and HOSTILE in trace.sockets[0].state
    for name in PICTURES:
        if name not in STUDIES:
            drawn = PICTURES[name](trace)
            assert_harmless([drawn.data, drawn.layout])
    widget = replay(trace, frames=capture.frames(0))
    widget.fold.opened = True
    for step in range(len(widget.steps)):
        widget.go(step)
        assert_harmless([text_in(widget), json.loads(widget.picture.drawn)])


def test_the_provenance_of_a_capture_is_text(recorded):
    shown = provenance(recorded)
    assert_harmless(shown.html)
    assert "&lt;img" in shown.html


@pytest.mark.parametrize("rest", [{}, {"software": {"x": 1}, "linux": 6, "date": 1, "command": 1}])
def test_a_provenance_without_its_parts_or_of_something_else_is_told_in_a_sentence(tmp_path, rest):
    path = tmp_path / "a.pcap"
    path.with_suffix(".json").write_text(json.dumps({"title": HOSTILE, "story": "x", **rest}))
    assert_harmless(provenance(path).html)
    path.with_suffix(".json").write_text("no JSON")
    assert_harmless(provenance(path).html)
    assert "a.json" in provenance(path).plain


@pytest.mark.parametrize(
    "told",
    [
        {"title": HOSTILE, "hosts": {}, "events": [{"t": 1, "host": HOSTILE, "call": "x", "result": "y"}]},
        {"title": "x", "hosts": {}, "events": [{"t": HOSTILE, "host": "client", "call": "x", "result": "y"}]},
    ],
)
def test_what_is_wrong_with_a_sidecar_is_shown_as_text(recorded, told):
    recorded.with_suffix(".json").write_text(json.dumps(told))
    capture = read_capture(recorded)
    (warning,) = capture.warnings
    assert "is left out" in warning and "<img" in warning
    assert_harmless(text_in(replay(capture.connection(0))))
