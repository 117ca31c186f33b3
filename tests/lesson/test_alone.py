"""The lesson kit loads without widgets, and of tcplab it needs only `core`."""

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["ipywidgets"] = None  # as where it isn't installed
import tcplab.lesson
import tcplab.lesson.symptoms
question = tcplab.lesson.predict_number("?", right=1, because="")
question.answer = 1
assert question.check().right
allowed = ("tcplab.lesson", "tcplab.core")
others = [name for name in sys.modules if name.startswith("tcplab.") and not name.startswith(allowed)]
assert not others, others
"""


def test_it_loads_without_widgets_and_without_the_rest():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
