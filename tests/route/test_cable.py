"""One host's end of the wire: the plug, named losses, the host's own firewall."""

import pytest

from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, Segment
from tcplab.route.cable import LOSABLE, Cable

HERE, THERE = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)


def segment(flags, length=0):
    return Segment(HERE, THERE, 1, 1, flags, 65535, length)


@pytest.mark.parametrize(
    ("flags", "length", "names"),
    [
        (SYN, 0, {"any", "syn"}),
        (SYN | ACK, 0, {"any", "syn"}),
        (ACK, 0, {"any", "ack"}),
        (ACK | PSH, 40, {"any", "data"}),
        (ACK, 1460, {"any", "data"}),
        (ACK | FIN, 0, {"any", "fin"}),
        (ACK | FIN | PSH, 40, {"any", "fin", "data"}),
        (RST, 0, {"any"}),
        (RST | ACK, 0, {"any"}),
    ],
)
def test_what_the_names_mean(flags, length, names):
    assert {name for name, means in LOSABLE.items() if means(segment(flags, length))} == names


def test_as_many_as_was_said_are_lost():
    cable = Cable()
    cable.lose("data", 2)
    lost = [cable.loses(segment(flags, length)) for flags, length in [(ACK, 0), (ACK, 9), (ACK, 9), (ACK, 9)]]
    assert lost == [False, True, True, False]


def test_a_segment_counts_for_one_name_only():
    cable = Cable()
    cable.lose("fin", 1)
    cable.lose("any", 1)
    assert [cable.loses(segment(ACK | FIN)) for _ in range(3)] == [True, True, False]


def test_losing_none_ends_it():
    cable = Cable()
    cable.lose("any", 1000)
    assert cable.loses(segment(ACK))
    cable.lose("any", 0)
    assert not cable.loses(segment(ACK))


def test_an_unknown_name_says_so_at_once():
    with pytest.raises(KeyError):
        Cable().lose("packet", 1)


def test_pulling_the_plug_is_remembered():
    cable = Cable()
    assert cable.plugged and cable.cuts == 0
    cable.unplug()
    assert not cable.plugged
    cable.plug()
    assert cable.plugged and cable.cuts == 1


def test_rules_look_at_the_port_that_a_segment_goes_to():
    cable = Cable()
    cable.add_rule(5432, "REJECT")
    assert cable.rule_for(segment(SYN)) == "REJECT"
    back = Segment(THERE, HERE, 1, 1, ACK, 0)
    assert cable.rule_for(back) is None


def test_a_rule_may_hold_for_some_segments_with_payload():
    cable = Cable()
    assert cable.add_rule(5432, "DROP").says == "firewall rule: DROP port 5432"
    rule = cable.add_rule(5432, "REJECT", times=2)
    assert rule.says == "firewall rule: REJECT port 5432, only the next 2 segments with data"
    came = [segment(ACK), segment(ACK | PSH, 9), segment(ACK), segment(ACK, 9), segment(ACK, 9)]
    assert [cable.rule_for(each) for each in came] == [None, "REJECT", None, "REJECT", None]
