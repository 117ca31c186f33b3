"""The readers one by one, and each threshold from both sides."""

import pytest

from tcplab.console import explain
from tcplab.console.clean import clean, flags
from tcplab.console.paste import read
from tcplab.console.sockets import endpoint_of, read_counted, read_proc, read_socket, seconds_of, state_of
from tcplab.console.tables import interval_of, stamp_of
from tcplab.console.values import clock_of, later_of
from tcplab.console.verdicts import decode

ESTAB = "ESTAB 0 {} 10.0.0.1:40{:03d} 10.0.0.2:5432 {}"


def codes(*texts):
    return {verdict.code for verdict in explain(*texts).verdicts}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("59sec", 59),
        ("9min49sec", 589),
        ("119min", 7140),
        ("696ms", 0.696),
        ("2.152ms", 2.152),
        ("1min14sec", 74),
    ],
)
def test_durations_of_ss(text, seconds):
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("10.0.0.1:5432", ("10.0.0.1", "5432")),
        ("[::1]:5432", ("::1", "5432")),
        ("::ffff:10.0.0.1:5432", ("10.0.0.1", "5432")),
        ("[::ffff:10.0.0.1]:5432", ("10.0.0.1", "5432")),
        (":::5432", ("*", "5432")),
        ("*:22", ("*", "22")),
        ("127.0.0.53%lo:53", ("127.0.0.53", "53")),
        ("[fe80::1]%eth0:22", ("fe80::1", "22")),
        ("localhost:postgresql", ("localhost", "postgresql")),
        ("timer:(on,4s,5)", None),
        ("5432", None),
    ],
)
def test_addresses(word, end):
    assert endpoint_of(word) == end


def test_states_in_every_spelling():
    spellings = ("FIN_WAIT_1", "FIN-WAIT-1", "FIN_WAIT1", "SYN_RCVD", "SYN_RECEIVED", "VERBUNDEN", "ABHÖREN")
    assert [state_of(word) for word in spellings] == [
        *["FIN-WAIT-1"] * 3,
        *["SYN-RECV"] * 2,
        "ESTAB",
        "LISTEN",
    ]
    assert state_of("postgres") is None


def test_brackets_of_netstat_are_retransmissions_and_probes():
    line = "tcp 0 0 10.0.0.1:4000 10.0.0.2:5432 ESTABLISHED 71/java {} ({})"
    alive = read_socket(1, line.format("keepalive", "12.5/0/3"))
    assert (alive.timer, alive.timer_s, alive.count, alive.program, alive.pid) == (
        "keepalive",
        12.5,
        3,
        "java",
        "71",
    )
    assert read_socket(1, line.format("on", "1.5/4/0")).count == 4
    assert read_socket(1, line.format("probe", "1.5/0/2")).timer == "persist"


def test_proc_net_tcp_is_little_endian():
    socket = read_proc(
        1, "  2: 1500140A:1538 0B00140A:8906 01 0000000A:00000000 01:00000064 00000003 0 0 7 2 0"
    )
    assert socket.pair == ("10.20.0.21", "5432", "10.20.0.11", "35078")
    assert (socket.state, socket.send_queue, socket.timer, socket.timer_s, socket.count) == (
        "ESTAB",
        10,
        "on",
        1,
        3,
    )


def test_counted_lines_in_either_order():
    assert read_counted(1, "  940 TIME-WAIT 10.0.0.2:3306").count == 940
    assert read_counted(1, "TIME_WAIT 940").state == "TIME-WAIT"
    assert read_counted(1, "two words") is None


