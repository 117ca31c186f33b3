"""The console: ss and nstat as iproute2 prints them, and against the real ss where there is one."""

import contextlib
import re
import socket
import subprocess
import time

import pytest

from pictures.transcripts import MS, SERVER, Story
from tcplab.bench import run
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND
from tcplab.core.trace import CounterSample, SocketSample, Trace
from tcplab.experiments import AcceptQueue, IdleFirewall
from tcplab.pictures.console import console, countdown, legend, listening, nstat, ss, state_name


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (-5, ""), (0, ""), (5, "005ms"), (204, "204ms"), (1000, "1sec"), (1574, "1.574sec"),
        (9999, "9.999sec"), (10_000, "10sec"), (13_204, "13sec"), (59_999, "59sec"), (60_000, "1min"),
        (60_500, "1min"), (119_999, "1min59sec"), (599_000, "9min59sec"), (600_000, "10min"),
        (659_000, "10min"), (7_199_992, "119min"), (7_200_000, "120min"),
    ],
)  # fmt: skip
def test_time_left_is_written_as_ss_writes_it(milliseconds, shown):
    assert countdown(milliseconds) == shown


@pytest.mark.parametrize("linux", ["3.10", "5.14", "6.1"])
def test_an_older_ss_says_ms_for_seconds(linux):
    assert countdown(9373, linux) == "9.373ms"
    assert countdown(204, linux) == "204ms"
    assert countdown(13_204, linux) == "13sec"


def test_a_trace_of_an_unknown_linux_gets_the_newest_ss():
    assert countdown(9373, "6.11") == countdown(9373, "a router's") == countdown(9373, "") == "9.373sec"


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("ESTABLISHED", "ESTAB"),
        ("FIN_WAIT_1", "FIN-WAIT-1"),
        ("SYN_RECEIVED", "SYN-RECV"),
        ("SYN_RECV", "SYN-RECV"),
    ],
)
def test_states_have_the_names_of_ss(state, shown):
    assert state_name(state) == shown


def two_hosts():
    story = Story()
    story.open()
    story.state(10 * MS, "client", "ESTABLISHED", "keepalive", due=5 * SECOND + 7200 * SECOND, unanswered=3)
    story.state(20 * MS, "server", "CLOSED")
    trace = story.finish(8000 * SECOND)
    trace.counters = [
        CounterSample(trace.start, "client", "TcpActiveOpens", 1),
        CounterSample(trace.start + 10 * MS, "client", "TcpExtTCPKeepAlive", 2),
        CounterSample(trace.start + 11 * MS, "client", "TcpExtTCPKeepAlive", 3),
        CounterSample(trace.start + 9 * SECOND, "client", "TcpRetransSegs", 1),
    ]
    return trace


def test_both_consoles_at_a_moment():
    trace = two_hosts()
    assert console(trace, trace.start + SECOND) == (
        "client$ ss -tno state connected\n"
        "State Recv-Q Send-Q Local Address:Port  Peer Address:Port Process\n"
        "ESTAB 0      0           10.0.0.1:40000     10.0.0.2:5432 timer:(keepalive,119min,3)\n"
        "client$ nstat\n"
        "#kernel\n"
        "TcpActiveOpens                  1                  0.0\n"
        "TcpExtTCPKeepAlive              3                  0.0\n"
        "\n"
        "server$ ss -tno state connected\n"
        "State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
        "server$ nstat\n"
        "#kernel\n"
    )


def test_it_follows_the_moment():
    trace = two_hosts()
    before = ss(trace, "server", trace.start)
    opening = ss(trace, "server", trace.start + MS)
    gone = ss(trace, "server", trace.start + 20 * MS)
    assert before == gone == "State Recv-Q Send-Q Local Address:Port Peer Address:Port Process"
    assert "SYN-RECV" in opening
    probed = nstat(trace, "client", trace.start + 10 * MS)
    assert probed.endswith("TcpExtTCPKeepAlive              2                  0.0")
    assert "TcpRetransSegs" not in nstat(trace, "client", trace.start + 8 * SECOND)
    assert "TcpRetransSegs" in nstat(trace, "client", trace.start + 10 * SECOND)


