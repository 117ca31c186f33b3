"""The verbs that every bench shares: results, reading exactly so much, a healthy exchange."""

import asyncio
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scripted import connected, play
from tcplab.bench.model import ModelBench, ModelConnection, ModelHost, ModelListener
from tcplab.bench.script import (
    TIMER_LATE,
    Bench,
    Connection,
    Host,
    Listener,
    Result,
    ScriptError,
    SocketOptions,
)


def test_a_result_is_bytes_or_an_errno():
    assert Result(5).ok and not Result(5).end_of_file
    assert Result(0).ok and Result(0).end_of_file
    assert not Result(error="ECONNRESET").ok and not Result(error="ECONNRESET").end_of_file


def test_options_are_off_unless_said():
    options = SocketOptions()
    assert (options.keepalive_idle_s, options.user_timeout_s, options.receive_buffer) == (0, 0, 0)
    with pytest.raises(FrozenInstanceError):
        options.user_timeout_s = 5
    with pytest.raises(TypeError):
        SocketOptions(7200)


@pytest.mark.parametrize(
    ("mine", "abstract"),
    [(ModelBench, Bench), (ModelHost, Host), (ModelListener, Listener), (ModelConnection, Connection)],
)
def test_the_model_has_every_verb(mine, abstract):
    assert abstract.__abstractmethods__ and not mine.__abstractmethods__


class Piecewise(Connection):
    """Gives the results it was made with, one by one."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.asked = []

    async def receive(self, at_most=1 << 20):
        self.asked.append(at_most)
        return self.pieces.pop(0)

    async def send(self, length):
        return self.pieces.pop(0)

    async def settled(self):
        self.asked.append("settled")

    _perform = _changed = _is_settled = _is_hung_up = _pending_error = None


@pytest.mark.parametrize(
    ("pieces", "result", "asked"),
    [
        ([Result(100)], Result(100), [100]),
        ([Result(60), Result(40)], Result(100), [100, 40]),
        ([Result(60), Result(0)], Result(60), [100, 40]),
        ([Result(60), Result(error="ECONNRESET")], Result(60, "ECONNRESET"), [100, 40]),
        ([Result(error="ETIMEDOUT")], Result(0, "ETIMEDOUT"), [100]),
    ],
)
def test_receive_exactly(pieces, result, asked):
    connection = Piecewise(*pieces)
    assert asyncio.run(connection.receive_exactly(100)) == result
    assert connection.asked == asked


def test_a_healthy_exchange_settles_both_ends():
    client, server = Piecewise(Result(40), Result(200)), Piecewise(Result(40), Result(200))
    asyncio.run(client.exchange(server))
    assert (client.asked[-1], server.asked[-1]) == ("settled", "settled")


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ([Result(error="EPIPE"), Result(200)], [Result(40), Result(200)]),
        ([Result(40), Result(0)], [Result(40), Result(200)]),
        ([Result(40), Result(200)], [Result(39), Result(0), Result(200)]),
        ([Result(40), Result(200)], [Result(40), Result(error="ECONNRESET")]),
    ],
)
def test_an_exchange_that_is_not_healthy_is_a_mistake_in_the_story(client, server):
    with pytest.raises(ScriptError, match="the exchange failed"):
        asyncio.run(Piecewise(*client).exchange(Piecewise(*server)))


def test_after_an_exchange_nothing_is_owed_or_in_flight():
    async def script(bench):
        await connected(bench)
        before = len(bench.trace.packets)
        await bench.sleep(3600)
        return len(bench.trace.packets) - before

    assert play(script)[0] == 0


def test_keepalive_says_when_it_gives_up():
    off = SocketOptions(user_timeout_s=30)
    defaults = SocketOptions(keepalive_idle_s=7200)
    with_timeout = SocketOptions(
        keepalive_idle_s=5, keepalive_interval_s=1, keepalive_probes=3, user_timeout_s=30
    )
    assert (off.keepalive_gives_up_s, off.keepalive_watch_s) == (0, 0)
    assert (defaults.keepalive_gives_up_s, with_timeout.keepalive_gives_up_s) == (7875, 8)
    # One interval more and the user timeout, each an eighth late.
    assert defaults.keepalive_watch_s == pytest.approx(7950 * 71 / 63)
    assert with_timeout.keepalive_watch_s == pytest.approx(39 * 71 / 63)


def wheel(timeout_s, per_second, offset):
    """When Linux's timer wheel fires, seconds after it should: calc_wheel_index of kernel/time/timer.c."""
    ticks = round(timeout_s * per_second)
    level = next(n for n in range(9) if ticks < 63 * 8**n)
    turn = 8**level
    fires = (ticks + offset + turn) // turn * turn - offset
    return fires / per_second - timeout_s


@given(st.floats(1, 32767), st.sampled_from([100, 250, 300, 1000]), st.integers(0, 10**9))
def test_no_timer_of_linux_is_later_than_what_a_watch_allows_for(timeout_s, per_second, offset):
    assert wheel(timeout_s, per_second, offset) <= timeout_s * TIMER_LATE + 2 / per_second


def test_the_lateness_of_two_hours_is_what_was_measured():
    assert max(wheel(7200, 250, offset) for offset in range(0, 8**5, 64)) == pytest.approx(131, abs=1)
