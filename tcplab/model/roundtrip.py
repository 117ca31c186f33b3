"""The round-trip time of one connection, and the retransmission timeout derived from it.

Sources: net/ipv4/tcp_input.c (tcp_rtt_estimator, tcp_set_rto), net/ipv4/tcp_timer.c
(tcp_model_timeout); RFC 6298.
"""

from __future__ import annotations

from tcplab.model import rules as s

MICROSECOND = 1_000
_FLOOR = s.RTO_MIN // MICROSECOND


class RoundTrip:
    """Smoothed round-trip time of one connection, and the retransmission timeout derived from it.

    RFC 6298 as Linux does it, in microseconds and shifts (net/ipv4/tcp_input.c:tcp_rtt_estimator,
    tcp_set_rto). The floor of 200 ms is under the variance term, so the timeout is a little above
    200 ms plus the smoothed round-trip time.
    """

    __slots__ = ("deviation", "deviation_max", "epoch", "least", "rto_max", "srtt", "variation")

    def __init__(self, rto_max: int = s.RTO_MAX) -> None:
        self.rto_max = rto_max
        #: 8 x the smoothed time and 4 x its mean deviation, microseconds; 0 before a sample.
        self.srtt = 0
        #: The shortest round trip, nanoseconds. Linux forgets it after five minutes (tcp_update_rtt_min): not
        #: modelled, as no wire here gets slower.
        self.least: int | None = None
        self.deviation = 0
        self.deviation_max = 0
        self.variation = 0
        #: Bytes acknowledged when this round trip began: the variance may shrink once a round trip.
        self.epoch = 0

    def sample(self, rtt: int, acknowledged: int, outstanding: int) -> None:
        """Take one measurement, in nanoseconds, into account.

        `acknowledged` and `outstanding` count bytes since the start (SND.UNA and SND.NXT without
        wrap): they determine when a round trip has ended.
        """
        self.least = rtt if self.least is None else min(self.least, rtt)
        m = rtt // MICROSECOND or 1
        if not self.srtt:
            self.srtt = m << 3
            self.deviation = m << 1
            self.variation = self.deviation_max = max(self.deviation, _FLOOR)
            self.epoch = outstanding
            return
        error = m - (self.srtt >> 3)
        self.srtt = max(1, self.srtt + error)
        if error < 0:
            # A sudden drop should not widen the variance as fast as a rise.
            delta = -error - (self.deviation >> 2)
            delta = delta >> 3 if delta > 0 else delta
        else:
            delta = error - (self.deviation >> 2)
        self.deviation += delta
        if self.deviation > self.deviation_max:
            self.deviation_max = self.deviation
            self.variation = max(self.variation, self.deviation_max)
        if acknowledged > self.epoch:
            if self.deviation_max < self.variation:
                self.variation -= (self.variation - self.deviation_max) >> 2
            self.epoch = outstanding
            self.deviation_max = _FLOOR

    @property
    def smoothed(self) -> int:
        """Smoothed round-trip time in nanoseconds; 0 before a sample."""
        return (self.srtt >> 3) * MICROSECOND

    @property
    def rto(self) -> int:
        """Timeout before any backoff, nanoseconds, not yet rounded to the tick."""
        if not self.srtt:
            return s.TIMEOUT_INIT
        return min(((self.srtt >> 3) + self.variation) * MICROSECOND, self.rto_max)


def retries_as_time(retries: int, base: int = s.RTO_MIN, rto_max: int = s.RTO_MAX) -> int:
    """The time that Linux makes of a number of retries (tcp_timer.c:tcp_model_timeout).

    As if every timeout had doubled from `base` up to `rto_max`: 15 -> 924.6 s, 8 -> 102.2 s,
    5 -> 12.6 s; for a SYN (base 1 s) 6 -> 127 s. Nanoseconds.
    """
    doublings = (rto_max // base).bit_length() - 1
    if retries <= doublings:
        return ((2 << retries) - 1) * base
    return ((2 << doublings) - 1) * base + (retries - doublings) * rto_max
