"""The balancer: it believes a RST, and some time later has no session."""

import pytest

from route.boxes import CLIENT, CLIENT_AT, SERVER, SERVER_AT, ask, handshake, segment
from tcplab.core.segment import RST, Segment
from tcplab.core.text import SECOND
from tcplab.route.firewall import Balancer
from tcplab.route.middlebox import GONE, OPEN, TableLine

CLOSE = 10 * SECOND


def after_a_stale_reset(refresh):
    """A balancer that has seen a RST at second 1, one that its receiver ignored."""
    box = Balancer(CLOSE, refresh=refresh)
    handshake(box)
    assert box.pass_on(SECOND, segment("client", "rst", seq=CLIENT_AT - 500)).passes
    return box


def test_without_a_rst_it_stands_there_for_ever():
    box = Balancer(CLOSE)
    handshake(box)
    assert box.next_timer() is None
    assert ask(box, 100_000, "server data").passes


def test_ten_seconds_after_the_rst_either_side_gets_an_exact_one():
    for words, reset in [
        ("client data", Segment(SERVER, CLIENT, SERVER_AT, 0, RST, 0)),
        ("server data", Segment(CLIENT, SERVER, CLIENT_AT, 0, RST, 0)),
    ]:
        box = after_a_stale_reset(refresh=False)
        assert all(ask(box, second, words).passes for second in (2, 6, 10.9))
        done = ask(box, 11, words)
        assert not done.passes and done.resets == (reset,)
        assert ask(box, 12, words).resets == (reset,)


def test_with_refresh_whoever_goes_on_keeps_the_session():
    box = after_a_stale_reset(refresh=True)
    assert all(ask(box, second, "client data").passes for second in (10, 19, 28))
    assert ask(box, 38.1, "client data").resets


def test_a_second_rst_does_not_move_the_end():
    box = after_a_stale_reset(refresh=False)
    assert box.pass_on(5 * SECOND, segment("client", "rst")).passes
    assert box.next_timer() == SECOND + CLOSE


def test_no_rst_is_answered_by_a_rst():
    box = after_a_stale_reset(refresh=False)
    done = ask(box, 20, "server rst")
    assert not done.passes and not done.resets


def test_a_new_connection_is_a_new_session():
    box = after_a_stale_reset(refresh=False)
    assert not ask(box, 20, "server data").passes
    handshake(box, 21)
    assert ask(box, 500, "server data").passes


@pytest.mark.parametrize("refresh", [False, True])
def test_the_table_can_be_read(refresh):
    box = after_a_stale_reset(refresh)
    ask(box, 2, "client data")
    box.timer(12 * SECOND)
    entries = [TableLine(CLIENT, SERVER, OPEN), TableLine(CLIENT, SERVER, OPEN, "close", 11 * SECOND)]
    entries += [TableLine(CLIENT, SERVER, OPEN, "close", 12 * SECOND)] * refresh
    assert box.changed() == [*entries, TableLine(CLIENT, SERVER, GONE)]
