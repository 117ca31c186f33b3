"""An experiment's parameters as settings to paste: sysctl, socket options, libpq.

Names, units and factors come from the knobs. Parameters that exist only for an experiment never
get here. What already is Linux's own default stands as a comment: nothing has to be set for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from tcplab.catalogue import find
from tcplab.knobs import Knob, Parameters
from tcplab.releases import release

#: Options that only count on a socket with SO_KEEPALIVE.
_KEEPALIVE = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")

#: What the catalogue calls the product of each layer.
_PRODUCTS = {"sysctl": "linux", "socket_option": "socket", "libpq": "libpq"}

_HEADS = {
    "sysctl": "# /etc/sysctl.d/90-tcp.conf, then: sysctl --system",
    "socket options": "# Python; other languages name the options the same",
    "libpq": "# pg_service.conf; or all in one line, with blanks between, as a connection string",
}


class _Setting(NamedTuple):
    """One line of one layer."""

    name: str
    value: int
    #: What the value alone does not say.
    remark: str = ""
    #: The chosen Linux has no such setting.
    is_missing: bool = False
    #: What an untouched Linux has, in the setting's own units; None: it differs, or is not known.
    default: float | None = None


def settings(parameters: Parameters) -> dict[str, str]:
    """Text to paste by layer: ``{"sysctl": …, "socket options": …, "libpq": …}``.

    A layer in which these parameters have no name is left out.
    """
    layers: dict[str, list[str]] = {
        "sysctl": list(_sysctl(parameters)),
        "socket options": list(_socket_options(parameters)),
        "libpq": list(_libpq(parameters)),
    }
    for layer, lines in parameters.lines_to_paste().items():
        layers[layer] += lines
    return {layer: "\n".join([_HEADS[layer], *lines]) + "\n" for layer, lines in layers.items() if lines}


def _sysctl(parameters: Parameters) -> Iterator[str]:
    for setting in _settings(parameters, "sysctl"):
        yield from _line(setting, f"{setting.name} = {setting.value}")
    if _keepalive_switch(parameters):
        yield "# tcp_keepalive_* count only for sockets on which the program has set SO_KEEPALIVE"


def _socket_options(parameters: Parameters) -> Iterator[str]:
    switch = _keepalive_switch(parameters)
    if switch is not None:
        text = f"sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, {switch})"
        default = _defaults("socket_option", parameters.linux)["SO_KEEPALIVE"]
        yield from _line(_Setting("SO_KEEPALIVE", switch, default=default), text)
    for setting in _settings(parameters, "socket_option"):
        level = "SOL_SOCKET" if setting.name.startswith("SO_") else "IPPROTO_TCP"
        yield from _line(setting, f"sock.setsockopt(socket.{level}, socket.{setting.name}, {setting.value})")


def _libpq(parameters: Parameters) -> Iterator[str]:
    switch = _keepalive_switch(parameters)
    if switch is not None:
        yield f"keepalives={switch}"
    for setting in _settings(parameters, "libpq"):
        yield from _line(setting, f"{setting.name}={setting.value}")


def _line(setting: _Setting, text: str) -> Iterator[str]:
    is_default = setting.default == setting.value
    remark = setting.remark or ("Linux's default" if is_default else "")
    if is_default or setting.is_missing:
        yield f"# {text}   ({remark})"
    else:
        yield from [f"# {remark}", text] if remark else [text]


def _settings(parameters: Parameters, layer: str) -> Iterator[_Setting]:
    """The settings of one layer: `sysctl`, `socket_option` or `libpq`, as the knob's field is called."""
    factors = {"sysctl": "sysctl_factor", "socket_option": "socket_factor", "libpq": "libpq_factor"}
    off = _keepalive_switch(parameters) == 0
    rules = release(parameters.linux)
    defaults = _defaults(layer, parameters.linux)
    for parameter, knob in _to_paste(parameters):
        name, value = getattr(knob, layer), getattr(parameters, parameter)
        if not name or (off and knob.socket_option in _KEEPALIVE):
            continue
        exact = value * getattr(knob, factors[layer])
        whole = math.ceil(exact)
        if knob.since and rules.older_than(knob.since):
            yield _Setting(name, whole, f"not in Linux {parameters.linux}: came with {knob.since}", True)
        else:
            remark = "" if exact == whole else f"{exact:g} rounded up: whole numbers only"
            yield _Setting(name, whole, remark, default=defaults.get(name))


def _defaults(layer: str, linux: str) -> dict[str, float]:
    """What an untouched Linux of a version has, by the names of a layer."""
    rules = release(linux)
    found: dict[str, float] = {"net.ipv4.tcp_tw_reuse": rules.tw_reuse, "net.core.somaxconn": rules.somaxconn}
    for each in find(product=_PRODUCTS[layer]):
        match each.effective.default:
            case int() | float() as number:
                found.setdefault(each.name, number)
            case None if each.purpose == "user timeout":
                found[each.name] = 0  # unset is off
    return found


def _to_paste(parameters: Parameters) -> list[tuple[str, Knob]]:
    return [(name, knob) for name, knob in parameters.knobs().items() if not knob.test_only]


def _keepalive_switch(parameters: Parameters) -> int | None:
    """1 or 0 for SO_KEEPALIVE; None where the parameters say nothing about it."""
    values: list[Any] = [
        getattr(parameters, name)
        for name, knob in parameters.knobs().items()
        if knob.socket_option == "TCP_KEEPIDLE"
    ]
    return int(any(values)) if values else None
