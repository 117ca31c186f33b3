"""The console: what `ss` and `nstat` show on each host at an instant of a trace.

Formats are those of iproute2: misc/ss.c (state names, columns, timers) and misc/nstat.c. The order
of sockets on a real machine follows the kernel's hash table; here it is that of their first samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tcplab.core.releases import known_release
from tcplab.core.segment import Endpoint
from tcplab.core.text import MILLISECOND, bullets, terminal
from tcplab.core.trace import SocketSample, Trace
from tcplab.pictures.timeaxis import middleboxes_of

#: Leaves out listening sockets only; a plain `ss -tn` also hides TIME-WAIT and SYN-RECV.
SS = "ss -tno state connected"
NSTAT = "nstat"
#: The heading of a middlebox's table.
MIDDLEBOX = "the connections in its table"

#: States whose names in ss differ from those of RFC 9293 by more than a hyphen for the underscore.
_STATE_NAMES = {"ESTABLISHED": "ESTAB", "SYN_RECEIVED": "SYN-RECV", "CLOSED": "UNCONN"}
_HEADINGS = ("State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", "Process")

#: The meaning of the timers' names in ss.
TIMER_MEANING = {
    "on": "when the timer runs out, unacknowledged data, a SYN or a FIN is sent again",
    "keepalive": "when the timer runs out, the next keepalive probe is due",
    "persist": "the peer's window is closed: when the timer runs out, a window probe is sent",
    "timewait": "no process holds this socket; the kernel removes it when the timer runs out",
}


def state_name(state: str) -> str:
    """The name of a state in ss: `CLOSE-WAIT` for `CLOSE_WAIT`."""
    return _STATE_NAMES.get(state, state.replace("_", "-"))


def countdown(milliseconds: int, linux: str = "") -> str:
    """The time left on a timer in ss's format: ``119min``, ``1min59sec``, ``13sec``, ``204ms``; or nothing.

    From ten minutes on ss leaves the seconds out, from ten seconds on the milliseconds. Between one
    and ten seconds an ss older than 6.11 writes ``1.574ms`` and means 1.574 s; newer ones write
    ``1.574sec`` (iproute2 3e807112fdf3). iproute2 has Linux's version numbers: `linux` decides.
    """
    seconds, rest = divmod(max(milliseconds, 0), 1000)
    minutes, seconds = divmod(seconds, 60)
    if minutes:
        return f"{minutes}min" + (f"{seconds}sec" if seconds and minutes < 10 else "")
    if seconds >= 10 or (seconds and not rest):
        return f"{seconds}sec"
    if seconds:
        return f"{seconds}.{rest:03d}{'ms' if known_release(linux).older_than('6.11') else 'sec'}"
    return f"{rest:03d}ms" if rest else ""


def timer(sample: SocketSample, t: int, linux: str = "") -> str:
    """``timer:(keepalive,119min,0)``: the running timer, the time left, and the unanswered probes."""
    if not sample.timer:
        return ""
    left = -(-(max((sample.due or t) - t, 0)) // MILLISECOND)
    return f"timer:({sample.timer},{countdown(left, linux)},{sample.unanswered})"


def sockets(trace: Trace, host: str, t: int) -> list[SocketSample]:
    """The sockets that `SS` shows on a host at `t` (nanoseconds)."""
    return [s for s in trace.sockets_at(t) if s.host == host and s.state != "LISTEN"]


def ss(trace: Trace, host: str, t: int) -> str:
    """What `SS` prints on a host at `t` (nanoseconds); only the headings where there is no socket."""
    return _listed(trace, t, sockets(trace, host, t))


def listening(trace: Trace, host: str, t: int) -> str:
    """What `ss -ltn` prints at `t` (nanoseconds): who waits for accept() (Recv-Q), the backlog (Send-Q)."""
    return _listed(trace, t, [s for s in trace.sockets_at(t) if s.host == host and s.state == "LISTEN"])


def _listed(trace: Trace, t: int, samples: Iterable[SocketSample]) -> str:
    rows = [_HEADINGS] + [
        (
            state_name(sample.state), str(sample.recv_q), str(sample.send_q),
            _endpoint(sample.local), _endpoint(sample.remote), timer(sample, t, trace.linux),
        )
        for sample in samples
    ]  # fmt: skip
    return "\n".join(_aligned(rows))


def _endpoint(endpoint: Endpoint) -> str:
    return str(endpoint) if endpoint.port else f"{endpoint.address}:*"


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Columns one blank apart, addresses aligned at the colon, as in ss."""
    split = [(*row[:3], *row[3].rsplit(":", 1), *row[4].rsplit(":", 1), row[5]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*split, strict=True)]
    for state, received, sent, local, port, peer, peer_port, process in split:
        line = (
            f"{state:<{widths[0]}} {received:<{widths[1]}} {sent:<{widths[2]}} "
            f"{local:>{widths[3]}}:{port:<{widths[4]}} {peer:>{widths[5]}}:{peer_port:<{widths[6]}} {process}"
        )
        yield line.rstrip()


