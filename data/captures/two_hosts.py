"""Two hosts on one cable and a recording of what happens between them, for the recorders beside this file.

The hosts are network namespaces joined by a veth pair. `enter` puts the running script into namespaces of its
own (user, network, mount, process, IPC) with a private tmpfs: the machine is not touched and nothing stays.
"""

import ctypes
import errno
import fcntl
import json
import os
import platform
import pty
import pwd
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

ADDRESS = {"client": "10.0.0.1", "server": "10.0.0.2"}
MAC = {"client": "02:00:00:00:00:01", "server": "02:00:00:00:00:02"}
SHELF = Path("/dev/shm")  # once inside: a tmpfs of our own, mounted over the machine's
A_MOMENT = 0.3  # seconds in which everything on this wire has long happened


def enter(needs: tuple[str, ...]) -> Path:
    """Start this script again inside its own namespaces; only there it returns: the folder to write to."""
    words = [word for word in sys.argv[1:] if word != "--inside"]
    folder = Path(words[0]) if words else Path(sys.argv[0]).parent
    if not folder.is_dir():
        sys.exit(f"There is no folder {folder} to record into: name one that exists, or none.")
    if "--inside" in sys.argv:
        run("mount", "-t", "tmpfs", "tmpfs", SHELF)
        folder = folder.resolve()
        os.chdir(SHELF)
        path = os.environ["PATH"]
        os.environ.clear()
        os.environ.update(PATH=path, HOME=str(SHELF), LC_ALL="C.UTF-8")
        return folder
    for program in ("unshare", "nsenter", "ip", "ss", *needs):
        if not shutil.which(program):
            sys.exit(f"{program} is not installed here, and without it these captures can't be recorded.")
    me = next(user for user in pwd.getpwall() if user.pw_uid)  # initdb refuses root and a user without a name
    rooms = ["unshare", "-Unmpif", f"--map-user={me.pw_uid}", f"--map-group={me.pw_gid}", "--keep-caps"]
    rooms += ["--mount-proc", "--kill-child"]
    probe = subprocess.run([*rooms, "true"], capture_output=True, text=True)
    if probe.returncode:
        sys.exit(f"This system gives us no namespaces of our own ({probe.stderr.strip()}): record elsewhere.")
    os.execvp("unshare", [*rooms, sys.executable, sys.argv[0], "--inside", str(folder)])


def run(*words: object) -> str:
    """What a command printed; one that fails ends the script with its own words."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def version(program: str) -> str:
    """Of an installed program: the first number with the most dots that it prints about itself."""
    return max(re.findall(r"\d+(?:\.\d+)+", run(program, "--version")), key=lambda found: found.count("."))


def build_network() -> dict[str, list[str]]:
    """Two hosts: the words that run a command on each. The namespace that we are in is the client's."""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
    while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        time.sleep(0.01)
    on = {"client": ["nsenter"], "server": ["nsenter", "-t", str(holder.pid), "-n"]}
    run("ip", "link", "add", "client", "type", "veth", "peer", "name", "server")
    for name in MAC:
        switch_offload_off(name)
    run("ip", "link", "set", "server", "netns", holder.pid)
    for name, other in (("client", "server"), ("server", "client")):
        neighbour = (ADDRESS[other], "lladdr", MAC[other], "dev", name, "nud", "permanent")  # no ARP
        run(*on[name], "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        run(*on[name], "ip", "address", "add", f"{ADDRESS[name]}/24", "dev", name)
        run(*on[name], "ip", "link", "set", name, "address", MAC[name], "up")
        run(*on[name], "ip", "neighbour", "replace", *neighbour)
    return on


def switch_offload_off(device: str) -> None:
    """Right checksums and true segment sizes in the capture: SIOCETHTOOL (0x8946) of linux/ethtool.h."""
    set_tso, set_gso, set_gro, set_tx_checksum = 0x1F, 0x24, 0x2C, 0x17
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for feature in (set_tso, set_gso, set_gro, set_tx_checksum):
            off = ctypes.create_string_buffer(struct.pack("=II", feature, 0))
            fcntl.ioctl(control, 0x8946, struct.pack("16sP", device.encode(), ctypes.addressof(off)))


class Terminal:
    """An interactive program on a terminal of its own, used as a person would."""

    def __init__(self, command: list[str], *prompts: str) -> None:
        """Start it and wait for the first prompt; prompts: whichever of these ends what it prints."""
        self.prompts = prompts
        self.terminal, end = pty.openpty()
        tty.setraw(end)  # no echo and no translated line ends: what we read is what the program wrote
        subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True)
        os.close(end)
        self.answer("")

    def answer(self, line: str, patience: float = 10) -> str:
        """Type this line; what the program printed until its next prompt, or until it ended.

        patience: how long it may print nothing, seconds.
        """
        os.write(self.terminal, line.encode() + b"\n" if line else b"")
        text = ""
        while not text.endswith(self.prompts):
            if not select.select([self.terminal], [], [], patience)[0]:
                sys.exit(f"No prompt came back within {patience:.0f} seconds, only: {text!r}")
            try:
                text += os.read(self.terminal, 65536).decode()
            except OSError:  # EIO: nobody is at the other end any more
                break
        for prompt in self.prompts:
            text = text.removesuffix(prompt)
        return text.strip(" \r\n\a")


