"""The firewall: what keeps an entry alive, and the five ways in which it may be forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from route.boxes import CLIENT, CLIENT_AT, SERVER, SERVER_AT, ask, handshake, segment
from tcplab.core.segment import RST, Segment, reset_for
from tcplab.core.text import SECOND
from tcplab.route.firewall import CLOSE_TIMEOUT, EXPIRED, Firewall
from tcplab.route.middlebox import GONE, OPEN, TableLine

IDLE = 350 * SECOND
TO_CLIENT = Segment(SERVER, CLIENT, SERVER_AT, 0, RST, 0)
TO_SERVER = Segment(CLIENT, SERVER, CLIENT_AT, 0, RST, 0)


def forgotten(expired):
    """A firewall that has just forgotten its only connection, and what it did at that moment."""
    box = Firewall(IDLE, expired)
    handshake(box)
    return box, box.timer(box.next_timer())


def test_every_segment_restarts_the_timer_whoever_sent_it():
    box = Firewall(IDLE)
    handshake(box)
    for second, words in (300, "client data"), (600, "server ack"), (949.9, "server data"):
        assert ask(box, second, words).passes
    assert box.next_timer() == round((949.9 + 350) * SECOND)


def test_the_table_can_be_read():
    box = Firewall(IDLE)
    handshake(box)
    box.timer(IDLE)
    entry = TableLine(CLIENT, SERVER, OPEN, "idle", IDLE)
    assert box.changed() == [entry, entry, entry, TableLine(CLIENT, SERVER, GONE)]
    assert box.changed() == []


def test_without_idle_time_nothing_is_forgotten():
    box = Firewall(0)
    handshake(box)
    assert box.next_timer() is None
    assert ask(box, 1e9, "server data").passes


@pytest.mark.parametrize(
    ("expired", "at_expiry", "words", "passes", "resets"),
    [
        ("drop", (), "client data", False, ()),
        ("drop", (), "server data", False, ()),
        ("reject", (), "client data", False, (TO_CLIENT,)),
        ("reject", (), "server data", False, (TO_SERVER,)),
        ("reject", (), "server rst", False, ()),
        ("reset_both", (TO_CLIENT, TO_SERVER), "client data", False, ()),
        ("reset_both", (TO_CLIENT, TO_SERVER), "server data", False, ()),
        ("reopen", (), "client data", True, ()),
        ("reopen", (), "server data", True, ()),
        ("reopen", (), "server fin", False, ()),
        ("reopen", (), "server rst", False, ()),
        ("drop_inbound", (), "client data", True, ()),
        ("drop_inbound", (), "server data", False, ()),
        *((expired, None, "client syn", True, ()) for expired in EXPIRED),
    ],
)
def test_what_follows_expiry(expired, at_expiry, words, passes, resets):
    box, farewell = forgotten(expired)
    assert at_expiry is None or farewell.resets == at_expiry
    done = ask(box, 351, words)
    assert (done.passes, done.resets) == (passes, resets)


def test_once_something_goes_out_answers_come_in_again():
    box, _ = forgotten("drop_inbound")
    asked = [ask(box, second, words).passes for second, words in
             [(360, "server data"), (361, "client data"), (362, "server data")]]  # fmt: skip
    assert asked == [False, True, True]
    assert box.changed()[-1].initiator == CLIENT


def test_a_stranger_in_mid_stream_is_let_in_only_by_one_that_reopens():
    let_in = {expired for expired in EXPIRED if ask(Firewall(IDLE, expired), 0, "server data").passes}
    assert let_in == {"reopen"}


def test_it_says_what_it_does_once():
    box, farewell = forgotten("drop")
    assert "removes" in farewell.says
    said = [ask(box, second, "client data").says for second in (351, 352)]
    assert said == ["has no entry for this connection any more: dropped", ""]


def test_a_rst_that_its_receiver_obeys_ends_the_entry_after_ten_seconds():
    box = Firewall(IDLE)
    handshake(box)
    assert box.pass_on(SECOND, segment("server", "rst", seq=SERVER_AT - 40)).passes
    assert box.next_timer() == SECOND + IDLE
    assert box.pass_on(SECOND, segment("server", "rst")).passes
    assert box.next_timer() == SECOND + CLOSE_TIMEOUT
    assert box.timer(SECOND + CLOSE_TIMEOUT).says == ""
    assert not ask(box, 12, "client data").passes


def test_an_unknown_way_is_refused():
    with pytest.raises(KeyError):
        Firewall(IDLE, "explode")


steps = st.lists(
    st.tuples(
        st.floats(0, 700),
        st.sampled_from(
            ["client data", "server data", "client ack", "server ack", "client rst", "client syn"]
        ),
    ),
    max_size=12,
)


@given(st.sampled_from(sorted(EXPIRED)), steps)
def test_whatever_comes(expired, steps):
    """An entry lives while segments come in time; a RST is exact, and never answers a RST."""
    box, now, last = Firewall(IDLE, expired), 0.0, None
    for wait, words in steps:
        now += wait
        done = ask(box, now, words)
        is_alive = last is not None and now - last < 349
        assert done.passes or not is_alive
        assert done.passes or not words.endswith("syn")
        for reset in done.resets:
            asked = segment(*words.split())
            assert reset == reset_for(asked) and not asked.flags & RST and not done.passes
        if done.passes:
            assert box.next_timer() is not None and box.next_timer() > now * SECOND
            last = None if words.endswith("rst") else now
