"""What broke together: each rule on made-up events, and the order of connections does not matter."""

import random
from time import process_time

import pytest

from recordings.captures import PROJECT
from talks import Talk, capture
from tcplab import diagnose, read_capture
from tcplab.capture.breaks import BreakEvent, Broke
from tcplab.capture.evidence import LongSpans
from tcplab.capture.findings import ConnectionFindings, Finding
from tcplab.capture.incidents import find_incidents, incidents_of
from tcplab.core.segment import ACK, PSH, Endpoint
from tcplab.pictures.incident import consequences, read_incidents

SERVER, BEGAN = Endpoint("10.0.0.2", 5432), 1_795_428_000_000_000_000


def event(number, family, low, high=None, *, quiet=False, code="closed_by_server", server=SERVER):
    found = Finding(code, (1,), round(low * 1e9), "")
    client = Endpoint("10.0.0.1", 40_000 + number)
    connection = ConnectionFindings(number, client, server, "PostgreSQL", "closed", (found,))
    actor = (
        server.address if family == "silence" else client.address if family == "client_end" else str(server)
    )
    return BreakEvent(connection, Broke(family, low, low if high is None else high), actor, quiet)


def bands(*events, connections=100):
    return incidents_of(events, connections, BEGAN)


def test_three_closes_within_250_ms_are_one_incident_and_two_are_not():
    three = [event(i, "server_end", 5 + i / 10) for i in range(3)]
    _, (band,) = bands(*three)
    assert band.text == "server closed 3" and (band.low_s, band.high_s) == (5.0, 5.2)
    assert "closed 3 connections within 200 ms" in band.says and band.says.startswith("From ")
    kept, none = bands(*three[:2], event(8, "client_end", 50), event(9, "client_end", 60))
    assert none == [] and len(kept) == 4
    _, (small,) = bands(*three[:2], connections=20)
    assert small.connections == (0, 1)


def test_a_goodbye_that_was_answered_counts_only_with_two_others():
    assert bands(event(0, "server_end", 1, quiet=True), event(1, "server_end", 1.1, quiet=True)) == ([], [])
    _, (band,) = bands(*(event(i, "server_end", 1, quiet=True) for i in range(3)))
    assert band.text == "server closed 3"


def greedy(events, many):
    """Silences of one host, the slow way: the most that share a moment, again and again."""
    groups = []
    while events:
        at = max(
            sorted({e.low_s for e in events}), key=lambda t: sum(e.low_s <= t <= e.high_s for e in events)
        )
        group = [e for e in events if e.low_s <= at <= e.high_s]
        if len(group) < many:
            break
        groups.append(sorted(e.connection.number for e in group))
        events = [e for e in events if e not in group]
    return sorted(groups)


@pytest.mark.parametrize("seed", range(40))
def test_silences_are_grouped_as_by_the_slow_way(seed):
    chance = random.Random(seed)
    events = [
        event(i, "silence", low := chance.uniform(0, 60), low + chance.expovariate(0.3), code="dead_peer")
        for i in range(60)
    ]
    _, found = bands(*events)
    assert sorted(sorted(each.connections) for each in found) == greedy(events, 3)


