"""A saved lesson shows its pictures tomorrow, too: an extension of the Jupyter server.

A widget's view in a notebook file is only the name of a model that a kernel has. Without that kernel,
JupyterLab shows "Error displaying widget: model not found" in place of the text, HTML or SVG that is in the
same output. So a view goes into the file only as a note in its output's metadata. A page that is loaded while
the kernel still has the model gets the view back; any other shows what else is in the output. A view whose
state is in the file (Settings, Save Widget State Automatically) stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from inspect import iscoroutinefunction
from math import inf
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
#: The note in an output's metadata: the view that was left out.
NOTE = "tcplab_view"
_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"


class SavedViews:
    """Keeps views out of saved notebooks, and gives them back to a page whose kernel still runs."""

    def __init__(self, server: Any) -> None:
        self._server = server
        #: When each model was saved first, and each kernel began last: seconds of one clock.
        self._saved: dict[str, float] = {}
        self._began: dict[str, float] = {}

    def leave_out(self, *, model: dict[str, Any], **_: Any) -> None:
        """Before a save: leave out of `model` every view that the file alone could not restore."""
        if model.get("type") != "notebook" or not model.get("content"):
            return
        notebook = model["content"]
        state = notebook.get("metadata", {}).get("widgets", {}).get(STATE, {}).get("state", {})
        for output in _outputs(notebook):
            view = output.get("data", {}).get(VIEW)
            if view and view.get("model_id") not in state:
                output.setdefault("metadata", {})[NOTE] = output["data"].pop(VIEW)
                self._saved.setdefault(str(view.get("model_id")), time.monotonic())

    async def give_back(self, notebook: dict[str, Any], path: str) -> None:
        """After a file was read: restore the views whose models the notebook's kernel has had since."""
        noted = [each for each in _outputs(notebook) if NOTE in each.get("metadata", {})]
        sessions = await self._server.session_manager.list_sessions() if noted else []
        here = [each for each in sessions if each["path"].strip("/") == path.strip("/") and each["kernel"]]
        began = max((self._began.get(each["kernel"]["id"], inf) for each in here), default=inf)
        for output in noted:
            view = output["metadata"].pop(NOTE)
            if self._saved.get(str(view.get("model_id")), 0) > began:
                output["data"][VIEW] = view

    async def note_begin(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """After the server did something to a kernel: one that begins has no models."""
        if data.get("action") in ("start", "restart") and "kernel_id" in data:
            self._began[data["kernel_id"]] = time.monotonic()

    def watch(self) -> None:
        """Begin."""
        manager = self._server.contents_manager
        manager.register_pre_save_hook(self.leave_out)
        get = manager.get
        if not iscoroutinefunction(get):
            return  # an older kind of manager: a page that is loaded again shows the static outputs

        async def get_with_views(path: str, *arguments: Any, **options: Any) -> Any:
            model = await get(path, *arguments, **options)
            if model["type"] == "notebook" and model.get("content"):
                await self.give_back(model["content"], path)
            return model

        manager.get = get_with_views
        self._server.event_logger.add_listener(schema_id=_ACTIONS, listener=self.note_begin)


def _outputs(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for cell in notebook.get("cells", ()):
        yield from cell.get("outputs", ())


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    SavedViews(server).watch()