@pytest.mark.parametrize(
    ("line", "command", "host"),
    [
        ("[root@db ~]# ss -tan", "ss -tan", "db"),
        ("app:~$ netstat -tn", "netstat -tn", "app"),
        ("C:\\Users\\dba>netstat -ano", "netstat -ano", ""),
        ("postgres=# select 1;", "select 1;", ""),
        ("127.0.0.1:6379> info clients", "info clients", ""),
        ("# pxname,svname,qcur", None, ""),
        ("#kernel", None, ""),
        ("Every 2.0s: ss -s      db: Tue Dec  1 10:00:00 2026", "ss -s", ""),
    ],
)
def test_prompts(line, command, host):
    (found,) = clean(line)
    assert (found.command, found.host) == (command, host)


def test_options_of_a_command():
    assert "o" in flags("kubectl exec web -- ss -tan -o", "ss")
    assert "o" not in flags("ss -tan | grep -o ESTAB", "ss")


def test_times():
    assert interval_of("3 days 04:00:01.5") == 3 * 86400 + 4 * 3600 + 1.5
    assert interval_of("-00:00:00.000001") == pytest.approx(0, abs=1e-5)
    assert interval_of("soon") is None
    assert stamp_of("2026-12-01 08:20:00+01") == stamp_of("2026-12-01 07:20:00.0+00")
    assert clock_of("Tue Dec  1 10:02:11 UTC 2026") == clock_of("10:02:11") == 36131
    assert clock_of("2026-12-01 10:02:11.5 [812] FATAL: something else happened") is None
    assert later_of("--- 30 s later ---") == 30


def test_files_of_other_consoles():
    text = "  TCP    0.0.0.0:135   0.0.0.0:0   ABHÖREN"
    assert {decode(text.encode(page)) for page in ("utf-8", "utf-8-sig", "utf-16", "cp850", "cp1252")} == {
        text
    }


def test_numbers_of_lines_and_quotes_are_taken_away():
    plain = ["State Recv-Q", "ESTAB 0 0", "ESTAB 0 9"]
    for mark in ("{}| ", "{}\t", "{}: "):
        numbered = "\n".join(mark.format(at) + line for at, line in enumerate(plain, 1))
        assert [line.text for line in clean(numbered)] == plain
    assert [line.text for line in clean("> ```\n> a b\n> ```")] == ["", "a b", ""]
    counted = "  3 ESTAB 10.0.0.2:3306\n  4 TIME-WAIT 10.0.0.2:3306\n  5 LISTEN 0.0.0.0:3306"
    assert [line.text for line in clean(counted)] == counted.split("\n")


def test_the_hosts_and_snapshots_of_a_paste():
    one, two = "ESTAB 0 0 10.0.0.1:4000 10.0.0.2:5432", "ESTAB 0 0 10.0.0.2:5432 10.0.0.1:4000"
    assert [len(host.snapshots) for host in read(f"$ ss -tn\n{one}\n$ ss -tn\n{one}").hosts] == [2]
    assert [len(host.snapshots) for host in read(f"a:~$ ss -tn\n{one}\nb:~$ ss -tn\n{two}").hosts] == [1, 1]
    listening = "$ ss -ltn\nLISTEN 0 128 0.0.0.0:22 0.0.0.0:*"
    assert [len(host.snapshots) for host in read(f"$ ss -tn\n{one}\n{listening}").hosts] == [1]


def lines(state, count, rest=""):
    return "\n".join(f"{state} 0 0 10.0.0.1:{40000 + at} 10.0.0.2:5432 {rest}" for at in range(count))


def timed(state, queued, timer, count, left="1sec"):
    return f"{state} 0 {queued} 10.0.0.1:40000 10.0.0.2:5432 timer:({timer},{left},{count})"


CONNTRACK = "net.netfilter.nf_conntrack_max = 100\nnet.netfilter.nf_conntrack_count = {}"
MEMORY = "net.ipv4.tcp_mem = 1 200 300\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem {}"
RANGE = "net.ipv4.ip_local_port_range = 40000 40099\n"


