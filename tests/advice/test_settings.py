"""Settings to paste: exact texts, and that what is pasted is what a real socket then has."""

import re
import socket

import pytest

from tcplab import (
    EXPERIMENTS,
    AcceptQueue,
    DeadPeer,
    FinOrRst,
    Keepalive,
    RstInWindow,
    SlowReader,
    TimeWait,
    UnansweredConnect,
)
from tcplab.advice.settings import settings


def test_keepalive_with_its_own_values():
    assert settings(Keepalive(idle_s=60, interval_s=10, probes=6, user_timeout_s=30)) == {
        "sysctl": (
            "# /etc/sysctl.d/90-tcp.conf, then: sysctl --system\n"
            "net.ipv4.tcp_keepalive_time = 60\n"
            "net.ipv4.tcp_keepalive_intvl = 10\n"
            "net.ipv4.tcp_keepalive_probes = 6\n"
            "# tcp_keepalive_* apply only to sockets on which the program has set SO_KEEPALIVE\n"
        ),
        "socket options": (
            "# Python; other languages use the same names\n"
            "sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n"
            "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)\n"
            "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)\n"
            "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)\n"
            "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30000)\n"
        ),
        "libpq": (
            "# pg_service.conf; or all in one line, with blanks between, as a connection string\n"
            "keepalives=1\n"
            "keepalives_idle=60\n"
            "keepalives_interval=10\n"
            "keepalives_count=6\n"
            "tcp_user_timeout=30000\n"
        ),
    }


def test_what_linux_has_anyway_is_a_comment():
    assert settings(Keepalive())["libpq"] == (
        "# pg_service.conf; or all in one line, with blanks between, as a connection string\n"
        "keepalives=1\n"
        "# keepalives_idle=7200   (Linux's default)\n"
        "# keepalives_interval=75   (Linux's default)\n"
        "# keepalives_count=9   (Linux's default)\n"
        "# tcp_user_timeout=0   (Linux's default)\n"
    )


def test_defaults_are_those_of_the_catalogue_and_of_the_linux_version():
    new = settings(TimeWait(tw_reuse=2))["sysctl"]
    assert "# net.ipv4.tcp_tw_reuse = 2   (Linux's default)" in new
    assert "# net.ipv4.tcp_timestamps = 1   (Linux's default)" in new
    old = settings(TimeWait(tw_reuse=0, linux="4.9"))["sysctl"]
    assert "# net.ipv4.tcp_tw_reuse = 0   (Linux's default)" in old
    assert "\nnet.ipv4.tcp_tw_reuse = 0\n" in settings(TimeWait(tw_reuse=0))["sysctl"]
    assert (
        "# net.core.somaxconn = 128   (Linux's default)"
        in settings(AcceptQueue(backlog=128, linux="4.18"))["sysctl"]
    )


def test_keepalive_off_is_said_once_and_its_times_are_left_out():
    assert settings(FinOrRst(fin_timeout_s=20)) == {
        "sysctl": "# /etc/sysctl.d/90-tcp.conf, then: sysctl --system\nnet.ipv4.tcp_fin_timeout = 20\n",
        "socket options": (
            "# Python; other languages use the same names\n"
            "# sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)   (Linux's default)\n"
        ),
        "libpq": (
            "# pg_service.conf; or all in one line, with blanks between, as a connection string\n"
            "keepalives=0\n"
        ),
    }


def test_a_switch_becomes_a_number():
    text = settings(DeadPeer(retries2=8, sack=False))["sysctl"]
    assert text.splitlines()[1:] == [
        "net.ipv4.tcp_retries2 = 8", "net.ipv4.tcp_sack = 0",
        "# net.ipv4.tcp_rto_max_ms = 120000   (Linux's default)",
    ]  # fmt: skip


def test_a_setting_that_this_linux_lacks_stays_a_comment():
    text = settings(UnansweredConnect(linux="5.4", syn_retries=3, linear_timeouts=2))["sysctl"]
    assert text.splitlines()[1:] == [
        "net.ipv4.tcp_syn_retries = 3",
        "# net.ipv4.tcp_syn_linear_timeouts = 2   (not in Linux 5.4: came with 6.5)",
    ]


def test_parts_of_a_unit_are_rounded_up_and_it_says_so():
    text = settings(Keepalive(latency_ms=0.1, idle_s=60.5, user_timeout_s=0.0004))
    assert "# 60.5 rounded up: whole numbers only\nkeepalives_idle=61\n" in text["libpq"]
    assert "# 0.4 rounded up: whole numbers only\ntcp_user_timeout=1\n" in text["libpq"]


def test_what_belongs_to_the_experiment_alone_is_never_pasted():
    assert settings(RstInWindow(window=30000)) == {}


@pytest.mark.parametrize("kind", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_line_names_a_setting_that_a_knob_has(kind):
    knobs = [knob for knob in kind.knobs().values() if not knob.test_only]
    known = {knob.sysctl for knob in knobs} | {knob.socket_option for knob in knobs}
    known |= {knob.libpq for knob in knobs} | {"SO_KEEPALIVE", "keepalives"}
    for text in settings(kind()).values():
        for line in text.splitlines()[1:]:
            if "=" in line or "setsockopt" in line:
                assert any(name and re.search(rf"\b{re.escape(name)}\b", line) for name in known), line


@pytest.mark.linux
def test_a_socket_has_what_was_pasted():
    parameters = Keepalive(idle_s=61, interval_s=11, probes=7, user_timeout_s=31)
    buffer = SlowReader(receive_buffer=65536, user_timeout_s=5)
    with socket.socket() as sock:
        exec(settings(parameters)["socket options"], {"sock": sock, "socket": socket})
        read = [
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        ]
        assert read == [1, 61, 11, 7, 31000]
    with socket.socket() as sock:
        exec(settings(buffer)["socket options"], {"sock": sock, "socket": socket})
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 65536
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
