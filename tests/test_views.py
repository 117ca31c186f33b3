"""What a saved notebook keeps of a widget: text, HTML and picture, and a view only where it can live."""

import asyncio
import copy
import json

import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager, LargeFileManager
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

from tcplab.views import NOTE, STATE, VIEW, SavedViews

LIVE = {"version_major": 2, "version_minor": 0, "model_id": "live"}
OUTPUT = {
    "output_type": "display_data",
    "metadata": {},
    "data": {VIEW: LIVE, "text/plain": "words", "image/svg+xml": "<svg/>"},
}
PRINTED = {"output_type": "stream", "name": "stdout", "text": "printed"}


def notebook(*outputs, **metadata):
    code = {"cell_type": "code", "id": "a", "execution_count": 1, "metadata": {}, "source": ""}
    text = {"cell_type": "markdown", "id": "b", "metadata": {}, "source": "# A"}
    cells = [text, {**code, "outputs": copy.deepcopy([*outputs])}]
    return {"type": "notebook", "format": "json", "content": {
        "cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5,
    }}  # fmt: skip


class Server:
    """A Jupyter server's parts that the extension meets: real ones, but for the list of sessions."""

    def __init__(self, folder):
        self.contents_manager = AsyncLargeFileManager(root_dir=str(folder))
        self.event_logger = ServerKernelManager().event_logger
        self.session_manager = self
        self.kernels = []
        SavedViews(self).watch()

    async def list_sessions(self):
        return [{"path": "a.ipynb", "kernel": {"id": each}} for each in self.kernels]

    async def happened(self, action, kernel="k"):
        schema = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
        data = {"action": action, "kernel_id": kernel, "status": "success", "msg": ""}
        self.event_logger.emit(schema_id=schema, data=data)
        await self.event_logger.gather_listeners()


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def outputs(model):
    return model["content"]["cells"][1]["outputs"]


def test_a_saved_file_has_no_view_and_keeps_the_rest(server, tmp_path):
    asyncio.run(server.contents_manager.save(notebook(OUTPUT, PRINTED), "a.ipynb"))
    first, second = outputs({"content": json.loads((tmp_path / "a.ipynb").read_text())})
    assert first["data"] == {"text/plain": ["words"], "image/svg+xml": ["<svg/>"]}
    assert first["metadata"] == {NOTE: LIVE} and second["text"] == ["printed"]


def test_a_page_gets_a_view_back_only_from_the_kernel_that_had_it(server):
    async def story():
        async def seen():
            (output,) = outputs(await server.contents_manager.get("a.ipynb"))
            assert NOTE not in output["metadata"] and output["data"]["text/plain"] == "words"
            return VIEW in output["data"]

        await server.happened("start")
        server.kernels = ["k"]
        await server.contents_manager.save(notebook(OUTPUT), "a.ipynb")
        assert await seen() and await seen()
        server.kernels = []
        assert not await seen()
        server.kernels = ["k"]
        await server.happened("interrupt")
        assert await seen()
        await server.happened("start", "another")
        server.kernels = ["another"]
        assert not await seen()
        server.kernels = ["k"]
        await server.happened("restart")
        assert not await seen()
        # What the kernel has made since.
        new = {**OUTPUT, "data": {**OUTPUT["data"], VIEW: {**LIVE, "model_id": "new"}}}
        await server.contents_manager.save(notebook(new), "a.ipynb")
        assert await seen()

    asyncio.run(story())


def test_a_server_that_was_started_again_gives_nothing_back(server, tmp_path):
    asyncio.run(server.contents_manager.save(notebook(OUTPUT), "a.ipynb"))
    later = Server(tmp_path)
    later.kernels = ["k"]
    (output,) = outputs(asyncio.run(later.contents_manager.get("a.ipynb")))
    assert VIEW not in output["data"] and NOTE not in output["metadata"]


def test_a_view_whose_state_is_in_the_file_stays(server, tmp_path):
    widgets = {STATE: {"version_major": 2, "version_minor": 0, "state": {"live": {}}}}
    asyncio.run(server.contents_manager.save(notebook(OUTPUT, widgets=widgets), "a.ipynb"))
    (output,) = outputs({"content": json.loads((tmp_path / "a.ipynb").read_text())})
    assert VIEW in output["data"] and output["metadata"] == {}


def test_other_files_and_folders_pass(server, tmp_path):
    text = {"type": "file", "format": "text", "content": VIEW}
    asyncio.run(server.contents_manager.save(text, "a.txt"))
    assert (tmp_path / "a.txt").read_text() == VIEW
    assert asyncio.run(server.contents_manager.get("a.txt"))["content"] == VIEW
    assert asyncio.run(server.contents_manager.get(""))["type"] == "directory"


def test_an_older_kind_of_manager_keeps_views_out_too(tmp_path):
    class Old:
        contents_manager = LargeFileManager(root_dir=str(tmp_path))

    SavedViews(Old()).watch()
    Old.contents_manager.save(notebook(OUTPUT), "a.ipynb")
    (output,) = outputs(Old.contents_manager.get("a.ipynb"))
    assert VIEW not in output["data"]
