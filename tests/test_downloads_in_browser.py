"""Files that a front end does not let an output download: text to copy, in a sandboxed frame in Chromium."""

import base64
import json
import re
from html import escape

import pytest

from conftest import need
from in_jupyterlab import chromium_page
from inside import button_of, open_tab, text_in
from tcplab import Keepalive, explore
from tcplab.core.text import download, to_copy
from tcplab.lesson.course import hand_in

pytestmark = pytest.mark.browser

#: As Colab and VS Code isolate what a cell shows: scripts run, downloads don't.
FRAME = '<iframe sandbox="allow-scripts" width="800" height="400" srcdoc="{}"></iframe>'


@pytest.fixture(scope="module")
def page():
    with chromium_page(need("chromium")) as (page, outside):
        yield page
        assert outside == []


def copied(page, html):
    """What the box of this HTML holds, opened by the keyboard in a frame where the link does nothing."""
    started = []
    page.on("download", lambda download: started.append(download))
    page.set_content(FRAME.format(escape(html)))
    frame = page.frame_locator("iframe")
    frame.locator("a[download]").click()
    frame.locator("summary").focus()
    page.keyboard.press("Enter")
    frame.locator("textarea").wait_for()
    page.wait_for_timeout(300)
    assert started == []
    return frame.locator("textarea").input_value()


def test_answers_are_copied_where_no_download_starts(page):
    given = hand_in()
    assert json.loads(copied(page, given.html)) == json.loads(str(given))


def test_a_capture_is_copied_as_base64(page):
    explorer = explore(Keepalive)
    panel = open_tab(explorer, "Capture")
    button_of(panel, "Make the capture file").click()
    html = text_in(panel)
    (linked,) = re.findall(r'href="data:[^,]*;base64,([^"]+)"', html)
    assert base64.b64decode(copied(page, html)) == base64.b64decode(linked)
    assert "base64 -d &gt; keepalive.pcap" in html


def test_a_text_is_copied_as_it_is(page):
    text = "a </textarea> & <b>\n"
    html = download("a.csv", text.encode(), "text/csv") + to_copy("a.csv", text.encode())
    assert copied(page, html) == text
