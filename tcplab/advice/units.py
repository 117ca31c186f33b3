"""Values as each product reads them: ``5min``, ``30s``, a bare number in the setting's own unit."""

from __future__ import annotations

import math
import re
from typing import Any

from tcplab.catalogue import TIMES, Setting
from tcplab.knobs import ParameterError

#: What products write after a number, in seconds.
_POSTGRESQL = {"us": 1e-6, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_HAPROXY = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: By product; who is not here takes bare numbers only.
_UNITS = {"postgresql": _POSTGRESQL, "haproxy": _HAPROXY}
#: PgBouncer's times may be fractions of a second (doc/config.md).
_FRACTIONS = ("pgbouncer", "psycopg_pool", "sqlalchemy")
_YES = dict.fromkeys(("true", "on", "yes", "1"), True)
_YES |= dict.fromkeys(("false", "off", "no", "0"), False)


def value_of(setting: Setting, text: str) -> Any:
    """A text as the setting's product reads it, in the setting's own unit.

    Raises `ParameterError` with one sentence.
    """
    name = f"{setting.product.title}: {setting.name}"
    if isinstance(setting.default, bool) or setting.unit == "switch":
        if text.lower() not in _YES:
            raise ParameterError(f"{name} = {_shown(text)} is neither on nor off.")
        is_on = _YES[text.lower()]
        return is_on if isinstance(setting.default, bool) else int(is_on)
    if setting.unit in ("mode", "query", "function") or isinstance(setting.default, str):
        if setting.name.endswith("ip_local_port_range"):
            return port_range(name, text)
        return int(text) if re.fullmatch(r"\d{1,6}", text) else text[:200]
    units = _UNITS.get(setting.product.key, {}) if setting.unit in TIMES else {}
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text)
    right = f"a number of {setting.unit}" + (f", or with {', '.join(units)}" if units else "")
    if not found or len(text) > 40 or (found[2] and found[2] not in units):
        raise ParameterError(f"{name} = {_shown(text)} can't be read: it takes {right}.")
    number = float(found[1])
    if found[2]:
        number = round(number * units[found[2]] / TIMES[setting.unit], 6)
        # PostgreSQL rounds to the setting's own unit (guc.c:parse_int); HAProxy rounds up.
        number = round(number) if setting.product.key == "postgresql" else math.ceil(number)
    if number != int(number) and setting.product.key not in _FRACTIONS:
        raise ParameterError(f"{name} = {_shown(text)} can't be read: it takes {right}, a whole one.")
    return int(number) if number == int(number) else number


def port_range(name: str, text: str) -> str:
    """A range of ports as Linux writes it. Raises `ParameterError` with one sentence."""
    found = re.fullmatch(r"(\d{1,5})\s+(\d{1,5})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= 65_535:
        raise ParameterError(f"{name} = {_shown(text)} is no range: two ports, the lower one first.")
    return f"{int(found[1])} {int(found[2])}"


def _shown(text: str) -> str:
    return repr(text[:20])