@pytest.mark.parametrize(
    ("code", "below", "at"),
    [
        ("ports_exhausted", RANGE + lines("TIME-WAIT", 98), RANGE + lines("TIME-WAIT", 99)),
        ("time_wait_near_limit", RANGE + lines("TIME-WAIT", 79), RANGE + lines("TIME-WAIT", 80)),
        ("listen_queue_full", "LISTEN 127 128 *:80 *:*", "LISTEN 128 128 *:80 *:*"),
        ("connect_unanswered", timed("SYN-SENT", 1, "on", 1), timed("SYN-SENT", 1, "on", 2)),
        ("send_queue_stuck", timed("ESTAB", 9, "on", 2), timed("ESTAB", 9, "on", 3)),
        ("probes_unanswered", timed("ESTAB", 0, "keepalive", 1), timed("ESTAB", 0, "keepalive", 2)),
        ("keepalive_two_hours", timed("ESTAB", 0, "keepalive", 0, "30min"),
         timed("ESTAB", 0, "keepalive", 0, "31min")),
        ("window_probes_unanswered", timed("ESTAB", 9, "persist", 1), timed("ESTAB", 9, "persist", 2)),
        ("close_wait_leak", lines("CLOSE-WAIT", 9), lines("CLOSE-WAIT", 10)),
        ("closing_unanswered", lines("LAST-ACK", 2), lines("LAST-ACK", 3)),
        ("retransmitting", "TcpOutSegs 10000 0\nTcpRetransSegs 99 0",
         "TcpOutSegs 10000 0\nTcpRetransSegs 100 0"),
        ("conntrack_full", CONNTRACK.format(89), CONNTRACK.format(90)),
        ("tcp_memory", MEMORY.format(199), MEMORY.format(200)),
    ],
    ids=lambda value: value if value.isidentifier() else "",
)  # fmt: skip
def test_thresholds(code, below, at):
    assert code not in codes(below)
    assert code in codes(at)


@pytest.mark.parametrize(
    "text",
    [
        lines("ESTAB", 3),  # without -o
        "LISTEN 0 128 *:80 *:*\nESTAB 0 0 127.0.0.1:4000 127.0.0.1:80\n"
        + ESTAB.format(0, 0, "timer:(keepalive,9sec,0)"),
        ESTAB.format(9, 0, "timer:(on,100ms,0)"),
        ESTAB.format(9, 0, "timer:(persist,6.2ms,0)"),
    ],
)
def test_keepalive_is_not_said_to_be_missing(text):
    assert "no_keepalive_timer" not in codes(text)


def test_time_wait_of_a_server_and_of_many_destinations_is_normal():
    server = "\n".join(f"TIME-WAIT 0 0 10.0.0.2:5432 10.0.0.1:{40000 + at}" for at in range(100))
    many = "\n".join(f"   60 TIME-WAIT 10.0.0.{at}:3306" for at in range(2, 9))
    assert codes(RANGE + server) == codes(RANGE + many) == {"healthy"}


def test_what_only_two_snapshots_show():
    still = "tcp 0 700 10.0.0.1:4000 10.0.0.2:5432 ESTABLISHED"
    assert "send_queue_stuck" not in codes(still)
    assert "send_queue_stuck" in codes(f"10:00:00\n{still}", f"10:00:05\n{still}")
    assert "send_queue_stuck" not in codes(f"10:00:00\n{still}", f"10:00:01\n{still}")


def test_conntrack_that_begins_to_drop():
    cpus = "cpu=0 found=1 drop={0} early_drop=0\ncpu=1 found=1 drop=0 early_drop={0}"
    calm, dropping = cpus.format(0), cpus.format(50)
    assert codes(calm) == {"healthy"}
    [found] = explain(f"10:00:00\n{calm}", f"10:00:10\n{dropping}").verdicts
    assert found.code == "conntrack_full" and "grew by 100 (10 per second)" in found.says


def test_a_command_alone_says_nothing():
    with pytest.raises(ValueError, match="None of 1 line"):
        explain("$ ss -tan\nnothing")
