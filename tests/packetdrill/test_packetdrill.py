"""The interpreter of packetdrill's scripts, and the verdicts on the scripts of google and of the kernel."""

import os

import pytest

from packetdrill.machine import Player
from packetdrill.play import DIFFERS, HOLDS, NOT_MODELLED, main, play, play_all, read_table
from packetdrill.script import (
    Arrives,
    Assertions,
    Call,
    Leaves,
    Moment,
    NotModelled,
    NotUnderstood,
    Options,
    Shell,
    Stamps,
    moment_of,
    options_of,
    packet,
    parse,
)
from tcplab.core.segment import ACK, FIN, PSH, SYN
from tcplab.core.text import MILLISECOND

SERVER = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
   +0 > S. 0:0(0) ack 1 <...>
  +.1 < . 1:1(0) ack 1 win 257
   +0 accept(3, ..., ...) = 4
"""
CLIENT = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0...0.100 connect(3, ..., ...) = 0
   +0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 10>
  +.1 < S. 0:0(0) ack 1 win 32792 <mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 7>
   +0 > . 1:1(0) ack 1 <nop,nop,TS val 200 ecr 700>
"""


# -- the language --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("0", Moment(0, 0)),
        ("1.5", Moment(1500 * MILLISECOND, 1500 * MILLISECOND)),
        ("+.01", Moment(10 * MILLISECOND, 10 * MILLISECOND, True)),
        ("*", Moment(None, relative=True)),
        ("+.3~+.400", Moment(300 * MILLISECOND, 400 * MILLISECOND, True)),
        ("+.1...0.200", Moment(100 * MILLISECOND, 100 * MILLISECOND, True, 200 * MILLISECOND)),
        ("0.5~0.75", Moment(500 * MILLISECOND, 750 * MILLISECOND)),
    ],
)
def test_times(words, moment):
    assert moment_of(words) == moment


@pytest.mark.parametrize("words", ["+", "1..2", "soon", "+.4~+.3"])
def test_what_is_no_time(words):
    with pytest.raises(NotUnderstood):
        moment_of(words)


def test_segments():
    assert packet("< S 0:0(0) win 9 <mss 7,nop>") == Arrives(SYN, 0, 0, 0, 9, Options(mss=7))
    assert packet("> FP. 1:11(10) ack 5") == Leaves(FIN | PSH | ACK, 1, 10, 5, None, Options())
    assert packet("> . 1:1(0) ack 5 win 3 <...>").options is None
    assert packet("< - 1:1001(1000) win 20").flags == 0
    assert packet("< . 1:1(0) ack 1").window == 0


def test_options():
    assert options_of("nop, nop, sack 1:2 5:6").sack == ((1, 2), (5, 6))
    assert options_of("mss 1460,sackOK,TS val 3 ecr 4,nop,wscale 8,eol") == Options(
        1460, 8, True, (), Stamps(3, 4)
    )


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("< SEW 0:0(0) win 1", "ECN"),
        ("< [ect0] . 1:1(0) ack 1", "ECN"),
        ("< icmp unreachable port", "ICMP"),
        ("> S 0:0(0) <mss 1460,FO,nop,nop>", "TCP Fast Open"),
        ("< . 1:1(0) ack 1 win 1 urg 5", "urgent data"),
    ],
)
def test_what_the_model_does_not_claim_has_its_name(words, what):
    with pytest.raises(NotModelled, match=what):
        packet(words)


@pytest.mark.parametrize("words", ["> S 0:1(0)", "> S 0", "< S 0:0(0) ack 1 win 1", "> . 1:1(0) ack 1 <mss>"])
def test_what_is_no_segment(words):
    with pytest.raises(NotUnderstood):
        packet(words)


def test_a_script():
    script = parse("""// SPDX: a comment
--tolerance_usecs=7000
`./defaults.sh
 sysctl -q net.ipv4.tcp_sack=0`

    0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3  // the socket
 +0.1 write(3, ..., 10) = -1 EPIPE (Broken pipe)
   +0 recvmsg(3, {msg_name(...)=..., msg_iov(2)=[{..., 4},
                 {..., 6}], msg_flags=0}, 0) = 10
   +0 fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)
   +0 %{ assert tcpi_unacked == 0, \\
         tcpi_unacked }%
   +1 `nstat -n`
""")
    assert script.options == {"tolerance_usecs": "7000"}
    assert script.before == ["./defaults.sh", "sysctl -q net.ipv4.tcp_sack=0"]
    made, written, read, flags, asserts, shell = [event.action for event in script.events]
    assert made == Call("socket", (None, "SOCK_STREAM|SOCK_NONBLOCK", "IPPROTO_TCP"), 3)
    assert written == Call("write", (3, None, 10), "EPIPE")
    assert read.arguments[1] == {"msg_name": None, "msg_iov": [[None, 4], [None, 6]], "msg_flags": 0}
    assert flags.result == 2
    assert isinstance(asserts, Assertions) and shell == Shell(("nstat -n",))
    assert [event.line for event in script.events] == [6, 7, 8, 10, 11, 13]


