"""Start a real server in a folder of its own, and ask it until it answers."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(question, seconds=30):
    """The first answer of `question` that is not None and no OSError."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if (answer := question()) is not None:
                return answer
        assert time.monotonic() < end, f"no answer in {seconds} s"
        time.sleep(0.05)


@contextlib.contextmanager
def folder():
    """A folder of our own, and how to start servers that refuse root in it."""
    path = Path(tempfile.mkdtemp(prefix="tcplab-"))
    other = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
        other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        yield path, {**other, "cwd": path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(command, how=signal.SIGTERM, **options):
    with subprocess.Popen(command, **options) as server:
        try:
            yield
        finally:
            server.send_signal(how)  # and the with waits for the end
