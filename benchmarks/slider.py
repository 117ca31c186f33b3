"""From a key on a slider to the repainted picture, in JupyterLab in Chromium.

`python benchmarks/slider.py [--moves 60]` starts a JupyterLab of its own and a headless Chromium,
moves a slider with the arrow keys, and measures in the page: from the key to the first frame after
plotly has drawn the new run. First the interval of keepalive, with a ladder of 60 segments; then the
ports of port_churn, with its curves of 180 s at 1,000 attempts a second; then how often a pool of ten
tests what rests, with its 60,000 requests and a restart. Needs Chromium and the test
group's Playwright.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from tcplab import Keepalive, Pool, PortChurn, explore

PROBES = 52  # with handshake, exchange and the last RST: 60 segments
WARM_UP = 5


@dataclass(frozen=True)
class Picture:
    """An explorer with a slider to move."""

    says: str
    kind: type[Any]
    settings: dict[str, Any]
    #: The parameter that is moved, and what the slider is called in the page.
    parameter: str
    slider: str
    values: tuple[float, ...]
    #: Five strokes of one key, then five of the other: the slider has room for so many on this side.
    keys: tuple[str, str]
    target_ms: int

    @property
    def code(self) -> str:
        """What a notebook's cell says."""
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"explore({self.kind.__name__}{settings})"


LADDER = Picture(
    says="A ladder of 60 segments",
    kind=Keepalive,
    settings={"idle_s": 60, "interval_s": 10, "probes": PROBES},
    parameter="interval_s",
    slider="keepalive: interval",
    values=tuple(range(10, 17)),
    keys=("ArrowRight", "ArrowLeft"),
    target_ms=120,
)
CURVES = Picture(
    says="The curves of 180,000 attempts",
    kind=PortChurn,
    settings={"rate_per_s": 1000, "duration_s": 180},
    parameter="ports",
    slider="local ports",
    values=tuple(range(20_000, 28_000, 1000)),
    keys=("ArrowLeft", "ArrowRight"),
    target_ms=150,
)

POOL = Picture(
    says="The pool with 60,000 requests and a restart",
    kind=Pool,
    settings={"breaks": "server_restart", "probe": "test_while_idle"},
    parameter="probe_interval_s",
    slider="probe every",
    values=(30, 33, 36, 40, 44, 48),
    keys=("ArrowRight", "ArrowLeft"),
    target_ms=250,
)

#: Promises the milliseconds from the next key to the frame that shows what it did.
NEXT_REPAINT = """() => {
    const plot = document.querySelector(".js-plotly-plot");
    window.repainted = new Promise(resolve => {
        const pressed = event => {
            const drawn = () => {
                plot.removeListener("plotly_afterplot", drawn);
                const seen = () => resolve(performance.now() - event.timeStamp);
                requestAnimationFrame(() => setTimeout(seen, 0));
            };
            plot.on("plotly_afterplot", drawn);
        };
        document.addEventListener("keydown", pressed, {capture: true, once: true});
    });
}"""


def in_the_kernel(shown: Picture, rounds: int = 60) -> list[float]:
    """Milliseconds of the notebook kernel's part without the messages."""
    explorer = explore(shown.kind, **shown.settings)
    times = []
    for i in range(rounds):
        began = time.perf_counter()
        explorer.set(**{shown.parameter: shown.values[i % len(shown.values)]})
        times.append((time.perf_counter() - began) * 1e3)
    return times


def in_the_page(shown: Picture, moves: int) -> list[float]:
    """Milliseconds from key to repaint, one per move."""
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as lab:
        write_notebook(
            lab.folder / "slider.ipynb", f"from tcplab import {shown.kind.__name__}, explore", shown.code
        )
        with chromium_page(need("chromium")) as (page, _):
            open_notebook(page, lab.address("slider.ipynb"))
            run_all(page)
            page.locator(".scatterlayer .trace").first.wait_for(state="attached", timeout=60_000)
            page.wait_for_timeout(1000)
            page.locator(".widget-slider", has_text=shown.slider).get_by_role("slider").focus()
            times = []
            for i in range(moves + WARM_UP):
                page.evaluate(NEXT_REPAINT)
                page.keyboard.press(shown.keys[i // 5 % 2])
                times.append(page.evaluate("() => window.repainted"))
            return times[WARM_UP:]


def percentiles(times: list[float]) -> dict[str, float]:
    """p50 and p95."""
    return {"p50": round(statistics.median(times), 1), "p95": round(statistics.quantiles(times, n=20)[18], 1)}


def main() -> None:
    """Print each measurement as one JSON object, and what it means as one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moves", type=int, default=60, help="how often the slider is moved (50 or more)")
    moves = max(parser.parse_args().moves, 50)
    for shown in (LADDER, CURVES, POOL):
        result: dict[str, Any] = {
            "experiment": shown.kind.name,
            "moves": moves,
            "kernel_ms": percentiles(in_the_kernel(shown)),
            "key_to_repaint_ms": percentiles(in_the_page(shown, moves)),
            "target_p95_ms": shown.target_ms,
        }
        print(json.dumps(result))
        seen = result["key_to_repaint_ms"]
        print(
            f"{shown.says}: repainted {seen['p50']:.0f} ms after the key (median), in 19 of 20 cases within "
            f"{seen['p95']:.0f} ms; the target is {shown.target_ms} ms. The notebook kernel takes "
            f"{result['kernel_ms']['p50']:.1f} ms of it."
        )


if __name__ == "__main__":
    main()