def test_what_is_no_script_has_its_line():
    with pytest.raises(NotUnderstood, match=r"^line 2: no event"):
        parse("\n +0 nonsense\n")
    with pytest.raises(NotUnderstood, match=r"close\(\) has no result"):
        parse("0 close(3)\n")


# -- playing -------------------------------------------------------------------------------------------


def verdict(text):
    return play(text)[1:]


def test_a_server_that_holds():
    assert verdict(
        SERVER
        + """
  +.1 < P. 1:101(100) ack 1 win 257
   +0 > . 1:1(0) ack 101
   +0 ioctl(4, SIOCINQ, [100]) = 0
   +0 read(4, ..., 1000) = 100
   +0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4) = 0
   +0 write(4, ..., 2500) = 2500
   +0 > P. 1:2501(2500) ack 101
   +0 ioctl(4, SIOCOUTQ, [2500]) = 0
   +0 %{ assert tcpi_unacked == 3, tcpi_unacked; assert tcpi_snd_mss == 1000 }%
  +.1 < . 101:101(0) ack 2501 win 257
   +0 close(4) = 0
   +0 > F. 2501:2501(0) ack 101
"""
    ) == (HOLDS, "")


def test_a_client_that_holds():
    """Timestamps are compared in the script's values; connect() returns within its time."""
    assert verdict(
        CLIENT
        + """
  +.1 write(3, ..., 40) = 40
   +0 > P. 1:41(40) ack 1 <nop,nop,TS val 300 ecr 700>
  +.1 < . 1:1(0) ack 41 win 257 <nop,nop,TS val 900 ecr 300>
   +0...0.050 read(3, ..., 100) = 100
 +.05 < P. 1:101(100) ack 41 win 257 <nop,nop,TS val 950 ecr 300>
   +0 > . 41:41(0) ack 101 <nop,nop,TS val 450 ecr 950>
"""
    ) == (HOLDS, "")


def test_time_is_virtual():
    """Keepalive after two hours."""
    keepalive = """
   +0 setsockopt(4, SOL_SOCKET, SO_KEEPALIVE, [1], 4) = 0
   +0 setsockopt(4, SOL_TCP, TCP_KEEPIDLE, [7200], 4) = 0
+7200 > . 0:0(0) ack 1
"""
    assert verdict(SERVER + keepalive) == (HOLDS, "")
    assert verdict(SERVER + keepalive.replace("+7200", "+7100"))[0] == DIFFERS


def test_one_connection_after_another():
    """Late segments of the first don't count for the second: here its RST, as it closes with unread data."""
    first = SERVER + "+0 < P. 1:101(100) ack 1 win 257\n+0 > . 1:1(0) ack 101\n+0 close(4) = 0\n"
    first += "+0 close(3) = 0\n"
    assert verdict(first + SERVER.replace("    0 socket", "   +0 socket")) == (HOLDS, "")
    assert verdict(first.replace("+0 close(3) = 0", "+0 > R. 1:1(0) ack 101")) == (HOLDS, "")


