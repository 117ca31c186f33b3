"""Advice: from a connection's path to settings that keep the five inequalities.

    >>> from tcplab.advice import MiddleboxSettings, Environment, Leg, advise
    >>> legs = (Leg("application to database", (MiddleboxSettings("AWS Network Firewall", 350),)),)
    >>> advice = advise(Environment(legs=legs, settings={"libpq.keepalives_idle": 300}))
    >>> [check.numbers for check in advice.broken if check.inequality == 1]
    ['300 + 75 x 2 = 450 s (libpq) < 350 s (AWS Network Firewall)']

Seconds come from runs of the experiments on the model; settings, units and defaults from the catalogue.
"""

from tcplab.advice.advice import Advice, advise
from tcplab.advice.checks import Check
from tcplab.advice.environment import Environment, Leg, MiddleboxSettings
from tcplab.advice.paste import Pasted, PasteReading, read, read_settings
from tcplab.advice.settings import Change

__all__ = [
    "Advice",
    "Change",
    "Check",
    "Environment",
    "Leg",
    "MiddleboxSettings",
    "PasteReading",
    "Pasted",
    "advise",
    "read",
    "read_settings",
]  # fmt: skip