@pytest.mark.parametrize(
    ("every_s", "length", "count"), [(0, 4, 1), (5, 4, 2_500), (5, 6, 1_250)],
    ids=["at once", "apart", "each overlaps the next"],
)  # fmt: skip
def test_ten_thousand_silences_are_no_matter_of_minutes(every_s, length, count):
    low = [i // 4 * every_s for i in range(10_000)]
    began = process_time()
    _, found = bands(*(event(i, "silence", low[i], low[i] + length, code="dead_peer") for i in range(10_000)))
    assert process_time() - began < 3  # each with each other takes many times that
    assert len(found) == count


@pytest.mark.parametrize("seed", range(5))
def test_spans_around_another_one_are_found_without_asking_each(seed):
    chance = random.Random(seed)
    spans = [(low := chance.randrange(100), low + chance.randrange(50), i) for i in range(1000)]
    for low in range(0, 100, 7):
        for high in (low, low + 5):
            expected = [i for began, until, i in spans if began < low and until > high]
            assert sorted(LongSpans(spans).around(low, high)) == expected


def test_a_goodbye_at_the_time_of_an_incident_is_not_part_of_it():
    broken = [event(i, "server_end", 5 + i / 10) for i in range(3)]
    goodbyes = [event(9, "server_end", 5.05, quiet=True), event(8, "server_end", 5.06, quiet=True)]
    _, (band,) = incidents_of([*broken, *goodbyes], 100, BEGAN, lambda e: e.connection.number == 9)
    assert band.connections == (0, 8, 1, 2)


def timed(count, how="close", side="server", silence_s=60.0, apart_s=3.1):
    """Connections that were used at different times and ended after the same silence, in milliseconds."""
    for i in range(count):
        last = 4 + i * apart_s
        talk = Talk(40_000 + i).open(i * 0.5).ask(last)
        getattr(talk, how)(last + 0.001 + silence_s + i * 0.01, side)
        yield talk


@pytest.mark.parametrize("how", ["close", "reset"])
def test_ends_after_equal_silences_are_one_incident_and_say_so(tmp_path, how):
    found = story_of(tmp_path, *timed(6, how), Talk(41_000).open(1).ask(2).close(9, "client"))
    (incident,) = found.incidents
    assert incident.connections == (0, 1, 2, 4, 5, 6) and not incident.is_silence
    assert f"{how.replace('ose', 'osed')} 6 connections" in incident.what
    assert incident.what.endswith(", each after 60.0 s of silence")
    assert incident.cause.code == "idle_timeout" and "after 60 s of silence" in incident.cause.says
    assert incident.to_json()["silence_s"] == pytest.approx(60.025)
    by_client = story_of(tmp_path, *timed(6, "reset", "client")).incidents
    assert [each.what.endswith(", each after 60.0 s of silence") for each in by_client] == [True]


@pytest.mark.parametrize(
    "changed", [{"silence_s": 1.0}, {"count": 2}, {"apart_s": 0.001}, {"side": "client"}]
)
def test_other_closes_after_silences_do_not(tmp_path, changed):
    """A short one, two only, connections that were also used at the same time, goodbyes of the client."""
    found = story_of(tmp_path, *timed(**{"count": 6, **changed}))
    assert not any("of silence" in each.what or each.silence_s for each in found.incidents)
    other = [Talk(40_000 + i).open(i).ask(i + 1).close(i + 2 + i * 7, "server") for i in range(20)]
    assert not story_of(tmp_path, *other).incidents  # each after another silence


def test_refusals_join_the_closes_before_them():
    ends = [event(i, "server_end", 5) for i in range(3)]
    _, (band,) = bands(*ends, *(event(10 + i, "refused", 20 + i, code="refused") for i in range(4)))
    assert band.text == "server closed 3, refused 4" and band.high_s == 5 and len(band.connections) == 7
    _, two = bands(*ends, event(10, "refused", 90, code="refused"))
    assert [each.text for each in two] == ["server closed 3", "refused 1"]
    other = Endpoint("10.0.0.9", 5432)
    _, two = bands(*ends, event(10, "refused", 9, code="refused", server=other))
    assert len(two) == 2


def test_a_silence_lies_where_most_intervals_meet():
    intervals = [(1.0, 12.0), (9.5, 10.0), (4.0, 9.8), (9.0, 20.0), (30.0, 31.0)]
    silent = [event(i, "silence", *each, code="dead_peer") for i, each in enumerate(intervals)]
    kept, (band,) = bands(*silent)
    assert (band.low_s, band.high_s) == (9.5, 9.8) and band.text == "4 unanswered"
    assert band.connections == (0, 1, 2, 3) and len(kept) == 5
    assert band.says.startswith("Between ")


def test_below_three_events_each_is_its_own():
    _, made = bands(
        event(0, "client_end", 5, code="reset_by_client"), event(1, "silence", 7, 9, code="dead_peer")
    )
    assert [each.text for each in made] == ["client reset 1", "1 unanswered"]
    assert [each.number for each in made] == [1, 2]


def test_one_direction_is_said():
    _, (band,) = bands(*(event(i, "silence", 1, 2, code="one_way") for i in range(3)))
    assert band.text == "client’s packets lost" and "from client to server broke" in band.says


@pytest.mark.parametrize("seed", range(5))
def test_order_and_time_of_the_file_change_nothing_else(seed):
    chance = random.Random(seed)
    families = {"server_end": "closed_by_server", "refused": "refused", "silence": "dead_peer",
                "client_end": "reset_by_client"}  # fmt: skip
    made = []
    for i in range(40):
        family = chance.choice(list(families))
        low = chance.choice((1, 20, 40)) + chance.random() / 5
        high = low + chance.random() if family == "silence" else None
        made.append(event(i, family, low, high, code=families[family]))
    _, expected = bands(*made)
    chance.shuffle(made)
    _, shuffled = bands(*made)

    def known(each):
        return (each.number, each.low_s, each.high_s, each.text, sorted(each.connections))

    assert list(map(known, shuffled)) == list(map(known, expected))
    _, later = incidents_of(made, 100, BEGAN + 3600 * 10**9)
    assert [each.text for each in later] == [each.text for each in expected]


def said(name):
    file = read_capture(PROJECT / "data" / "captures" / f"{name}.pcap")
    timeline = read_incidents(file, diagnose(file))
    return timeline, timeline.headline(), consequences(timeline)


def test_of_captures_in_words():
    timeline, sentence, more = said("case_4")
    assert [each.text for each in timeline.incidents] == ["7 ghosts"] and len(timeline.hit) == 7
    assert "7 connections to 10.0.0.2:5432 (PostgreSQL) were established for the client only" in sentence
    assert more == "On 7 connections no answer came for 15.9 s."
    timeline, sentence, _ = said("case_6")
    assert "refused 24 connections. 24 of 137 connections broke in it; 1 more broke separately." in sentence
    assert said("case_1")[1].startswith("Between 13:17:30.127 and 13:22:30.128 10.0.0.2 no longer answered")
    assert said("lesson_idle_alive")[1].startswith("Nothing broke in this file: 1 connection in ")
    assert "did not read for" in said("slow_reader")[1]


def test_connection_attempts_that_were_never_answered_are_no_connections():
    file = read_capture(PROJECT / "data" / "captures" / "syn_linear_timeouts_on_6_1.pcap")
    assert find_incidents(file, diagnose(file)).headline() == (
        "At 00:00:00.000 10.0.0.2:5432 (PostgreSQL) did not answer 1 connection attempt."
    )


# -- closes that are a habit -----------------------------------------------------------------------------


def requests(times, answer_s=0.02, first_port=40_000):
    """Connections that ask once at these times, whose server answers and closes at once, as in HTTP/1.0."""
    for i, t in enumerate(times):
        talk = Talk(first_port + i, to=8080).open(t).ask(t + 0.01, b"GET /", b"200 OK", answer_s)
        yield talk.close(t + 0.0101 + answer_s)


def story_of(tmp_path, *talks):
    read = read_capture(capture(tmp_path / "x.pcap", *talks))
    return find_incidents(read, diagnose(read))


@pytest.mark.parametrize("rate", [0.5, 2, 20, 200])
def test_a_busy_server_that_closes_each_connection_has_no_incident(tmp_path, rate):
    chance = random.Random(int(rate * 10))
    times, t = [], 0.0
    while len(times) < 300:
        t += chance.expovariate(rate)
        times.append(t)
    found = story_of(tmp_path, *requests(times))
    assert found.incidents == () and found.broke == {}
    assert found.headline().startswith("Nothing broke in this file: 300 connections")


def test_six_requests_of_one_page_are_no_incident(tmp_path):
    assert story_of(tmp_path, *requests([1.0 + i / 1000 for i in range(6)])).incidents == ()


def test_a_client_that_says_goodbye_in_its_protocol_is_no_incident(tmp_path):
    talks = [
        Talk(40_000 + i).open(0).ask(1).say(5, "client", PSH | ACK, b"quit").close(5.001) for i in range(8)
    ]
    assert story_of(tmp_path, *talks).incidents == ()


@pytest.mark.parametrize("alert", [b"", b"alert"])
def test_idle_sessions_that_end_together_are_one_beside_a_busy_server(tmp_path, alert):
    idle = [Talk(50_000 + i, to=8080).open(0).ask(1 + i) for i in range(30)]
    for i, talk in enumerate(idle):
        if alert:  # TLS closes with data that nobody can read
            talk.say(60 + i / 1000, "server", PSH | ACK, alert)
        talk.close(60.0001 + i / 1000)
    (found,) = story_of(tmp_path, *idle, *requests([i / 2 + 0.1 for i in range(240)])).incidents
    assert set(found.connections) >= set(range(30)) and len(found.connections) < 36
    assert found.text.startswith("server closed 3")
