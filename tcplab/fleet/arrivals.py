"""When attempts come."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from math import log
from random import Random

from tcplab.trace import SECOND


@lru_cache(maxsize=1)  # whoever turns another parameter of a study asks for the same moments again
def poisson(rate_per_s: float, duration_s: float, seed: int) -> tuple[int, ...]:
    """Moments at random with a mean rate, independent of each other, until `duration_s`: nanoseconds.

    The same seed gives the same moments.
    """
    draw, mean, end = Random(seed).random, SECOND / rate_per_s, round(duration_s * SECOND)
    moments: list[int] = []
    now = 0.0
    while now < end:
        few = int((end - now) / mean) + 16
        steps = accumulate((log(1 - draw()) * -mean for _ in range(few)), initial=now)
        next(steps)
        moments += map(int, steps)
        now = moments[-1]
    while moments and moments[-1] >= end:
        moments.pop()
    return tuple(moments)
