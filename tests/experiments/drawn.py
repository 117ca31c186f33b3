"""Parameters drawn from an experiment's own knobs, for properties that hold for every one of them."""

from hypothesis import strategies as st

from tcplab.core.knobs import ParameterError
from tcplab.core.releases import LISTED


def values_of(name, knob):
    """Values of one parameter: its ends, what a slider reaches, and anything between."""
    if name == "linux":
        return st.sampled_from(LISTED)
    if name == "watch_s":
        return st.sampled_from([0, 0, 0.5, 9, 900])
    if knob.choices:
        return st.sampled_from(knob.choices)
    if knob.kind is bool:
        return st.booleans()
    most = knob.slider_high or min(knob.high, 100_000)
    ends = st.sampled_from([value for value in (knob.low, most, knob.high) if value <= 10 * most])
    if knob.kind is int:
        return st.one_of(ends.map(int), st.integers(int(knob.low), int(most)))
    return st.one_of(
        ends, st.floats(knob.low, most), st.integers(int(knob.low), int(min(most, 20))).map(float)
    )


@st.composite
def experiments(draw, kind):
    """An experiment with some parameters turned; those that refuse each other are drawn again."""
    knobs = kind.knobs()
    turned = draw(st.sets(st.sampled_from(sorted(knobs)), max_size=5))
    values = {name: draw(values_of(name, knobs[name])) for name in sorted(turned)}
    try:
        return kind(**values)
    except ParameterError:
        return kind()