def nstat(trace: Trace, host: str, t: int) -> str:
    """What `nstat` prints on a host at `t`: TCP's counters that have changed since the run began.

    Only those that the trace holds; the real one shows more (segments and bytes counted, IP).
    """
    counters = trace.counters_at(t).get(host, {})
    # Tcp before TcpExt, as /proc/net/snmp comes before /proc/net/netstat.
    moved = sorted((name.startswith("TcpExt"), name, value) for name, value in counters.items() if value)
    lines = [f"{name:<32}{value:<19}0.0" for _, name, value in moved]
    return "\n".join(["#kernel", *lines])


def table_of(trace: Trace, middlebox: str, t: int) -> str:
    """The entries of a middlebox at `t` (nanoseconds), in our own format: no tool prints them."""
    lines = []
    for entry in sockets(trace, middlebox, t):
        left = countdown(-(-max((entry.due or t) - t, 0) // MILLISECOND), trace.linux)
        timer_left = f", {entry.timer} timer: {left} left" if entry.timer else ""
        lines.append(f"{entry.local} ↔ {entry.remote}{timer_left}")
    return "\n".join(lines) or "no entry"


def screens(trace: Trace, t: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every host with its commands and their output; a middlebox with its entries."""
    middleboxes = middleboxes_of(trace)
    for host in trace.hosts:
        if host in middleboxes:
            yield host, [(MIDDLEBOX, table_of(trace, host, t))]
        else:
            yield host, [(SS, ss(trace, host, t)), (NSTAT, nstat(trace, host, t))]


def prompt(host: str, command: str) -> str:
    """The line above an output: ``client$ ss …``; of a middlebox, its heading."""
    return f"{host}: {command}" if command == MIDDLEBOX else f"{host}$ {command}"


def console(trace: Trace, t: int) -> str:
    """The commands and their output on every host at `t` (nanoseconds)."""
    parts = (
        "\n".join(f"{prompt(host, command)}\n{printed}" for command, printed in typed)
        for host, typed in screens(trace, t)
    )
    return "\n\n".join(parts) + "\n"


def legend(trace: Trace, t: int) -> list[str]:
    """A sentence for every timer that the console shows at `t`."""
    names = dict.fromkeys(sample.timer for host in trace.hosts for sample in sockets(trace, host, t))
    return [f"timer:({name},…): {TIMER_MEANING[name]}." for name in names if name in TIMER_MEANING]


def screens_html(trace: Trace, t: int) -> str:
    """The consoles of all hosts as HTML, and what the timers on them mean."""
    parts = []
    for host, typed in screens(trace, t):
        lines = (f"<b>{escape(prompt(host, command))}</b>\n{escape(printed)}" for command, printed in typed)
        parts.append(terminal(f"console of {host}", "\n".join(lines)))
    return "".join(parts) + bullets(legend(trace, t), "tcplab-help")
