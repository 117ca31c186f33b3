#!/usr/bin/env python3
"""Draw the pictures of README.md afresh, with tcplab's own ladder: python3 data/pictures/draw.py

Needs tcplab's environment (`python3 lab.py setup`) and a Chromium, in which plotly turns its
figures into SVG. Nothing is fetched from anywhere.
"""

import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

import plotly
from playwright.sync_api import sync_playwright

from tcplab import read_capture
from tcplab.pictures.ladder import ladder

HERE = Path(__file__).parent
CAPTURES = HERE.parent / "captures"
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
WIDTH = 1000
#: File name without ending: the capture that it shows, and its title.
PICTURES = {
    "terminate_backend": (
        "postgres_terminate_backend",
        "A real psql, idle, while a DBA calls pg_terminate_backend",
    ),
}


def figure(name: str):
    """The figure of one picture: on white, so that it reads on a dark page too."""
    capture, title = PICTURES[name]
    drawn = ladder(read_capture(CAPTURES / f"{capture}.pcap").connection(0), title=title)
    return drawn.update_layout(paper_bgcolor="white", plot_bgcolor="white", width=WIDTH)


def main() -> None:
    """Write every picture beside this file."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        sys.exit("Drawing needs a Chromium: install the package chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.add_script_tag(path=PLOTLY)
        for name in PICTURES:
            drawn = figure(name)
            svg = page.evaluate(
                "async ([figure, size]) => Plotly.toImage(JSON.parse(figure), {format: 'svg', ...size})",
                [drawn.to_json(), {"width": WIDTH, "height": drawn.layout.height}],
            )
            (HERE / f"{name}.svg").write_text(unquote(svg.split(",", 1)[1]) + "\n", encoding="utf-8")
        browser.close()


if __name__ == "__main__":
    main()
