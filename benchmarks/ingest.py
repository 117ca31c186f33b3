"""Reading captures: tcplab against tshark, scapy and the disk's own speed, all in one run.

    python benchmarks/ingest.py            1 M packets, a few minutes (tshark takes most of them)
    python benchmarks/ingest.py --large    also the memory that 5 M packets take

The captures are generated, and what the peers find in them is compared with what tcplab finds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captures

MIB = 1 << 20
FIELDS = [
    "frame.number", "frame.time_epoch", "ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tcp.stream",
    "tcp.flags", "tcp.seq_raw", "tcp.ack_raw", "tcp.window_size_value", "tcp.window_size_scalefactor",
    "tcp.len", "tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.options.sack_perm",
    "tcp.options.sack_le", "tcp.options.sack_re", "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
]  # fmt: skip
#: What the run must show: name -> (at least or at most, bound).
BOUNDS = {
    "by_tshark": (">=", 120.0), "by_tshark_cpu": (">=", 100.0), "diagnose_by_tshark_cpu": (">=", 30.0),
    "by_scapy": (">=", 300.0), "times_reading": ("<=", 5.0),
    "pcapng_by_pcap": ("<=", 2.0), "diagnose_by_tshark": (">=", 4.0),
    "peak_mib_1m": ("<=", 250.0), "peak_mib_5m": ("<=", 700.0),
}  # fmt: skip


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def processor_seconds(work: Callable[[], Any]) -> float:
    """What it takes of processors, in this process and in those that it starts and waits for.

    Other work on the machine changes that little, while `seconds` grow with it.
    """
    began = os.times()
    work()
    return sum(os.times()[:4]) - sum(began[:4])


def read_all(path: Path) -> Any:
    """The capture with every column made."""
    from tcplab import read_capture

    capture = read_capture(path)
    for name in capture.columns:
        capture.columns[name]
    return capture


def floor(path: Path) -> None:
    """Read the file into a buffer that is used again."""
    with memoryview(bytearray(8 * MIB)) as room, path.open("rb", buffering=0) as file:
        while file.readinto(room):
            pass


def peak_mib(path: Path) -> float:
    """The largest resident size of a fresh process that reads the file with all columns."""
    # Not getrusage: its maximum is handed down from the parent, which has made the captures.
    code = (
        "import sys; from pathlib import Path; from ingest import read_all\n"
        "read_all(Path(sys.argv[1]))\n"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    command = [sys.executable, "-c", code, path.resolve()]
    done = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True)
    return round(int(done.stdout) / 1024, 1)


def tshark(path: Path, out: Path) -> float:
    """Seconds of tshark as a whole; its table goes into a file."""
    words = [word for field in FIELDS for word in ("-e", field)]
    command = [shutil.which("tshark") or "tshark", "-n", "-r", path, "-T", "fields", *words]
    with out.open("wb") as file:
        return seconds(lambda: subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=True))


def diagnose_seconds(path: Path, out: Path) -> float:
    """Seconds of `tcplab diagnose` as a whole process; what it prints goes into a file."""
    command = [sys.executable, "-m", "tcplab", "diagnose", path.resolve(), "--json"]
    with out.open("wb") as file:
        return seconds(lambda: subprocess.run(command, stdout=file, check=True))


def compare(path: Path, out: Path) -> None:
    """tshark and tcplab name the same packets, numbers and streams."""
    columns = read_all(path).columns
    names = {0: "frame", 4: "source_port", 6: "connection", 8: "seq", 9: "ack", 10: "window", 12: "length"}
    count = 0
    with out.open() as table:
        rows = zip(*(columns[name].tolist() for name in names.values()), strict=True)
        for line, row in zip(table, rows, strict=True):
            fields = line.split("\t")
            theirs = tuple(int(fields[number]) for number in names)
            assert theirs == row, f"packet {row[0]}: tshark says {theirs}, tcplab {row}"
            count += 1
    assert count == len(columns["frame"])


def scapy_seconds(path: Path) -> float:
    from scapy.layers import inet  # noqa: F401  (without it scapy would not look into the packets)
    from scapy.utils import PcapReader

    def read() -> None:
        with PcapReader(str(path)) as reader:
            for _ in reader:
                pass

    return seconds(read)


def measure(folder: Path, large: bool, repeat: int) -> dict[str, float]:
    names = "1m.pcap", "1m.pcapng", "100k.pcap", "closed.pcap", "tshark.txt"
    pcap, pcapng, small, closed, out = (folder / name for name in names)
    captures.write(pcap, 1_000_000)
    captures.write(pcapng, 1_000_000, pcapng=True)
    captures.write(small, 100_000)
    captures.write_closed(closed, 10_000)
    result: dict[str, float] = {"bytes_a_packet": round(pcap.stat().st_size / 1e6)}
    if shutil.which("tshark"):
        result["tshark_cpu_s"] = processor_seconds(lambda: result.update(tshark_s=tshark(pcap, out)))
        compare(pcap, out)
        result["tshark_closed_s"] = tshark(closed, out)
        compare(closed, out)
    result["scapy_100k_s"] = scapy_seconds(small)
    best: dict[str, float] = {}
    for _ in range(repeat):  # in turns, so that a busy moment hits all of them
        for name, work in {
            "reading_s": lambda: floor(pcap), "tcplab_s": lambda: read_all(pcap),
            "tcplab_pcapng_s": lambda: read_all(pcapng), "tcplab_100k_s": lambda: read_all(small),
        }.items():  # fmt: skip
            best[name] = min(best.get(name, float("inf")), seconds(work))
    result |= best
    result["diagnose_s"] = min(diagnose_seconds(pcap, out) for _ in range(3))
    result["diagnose_closed_s"] = min(diagnose_seconds(closed, out) for _ in range(3))
    result["tcplab_cpu_s"] = min(processor_seconds(lambda: read_all(pcap)) for _ in range(3))
    result["diagnose_cpu_s"] = min(processor_seconds(lambda: diagnose_seconds(pcap, out)) for _ in range(3))
    if "tshark_s" in result:
        result["by_tshark_cpu"] = result["tshark_cpu_s"] / result["tcplab_cpu_s"]
        result["diagnose_by_tshark_cpu"] = result["tshark_cpu_s"] / result["diagnose_cpu_s"]
        result["closed_by_tshark"] = result["tshark_closed_s"] / result["diagnose_closed_s"]
        result["by_tshark"] = result["tshark_s"] / best["tcplab_s"]
        result["diagnose_by_tshark"] = result["tshark_s"] / result["diagnose_s"]
    result["by_scapy"] = result["scapy_100k_s"] / best["tcplab_100k_s"]
    result["times_reading"] = best["tcplab_s"] / best["reading_s"]
    result["pcapng_by_pcap"] = best["tcplab_pcapng_s"] / best["tcplab_s"]
    result["peak_mib_1m"] = peak_mib(pcap)
    if large:
        pcapng.unlink()
        captures.write(pcap, 5_000_000)
        result["peak_mib_5m"] = peak_mib(pcap)
    return result


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--large", action="store_true", help="also 5 M packets (2.4 GB of disk)")
    parser.add_argument("--repeat", type=int, default=7, help="rounds of which the best counts")
    parser.add_argument("--folder", type=Path, help="where the captures are made (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(Path(folder), arguments.large, arguments.repeat)
    missed = [
        f"{name} is {result[name]:.4g}, not {sign} {bound:g}"
        for name, (sign, bound) in BOUNDS.items()
        if name in result and not (result[name] >= bound if sign == ">=" else result[name] <= bound)
    ]
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))
    for each in missed:
        print(each, file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
