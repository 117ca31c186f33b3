"""A kernel that is told which cell it runs, as JupyterLab does; for tests and the benchmark of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel

LIMIT_S = 120


class Kernel:
    """One kernel; a cell that fails raises `RuntimeError`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, source: str, cell: str | None = None) -> dict[str, Any]:
        """Run a cell of this id, or something that is no cell; what it shows, by MIME type."""
        content = {
            "code": source, "silent": False, "store_history": cell is not None, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": True,
        }  # fmt: skip
        client, shown = self._client, {}
        request = client.session.msg("execute_request", content, metadata={"cellId": cell} if cell else {})
        client.shell_channel.send(request)
        while True:
            message = client.get_iopub_msg(timeout=LIMIT_S)
            kind, said = message["header"]["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                continue
            if kind == "error":
                raise RuntimeError("\n".join(said["traceback"]))
            if kind == "stream":
                shown["text/plain"] = shown.get("text/plain", "") + said["text"]
            shown |= said.get("data", {})
            if kind == "status" and said["execution_state"] == "idle":
                client.get_shell_msg(timeout=LIMIT_S)
                return shown

    def value(self, expression: str) -> Any:
        """The value of an expression with a literal form."""
        return eval(self.run(f"print(repr({expression}))")["text/plain"])


@contextlib.contextmanager
def kernel(folder: Path) -> Iterator[Kernel]:
    """A new kernel in this folder, which ends with the block."""
    manager, client = start_new_kernel(cwd=str(folder))
    try:
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