def test_segments_that_a_card_has_joined():
    """With --mss the receiver measures the size of the parts; windows of larger ones are not modelled."""
    lines = "+0 < P. 1:LAST(BYTES) ack 1 win 257\n* > . 1:1(0) ack LAST\n+0 %{ assert tcpi_rcv_mss == 700 }%"
    short = SERVER + lines.replace("LAST", "2801").replace("BYTES", "2800")
    assert verdict("--mss=700\n" + short) == (HOLDS, "")
    assert verdict(short)[0] == NOT_MODELLED
    assert verdict(SERVER + lines.replace("LAST", "1001").replace("BYTES", "1000"))[0] == DIFFERS


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("+0 < F. 1:1(0) ack 1 win 257\n* > . 1:1(0) ack 3", "line 11: > . 1:1(0) ack 3: ack is 2, not 3"),
        ("+0 < F. 1:1(0) ack 1 win 257\n+.5 > . 1:1(0) ack 2", "leaves at 0.1"),
        ("+0 write(4, ..., 9) = 8", "line 10: write() gives 9, not 8"),
        ("+0 read(4, ..., 9) = 8", "line 10: read() blocks"),
        ("+0...1 read(4, ..., 9) = 9", "line 10: read() still blocks"),
        ("+0...1 read(4, ..., 9) = 9\n+.5 < P. 1:10(9) ack 1 win 257", "ends at 0.600 s, not 1.100 s"),
        ("+0 > . 1:1(0) ack 1", "line 10: > . 1:1(0) ack 1 doesn't leave"),
        ("+0 close(4) = 0\n+0 > R. 1:1(0) ack 1", "flags is F., not R."),
        ("+0 close(4) = 0\n+0 > F. 1:1(0) ack 1 win 1", "win is"),
        ("+0 close(4) = 0\n+0 > F. 1:1(0) ack 1 <nop,nop,TS val 1 ecr 1>", "TS is False, not True"),
        ("+0 %{ assert tcpi_snd_mss == 999 }%", "tcpi_snd_mss == 999 with {'tcpi_snd_mss': 1000}"),
        ("+0 < . 1001:1101(100) ack 1 win 257\n+0 > . 1:1(0) ack 1 <sack 1001:1100>", "sack is"),
        ("+0 `nstat | grep TcpActiveOpens | grep -q \" 1 \"`", "TcpActiveOpens is 0, not 1"),
    ],
)  # fmt: skip
def test_a_difference_is_reported(lines, why):
    result = verdict(SERVER + lines)
    assert result[0] == DIFFERS
    assert why in result[1]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("+0 setsockopt(4, SOL_TCP, TCP_CORK, [1], 4) = 0", "TCP_CORK"),
        ("+0 splice(4, NULL, 5, NULL, 1, 0) = 1", "splice()"),
        ("+0 %{ assert tcpi_reordering == 3 }%", "tcp_info field tcpi_reordering"),
        ("+0 %{ assert __import__('os') }%", "Python: __import__('os')"),
        ("+0 `reboot`", "the command 'reboot'"),
        ("+0 `sysctl -q net.ipv4.tcp_ecn=1`", "ECN"),
        ("+0 write(4, ..., 9) = 9\n+0 write(4, ..., 9) = 9\n+0 > P. 1:10(9) ack 1", "Nagle's algorithm"),
    ],
)
def test_what_is_not_modelled_is_reported(lines, why):
    assert verdict(SERVER + lines) == (NOT_MODELLED, why)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("+0 close(9) = 0", "line 10: close() of 9, which is no open descriptor"),
        ("+0 %{ assert = 1 }%", "line 10: no Python"),
        ("+0 soon", "line 10: no event"),
    ],
)
def test_what_is_not_understood_has_its_line(line, why):
    result = verdict(SERVER + line)
    assert result[0] == NOT_MODELLED
    assert why in result[1]


def test_settings_reach_the_model():
    player = Player()
    player.play(
        parse(
            '`./defaults.sh`\n0 `sysctl -q net.ipv4.tcp_rmem="4096 9000 $((2*1024))" net.ipv4.tcp_sack=0`\n'
        )
    )
    sysctls = player.stack.sysctls
    assert (sysctls.tcp_rmem, sysctls.tcp_rmem_max, sysctls.tcp_sack, sysctls.tcp_syn_retries) == (
        9000,
        2048,
        0,
        5,
    )


def test_the_tool(tmp_path, capsys):
    (tmp_path / "good.pkt").write_text(SERVER)
    assert main([str(tmp_path)]) == 0
    assert "1 holds" in capsys.readouterr().out
    (tmp_path / "bad.pkt").write_text(SERVER + "+0 > . 1:1(0) ack 1\n")
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "none")]) == 2


# -- the verdicts --------------------------------------------------------------------------------------


def test_the_verdicts_name_their_reasons():
    verdicts = read_table()
    assert len({each.script for each in verdicts}) == len(verdicts) > 100
    assert {each.verdict for each in verdicts} <= {HOLDS, NOT_MODELLED, DIFFERS}
    assert all(each.why for each in verdicts if each.verdict != HOLDS)


def test_the_verdicts_are_those_of_a_run():
    """With the scripts' folder in PACKETDRILL_SCRIPTS."""
    folder = os.environ.get("PACKETDRILL_SCRIPTS")
    if not folder:
        pytest.skip("needs packetdrill's scripts: PACKETDRILL_SCRIPTS is not set")
    known = {each.script: each for each in read_table()}
    verdicts = play_all([folder])
    assert verdicts
    assert [each for each in verdicts if each != known.get(each.script)] == []
