"""The table of states: what RFC 9293 figure 5 has, Linux's additions, and nothing unreachable."""

import pytest

from tcplab.model import rules as s
from tcplab.model.rules import STATES, TRANSITIONS, IllegalStep, mermaid, next_state


def test_every_state_can_be_reached_and_left():
    assert {state for state, _ in TRANSITIONS} == set(STATES)
    reached, waiting = {s.CLOSED}, [s.CLOSED]
    while waiting:
        here = waiting.pop()
        for (state, _), after in TRANSITIONS.items():
            if state == here and after not in reached:
                reached.add(after)
                waiting.append(after)
    assert reached == set(STATES)


@pytest.mark.parametrize(
    "path",
    [
        # the active closer, the passive closer, both at once
        [s.CONNECTS, s.GETS_SYN_ACK, s.CLOSES, s.GETS_FIN_ACK, s.GETS_FIN, s.EXPIRES],
        [s.CONNECTS, s.GETS_SYN_ACK, s.GETS_FIN, s.CLOSES, s.GETS_FIN_ACK],
        [s.CONNECTS, s.GETS_SYN_ACK, s.CLOSES, s.GETS_FIN, s.GETS_FIN_ACK, s.EXPIRES],
        [s.LISTENS, s.GETS_SYN, s.GETS_HANDSHAKE_ACK, s.GETS_FIN, s.CLOSES, s.GETS_FIN_ACK],
        [s.LISTENS, s.CLOSES],
        [s.CONNECTS, s.TIMES_OUT],
        [s.CONNECTS, s.GETS_RESET],
    ],
)
def test_the_ways_from_closed_to_closed(path):
    state = s.CLOSED
    for step in path:
        state = next_state(state, step)
    assert state == s.CLOSED


@pytest.mark.parametrize(
    "step",
    [(s.CLOSED, s.CLOSES), (s.TIME_WAIT, s.CLOSES), (s.LISTEN, s.GETS_RESET), (s.CLOSED, s.GETS_RESET)],
)
def test_an_illegal_step_names_state_and_step(step):
    with pytest.raises(IllegalStep, match=step[0]) as error:
        next_state(*step)
    assert step[1] in str(error.value)


def test_any_connection_may_die_of_a_rst_an_abort_or_a_timeout():
    for state in STATES:
        for step in (s.GETS_RESET, s.ABORTS, s.TIMES_OUT):
            assert ((state, step) in TRANSITIONS) == (state not in (s.CLOSED, s.LISTEN))


def test_the_diagram_shows_every_other_step():
    diagram = mermaid()
    for (state, step), after in TRANSITIONS.items():
        ends = {s.CLOSED: "[*]"}
        shown = f"{ends.get(state, state)} --> {ends.get(after, after)}: {step}" in diagram
        assert shown == (step not in (s.GETS_RESET, s.ABORTS, s.TIMES_OUT))
