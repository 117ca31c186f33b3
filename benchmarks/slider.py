"""From a key on a slider to the repainted ladder of 60 segments, in JupyterLab in Chromium.

`python benchmarks/slider.py [--moves 60]` starts a JupyterLab of its own and a headless Chromium,
moves the slider of keepalive's interval with the arrow keys, and measures in the page: from the key
to the first frame after plotly has drawn the new run. Needs Chromium and the test group's Playwright.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from tcplab import Keepalive, explore

TARGET_MS = 120
PROBES = 52  # with handshake, exchange and the last RST: 60 segments
WARM_UP = 5

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


def in_the_kernel(rounds: int = 60) -> tuple[int, list[float]]:
    """Segments, and milliseconds of the notebook kernel's part without the messages."""
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=PROBES)
    times = []
    for i in range(rounds):
        began = time.perf_counter()
        explorer.set(interval_s=10 + i % 7)
        times.append((time.perf_counter() - began) * 1e3)
    return len(explorer.trace.passages), times


def in_the_page(moves: int) -> list[float]:
    """Milliseconds from key to repaint, one per move."""
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as lab:
        write_notebook(
            lab.folder / "slider.ipynb",
            "from tcplab import Keepalive, explore",
            f"explore(Keepalive, idle_s=60, interval_s=10, probes={PROBES})",
        )
        with chromium_page(need("chromium")) as (page, _):
            open_notebook(page, lab.address("slider.ipynb"))
            run_all(page)
            page.locator(".scatterlayer .trace").first.wait_for(state="attached", timeout=60_000)
            page.wait_for_timeout(1000)
            page.locator(".widget-slider", has_text="keepalive: interval").get_by_role("slider").focus()
            times = []
            for i in range(moves + WARM_UP):
                page.evaluate(NEXT_REPAINT)
                page.keyboard.press("ArrowRight" if i // 5 % 2 == 0 else "ArrowLeft")
                times.append(page.evaluate("() => window.repainted"))
            return times[WARM_UP:]


def percentiles(times: list[float]) -> dict[str, float]:
    """p50 and p95."""
    return {"p50": round(statistics.median(times), 1), "p95": round(statistics.quantiles(times, n=20)[18], 1)}


def main() -> None:
    """Print the measurement as one JSON object, and what it means as one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moves", type=int, default=60, help="how often the slider is moved (50 or more)")
    moves = max(parser.parse_args().moves, 50)
    segments, kernel = in_the_kernel()
    result: dict[str, Any] = {
        "moves": moves,
        "segments": segments,
        "kernel_ms": percentiles(kernel),
        "key_to_repaint_ms": percentiles(in_the_page(moves)),
        "target_p95_ms": TARGET_MS,
    }
    print(json.dumps(result))
    seen = result["key_to_repaint_ms"]
    print(
        f"A ladder of {segments} segments is repainted {seen['p50']:.0f} ms after the key (median), in 19 of "
        f"20 cases within {seen['p95']:.0f} ms; the target is {TARGET_MS} ms. The notebook kernel takes "
        f"{result['kernel_ms']['p50']:.1f} ms of it."
    )


if __name__ == "__main__":
    main()