def test_a_listening_socket_is_not_connected():
    trace = Trace("by_hand", "model", hosts={"server": SERVER.address})
    trace.sockets = [SocketSample(0, "server", SERVER, Endpoint("0.0.0.0", 0), "LISTEN", 1, 128)]
    assert "LISTEN" not in ss(trace, "server", 0)


def test_timers_that_are_shown_are_explained_once_each():
    trace = two_hosts()
    assert len(legend(trace, trace.start + SECOND)) == 1
    assert "keepalive probe" in legend(trace, trace.start + SECOND)[0]
    assert legend(trace, trace.start - 1) == []


@pytest.mark.linux
def test_the_real_ss_prints_the_same_lines(need):
    """Sockets of this very process in four states, as ss prints them and as we would."""
    program = need("ss")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]

        def pair():
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            return client, stack.enter_context(listener.accept()[0])

        idle, its_server = pair()
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        its_server.send(bytes(100))
        half, closing = pair()
        closing.close()
        gone, gone_server = pair()
        gone_port = gone.getsockname()[1]
        gone.close()
        gone_server.close()
        time.sleep(0.2)
        shown = subprocess.run(
            [program, "-tno", "state", "connected", f"( sport = :{port} or dport = :{port} )"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        idle_port, half_port = idle.getsockname()[1], half.getsockname()[1]
        told = subprocess.run([program, "-V"], capture_output=True, text=True).stdout
    version = re.search(r"iproute2-(\d+\.\d+)", told)
    server = Endpoint("127.0.0.1", port)
    idle_end, half_end, gone_end = (Endpoint("127.0.0.1", end) for end in (idle_port, half_port, gone_port))
    minute = 60 * SECOND
    trace = Trace("by_hand", "linux", version[1] if version else "", hosts={"here": "127.0.0.1"})
    trace.sockets = [
        SocketSample(0, "here", idle_end, server, "ESTABLISHED", 100, 0, "keepalive", 120 * minute - 1),
        SocketSample(0, "here", server, idle_end, "ESTABLISHED"),
        # The FIN counts as one byte unread: that is how Linux counts it.
        SocketSample(0, "here", half_end, server, "CLOSE_WAIT", 1),
        SocketSample(0, "here", server, half_end, "FIN_WAIT_2", 0, 0, "timewait", minute - SECOND // 5),
        SocketSample(0, "here", gone_end, server, "TIME_WAIT", 0, 0, "timewait", minute - SECOND // 5),
    ]

    def words(text):
        return sorted(line.split() for line in text.splitlines())

    assert words(shown) == words(ss(trace, "here", SECOND // 100))


def test_a_listening_socket_shows_who_waits_and_its_backlog():
    trace = run(AcceptQueue())
    assert listening(trace, "server", trace.end).splitlines() == [
        "State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process",
        "LISTEN 3      2           10.0.0.2:5432      0.0.0.0:*",
    ]
    assert "LISTEN 0      2" in listening(trace, "server", 10 * MS)
    assert len(listening(trace, "client", trace.end).splitlines()) == 1


def test_a_box_shows_its_own_table_and_no_tool_of_a_host():
    trace = run(IdleFirewall(firewall_idle_s=10, quiet_s=20))
    client = next(s.local for s in trace.sockets if s.host == "client")
    told = console(trace, trace.start + 4 * SECOND)
    table = re.search(r"firewall: the connections in its table\n(.*)\n\n", told)[1]
    assert re.fullmatch(rf"{client} ↔ 10\.0\.0\.2:5432, idle timer: 6\.00[0-9]sec left", table)
    assert "firewall$" not in told and told.count("$ ss -tno") == told.count("$ nstat") == 2
    assert "firewall: the connections in its table\nno entry" in console(trace, trace.start + 15 * SECOND)
