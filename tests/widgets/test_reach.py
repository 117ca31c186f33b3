"""The map of keepalive against boxes: it says what the experiment and the inequality say."""

import pytest

from tcplab import IdleFirewall, run
from tcplab.advice.runs import SURVIVES
from tcplab.core.knobs import ParameterError
from tcplab.widgets.maps import DIES, LUCK, lost_probe_map

KEEPALIVES, BOXES = (60, 274, 300, 600), (350, 900)


def cells(picture, keepalives=KEEPALIVES, boxes=BOXES):
    """The words of every pair; the picture counts both from 0."""
    (heat,) = [trace for trace in picture.figure.data if trace.type == "heatmap"]
    told = [text for row in heat.text for text in row]
    return dict(zip([(idle, box) for box in boxes for idle in keepalives], told, strict=True))


def test_every_pair_is_what_the_inequality_says():
    found = cells(lost_probe_map(KEEPALIVES, BOXES))
    assert len(found) == len(KEEPALIVES) * len(BOXES)
    for (idle, box), text in found.items():
        wanted = DIES if idle >= box else LUCK if idle + 75 >= box else SURVIVES
        assert text == wanted, (idle, box, text)


def test_it_is_a_run_of_the_experiment():
    story = IdleFirewall(firewall_idle_s=350, keepalive_idle_s=600, quiet_s=1800, waiting_for="long_query")
    assert not run(story).outcome["survived"]
    assert cells(lost_probe_map((600,), (350,)), (600,), (350,))[600, 350] == DIES


def test_more_lost_probes_kill_more():
    assert cells(lost_probe_map((250,), (350,), lost=1), (250,), (350,))[250, 350] == SURVIVES
    assert cells(lost_probe_map((250,), (350,), lost=2), (250,), (350,))[250, 350] == LUCK


@pytest.mark.parametrize(
    "wrong", [{"lost": 0}, {"interval_s": 0}, {"keepalives_s": (40_000,)}, {"silent_s": -1}]
)
def test_what_linux_does_not_take_is_refused(wrong):
    with pytest.raises(ParameterError):
        lost_probe_map(**wrong)
