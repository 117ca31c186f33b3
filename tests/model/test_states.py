"""The table of states: what RFC 9293 figure 5 has, Linux's additions, and nothing unreachable."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

from tcplab.model import rules as s
from tcplab.model.rules import STATES, TRANSITIONS, IllegalEvent, advance, mermaid


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
def test_the_paths_from_closed_to_closed(path):
    end = SimpleNamespace(state=s.CLOSED)
    for event in path:
        advance(end, event)
    assert end.state == s.CLOSED


@pytest.mark.parametrize(
    ("state", "event"),
    [(s.CLOSED, s.CLOSES), (s.TIME_WAIT, s.CLOSES), (s.LISTEN, s.GETS_RESET), (s.CLOSED, s.GETS_RESET)],
)
def test_an_illegal_event_names_state_and_event_and_changes_nothing(state, event):
    end = SimpleNamespace(state=state)
    with pytest.raises(IllegalEvent, match=state) as error:
        advance(end, event)
    assert event in str(error.value) and end.state == state


def assigned_states(source):
    """The functions in a source text that assign to an attribute `state`."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and node.attr == "state"
                ):
                    yield function.name


def test_only_one_function_changes_the_state_of_a_socket():
    """A new socket gets its first state, and `Ports` notes the state of the owner of a port."""
    folder = Path(s.__file__).parent
    found = {
        (path.stem, name)
        for path in folder.glob("*.py")
        for name in assigned_states(path.read_text())
        if name != "__init__" and path.stem != "ports"
    }
    assert found == {("rules", "advance"), ("stack", "_touch")}
    assert set(assigned_states("def f(a):\n a.b, c.state = 1, 2")) == {"f"}


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