class Recording:
    """One capture with its sidecar: frames at the client's end, what was called, and what ss showed."""

    def __init__(self, path: Path, on: dict[str, list[str]], story: str) -> None:
        """path: of both files, without ending; story: a title, an empty line, two or three sentences."""
        self.path, self.on = path, on
        self.events: list[dict[str, Any]] = []
        self.states: list[dict[str, Any]] = []
        self.seen: list[tuple[int, bytes]] = []
        self.title, self.story = (" ".join(part.split()) for part in story.split("\n\n"))
        every_protocol, timestamp_ns = 0x0003, 35  # ETH_P_ALL; SO_TIMESTAMPNS: Linux stamps, we read later
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol))
        self.wire.setsockopt(socket.SOL_SOCKET, timestamp_ns, 1)
        self.wire.bind(("client", 0))
        time.sleep(A_MOMENT)

    def call(self, host: str, call: str, action: Callable[[], object]) -> str:
        """Do it; keep when it was called (began), when it came back (t), and with what or which error."""
        began = time.time()
        try:
            result = action()
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            result = f"{name}: {error.strerror or error}"
        result = "ok" if result is None else str(result)
        self.events.append({"t": time.time(), "began": began, "host": host, "call": call, "result": result})
        return result

    def look(self) -> None:
        """What ss shows of this connection on each host; CLOSED where it has no such socket (any more)."""
        port = struct.unpack("!H", self.frames()[0][1][34:36])[0]
        for host, side in (("client", "sport"), ("server", "dport")):
            moment, line = time.time(), run(*self.on[host], "ss", "-Htan", side, "=", f":{port}")
            state, received, unacknowledged, *_ = (line or "CLOSED 0 0").split()
            queues = {"recv_q": int(received), "send_q": int(unacknowledged)}
            self.states.append({"t": moment, "host": host, "state": state} | queues)

    def frames(self) -> list[tuple[int, bytes]]:
        """(nanoseconds, frame) of the first TCP connection opened since we listen, and of no other."""
        while select.select([self.wire], [], [], 0)[0]:
            frame, extra, _, _ = self.wire.recvmsg(65536, 64)
            seconds, nanoseconds = struct.unpack("@ll", extra[0][2])
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:
                self.seen.append((seconds * 10**9 + nanoseconds, frame))
        ports = self.seen[0][1][34:38]  # Linux puts no options into its IP headers here
        return [item for item in self.seen if item[1][34:38] in (ports, ports[2:] + ports[:2])]

    def save(self, command: str, software: tuple[str, ...]) -> None:
        """Write NAME.pcap and NAME.json; times become seconds since the first packet."""
        time.sleep(A_MOMENT)
        frames = self.frames()
        for item in (*self.events, *self.states):
            item |= {key: round(item[key] - frames[0][0] / 10**9, 6) for key in ("t", "began") if key in item}
        pcap = [struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)]  # nanosecond pcap, Ethernet
        for stamp, frame in frames:
            pcap += [struct.pack("=IIII", *divmod(stamp, 10**9), len(frame), len(frame)), frame]
        self.path.with_suffix(".pcap").write_bytes(b"".join(pcap))
        sidecar = {
            "title": self.title,
            "story": self.story,
            "linux": re.split(r"[^\d.]", platform.release())[0],
            "software": {program: version(program) for program in software},
            "date": time.strftime("%Y-%m-%d", time.gmtime(frames[0][0] // 10**9)),
            "command": command,
            "hosts": ADDRESS,
            "events": sorted(self.events, key=lambda event: event["t"]),
            "states": self.states,
        }
        self.path.with_suffix(".json").write_text(json.dumps(sidecar, indent=1) + "\n")
        print(f"{self.path.name}: {len(frames)} packets", flush=True)
