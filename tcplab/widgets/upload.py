"""A place to drop a file on, which arrives as a file again where the notebook kernel runs.

It comes in pieces of 1 MiB: a Jupyter server takes no message beyond 10 MiB, and closes the connection over a
larger one, so that ipywidgets' own FileUpload fails without a word from there on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import anywidget

#: Bytes of the largest file that is taken this way: beyond, the path is the better way.
LARGEST = 1 << 30
#: Characters of a file's name that are kept: of up to four bytes each, where 255 bytes are a name at most.
LONGEST_NAME = 60


class DropZone(anywidget.AnyWidget):
    """Where a file is dropped or chosen. Tells `arriving` its name and share, `arrived` where it lies.

    The file is in a directory of its own, which goes with the next file or with `forget`. What can't be
    taken is told to `refused` in one sentence.
    """

    _esm = Path(__file__).with_name("upload.js")

    def __init__(
        self,
        arriving: Callable[[str, float], None],
        arrived: Callable[[Path], None],
        refused: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._arriving, self._arrived, self._refused = arriving, arrived, refused
        self._folder: TemporaryDirectory[str] | None = None
        self._file: BinaryIO | None = None
        self._of = self._size = self._got = 0
        self._name = ""
        self.on_msg(self._on_message)

    def stop(self) -> None:
        """Take no more of the file that is on its way."""
        self.forget()
        self.send({"say": "stop", "of": self._of})

    def forget(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._file = self._folder = None

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        if "begin" in content:
            self._begin(content)
        elif content.get("piece") == self._of and self._file is not None:
            self._take(int(content["at"]), bytes(buffers[0]))
        elif content.get("failed") == self._of and self._file is not None:
            self.forget()
            self._refused(f"{self._name} could not be read by the browser: {content['why']}.")

    def _begin(self, content: Any) -> None:
        self.forget()
        self._of, self._size, self._got = int(content["begin"]), int(content["size"]), 0
        self._name = file_name(str(content["name"]))
        if self._size > LARGEST:
            self._refused(
                f"{self._name} has {self._size / 1e9:.1f} GB: too much to hand through the browser. "
                "Give its path below instead."
            )
            self.send({"say": "stop", "of": self._of})
            return
        self._folder = TemporaryDirectory(prefix="tcplab-")
        try:
            self._file = Path(self._folder.name, self._name).open("wb")  # noqa: SIM115
        except OSError as error:
            self.stop()
            self._refused(f"{self._name} could not be stored: {error.strerror}.")
            return
        self._arriving(self._name, 0.0)
        if self._size:
            self.send({"say": "go", "of": self._of})
        else:
            self._done()

    def _take(self, at: int, piece: bytes) -> None:
        assert self._file is not None
        try:
            self._file.seek(at)
            self._file.write(piece)
        except OSError as error:
            self.stop()
            self._refused(f"{self._name} could not be stored: {error.strerror}.")
            return
        self._got += len(piece)
        self._arriving(self._name, self._got / self._size)
        if self._got >= self._size:
            self._done()
        else:
            self.send({"say": "more", "of": self._of})

    def _done(self) -> None:
        assert self._file is not None and self._folder is not None
        self._file.close()
        self._file = None
        self.send({"say": "stop", "of": self._of})
        self._arrived(Path(self._folder.name, self._name))


def file_name(told: str) -> str:
    """A name that stays in its folder and can be printed, from one that a page told."""
    kept = "".join(sign for sign in told if sign.isprintable() and sign not in "/\\")[-LONGEST_NAME:]
    return kept if kept.strip(". ") else "capture"
