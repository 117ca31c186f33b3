"""Record on several kernels what differs between them: python data/captures/kernel_recordings.py [CLAIM ...]

Each claim of the table below is the experiment that `tcplab claims` runs for it. It runs here on Debian's
kernels in QEMU, in virtual time, and leaves a capture, its sidecar and the whole run of each kernel beside
this file; ../README.md says what they are. Three boots, about half a minute each.
"""

import argparse
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import tcplab
from tcplab.bench import run_all
from tcplab.capture.recordings import on_kernel, sidecar, write
from tcplab.claims import BY_KEY

FOLDER = Path(__file__).parent
COMMAND = ".venv/bin/python data/captures/kernel_recordings.py"

QEMU = re.findall(r"version (\S+)", subprocess.check_output(["qemu-system-x86_64", "--version"], text=True))[
    0
]

#: Claim: the kernels, oldest first.
KERNELS: dict[str, tuple[str, ...]] = {
    "syn_linear_timeouts": ("6.1", "6.12", "6.18"),
    "tw_reuse_clock_early": ("6.1", "6.12", "6.18"),
}


def record(kernel: str, names: list[str]) -> bool:
    """Run claims on a kernel, write the files of each, and print whether the model does the same."""
    claims = [BY_KEY[name] for name in names]
    whole = True
    for index, made in run_all(kernel, [claim.experiment for claim in claims]):
        claim = claims[index]
        if isinstance(made, str):
            print(f"{claim.key} was not recorded on {kernel}: {made}", flush=True)
            whole = False
            continue
        name = on_kernel(claim.key, kernel)
        about = {"title": f"Linux {kernel}: {claim.says}", "command": f"{COMMAND} {claim.key}"}
        software = {**sidecar(claim.experiment, made)["software"], "QEMU": QEMU}
        write(claim.experiment, made, FOLDER / f"{name}.pcap", software=software, **about)
        print(f"{name}: {tcplab.agreement(made).sentence}", flush=True)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("claim", nargs="*", help=f"one of {', '.join(KERNELS)}; all of them without a name")
    names = parser.parse_args().claim or list(KERNELS)
    if unknown := [name for name in names if name not in KERNELS]:
        sys.exit(f"{unknown[0]} is none of the claims: {', '.join(KERNELS)}.")
    boots: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for kernel in KERNELS[name]:
            boots[kernel].append(name)
    failed = [kernel for kernel, claims in boots.items() if not record(kernel, claims)]
    if failed:
        sys.exit(f"not everything was recorded on {', '.join(failed)}.")


if __name__ == "__main__":
    main()
