"""Inside the sandbox: the processes that `tcplab.bench.sandbox` starts, and what they do.

Three of them, each forked from the one before. The first moves into new namespaces and waits.
The second is process 1 of the new pid namespace and only watches: however the parent ends, the
channel to it breaks, process 1 ends, and Linux kills the other processes of the namespace.
(PR_SET_PDEATHSIG would not do: it fires when the parent's *thread* ends.) The third runs stories,
one after the other.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from tcplab.bench import namespaces
from tcplab.bench.sandbox import REAL_TIME_LOOKS, BenchError, Looks, Refused
from tcplab.bench.script import ScriptError


def main(descriptor: int, looks: Looks = REAL_TIME_LOOKS) -> None:
    """Make the sandbox and serve requests that come over the channel `descriptor`."""
    channel: Connection[Any, Any] = Connection(descriptor)
    os.set_inheritable(descriptor, False)
    try:
        namespaces.enter()
    except Refused as refused:
        channel.send(("refused", refused))
        return
    first_ended, first_holds = os.pipe()
    guard = os.fork()
    if guard:
        channel.close()
        os.waitpid(guard, 0)
        return
    os.close(first_holds)
    namespaces.mount_proc()
    worker_ended, worker_holds = os.pipe()
    if os.fork():
        os.close(worker_holds)
        _watch(descriptor, first_ended, worker_ended)
        os._exit(0)
    os.close(first_ended)
    os.close(worker_ended)
    try:
        _serve(channel, looks)
    finally:
        os._exit(0)


def _watch(*descriptors: int) -> None:
    """Wait until the other end of one of these is closed; reap children that exit meanwhile."""
    wakes, wake = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, 0)  # poll() always reports a hang-up
    poll.register(wakes, select.POLLIN)
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if any(descriptor != wakes for descriptor, _ in poll.poll()):
            return
        with suppress(BlockingIOError):
            os.read(wakes, 4096)


def _serve(channel: Connection[Any, Any], looks: Looks) -> None:
    """Answer requests until the channel breaks: each is a story to be run."""
    from tcplab.bench.linux import perform

    try:
        home = _try_out()
    except Refused as refused:
        channel.send(("refused", refused))
        return
    channel.send(("ready", None))
    gc.freeze()

    def progress(seconds: float, segments: int) -> None:
        channel.send(("progress", (seconds, segments)))

    while True:
        try:
            story = channel.recv()
        except EOFError:
            return
        except Exception as error:
            where = "it has to stand in a module of its own"
            channel.send(("error", BenchError(f"the sandbox can't load this experiment, {where}: {error}.")))
            continue
        gc.disable()  # a collection in the middle of a run would hold up the wire
        try:
            channel.send(("trace", perform(story, home, progress, looks)))
        except (BenchError, ScriptError) as error:
            channel.send(("error", error))
        except OSError as error:
            channel.send(("error", _explained(f"{error.strerror} ({namespaces.errno_name(error)})", error)))
        except Exception as error:
            channel.send(("error", _explained(f"{type(error).__name__}: {error}", error)))
        gc.enable()
        gc.collect()


def _explained(what: str, error: Exception) -> BenchError:
    """One sentence, with the traceback as a note for a developer."""
    explained = BenchError(f"the run on the Linux bench failed: {what}.")
    explained.add_note("".join(traceback.format_exception(error)))
    return explained


def _try_out() -> namespaces.NetworkNamespace:
    """Make one host's network and remove it: what this machine refuses fails here."""
    from tcplab.bench.linux import CARD, prepare_home

    with namespaces.step("settings"):
        prepare_home()
    with namespaces.step("network"):
        home = namespaces.NetworkNamespace.current()
        trial = namespaces.NetworkNamespace.new(home)
        namespaces.make_cable("trial", CARD, bytes((2, 0, 0, 0, 0, 1)), trial)
    with namespaces.step("packets"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        packets.bind(("trial", 0))
    with namespaces.step("settings"), trial.inside(home):
        namespaces.write_sysctl("ipv4/tcp_retries2", namespaces.read_sysctl("ipv4/tcp_retries2") or "15")
    trial.close()
    return home
