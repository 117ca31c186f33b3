"""Execute notebooks in place, in the form in which they are committed: `python tests/execute.py NOTEBOOK…`.

Nothing of a machine or a day stays in the file: no times of execution, no widgets' views and state, none of
your own answers.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tcplab.views import VIEW


def execute(path: Path) -> None:
    """Execute one notebook. Raises `nbclient.exceptions.CellExecutionError` where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    info = notebook.metadata.get("language_info", {"name": "python"})
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=600, resources=place, record_timing=False, store_widget_state=False
    )
    client.execute()
    notebook.metadata["language_info"] = info
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(VIEW, None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    os.environ["TCPLAB_PROGRESS"] = "off"
    for name in sys.argv[1:]:
        execute(Path(name))
