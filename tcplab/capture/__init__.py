"""Captures: a trace written as a pcap file, and a pcap file read as traces.

Defined here is what every reader needs: the error in one sentence, and the bytes of a capture file,
unpacked while they are read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from os import PathLike, fstat
from pathlib import Path
from typing import Any, BinaryIO

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
#: Packed bytes taken from the file at a time.
PIECE = 1 << 18
#: Python's own zstd since 3.14 (PEP 784), before that a package of the same code.
ZSTD_MODULES = ("compression.zstd", "backports.zstd")


class CaptureError(ValueError):
    """A file that can't be read or written as a capture: one sentence with its name and why."""


class FileWarning(str):
    """One sentence about what is missing or uncertain in a file; `code` names it in `diagnose --json`."""

    code: str

    def __new__(cls, code: str, says: str) -> FileWarning:
        """The sentence, which behaves like a str."""
        warning = super().__new__(cls, says)
        warning.code = code
        return warning

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Arguments for a copy."""
        return self.code, str(self)

    def to_json(self) -> dict[str, str]:
        """As `tcplab diagnose --json` prints it."""
        return {"code": self.code, "says": str(self)}


class Source:
    """A capture file opened for reading: plain, gzip (RFC 1952) or zstd (RFC 8878).

    Raises `CaptureError` where the file can't be opened. Of a packed file that is damaged or cut
    short, everything that can be unpacked is given out; `broken` is True afterwards.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self.name = self._path.name
        #: True when the packed file ended too early or is damaged.
        self.broken = False
        self._given = 0
        try:
            # Unbuffered: the bytes go straight into the reader's own memory.
            self._file: BinaryIO = open(self._path, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unreadable(error) from None
        try:
            self._head = self._read(4)
            self._unpack = self._unpacker()
        except CaptureError:
            self._file.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def readinto(self, room: memoryview) -> int:
        """Fill the beginning of `room`; returns how many bytes came, 0 at the end."""
        if self._unpack is not None:
            return self._unpack(room)
        if self._head:
            size = min(len(self._head), len(room))
            room[:size], self._head = self._head[:size], self._head[size:]
        else:
            try:
                size = self._file.readinto(room)  # type: ignore[attr-defined]
            except OSError as error:
                raise self._unreadable(error) from None
        self._given += size
        return size

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 .. 1; 0 also when it is packed or no regular file."""
        size = fstat(self._file.fileno()).st_size if not self._file.closed else 0
        return min(self._given / size, 1.0) if size and self._unpack is None else 0.0

    def packed(self) -> bytes:
        """The next piece of the file as it is stored; empty at the end."""
        head, self._head = self._head, b""
        return head + self._read(PIECE)

    def _unpacker(self) -> Callable[[memoryview], int] | None:
        if self._head[:2] == GZIP:
            return _Unpacker(self, lambda: zlib.decompressobj(31), zlib.error).readinto
        if self._head == ZSTD:
            zstd = self._zstd()
            return _Unpacker(self, zstd.ZstdDecompressor, zstd.ZstdError).readinto
        return None

    def _zstd(self) -> Any:
        for module in ZSTD_MODULES:
            try:
                return import_module(module)
            except ImportError:
                continue
        raise CaptureError(
            f"{self.name} is packed with zstd, which this Python can't unpack: "
            f"unpack it first with `zstd -d {self.name}` and read what comes out."
        )

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> CaptureError:
        if isinstance(error, FileNotFoundError):
            return CaptureError(f"{self._path} does not exist.")
        return CaptureError(f"{self._path} can't be read: {error.strerror}.")


class _Unpacker:
    """Unpacks consecutive members or frames, never more than there is room for."""

    def __init__(self, source: Source, begin: Callable[[], Any], error: type[Exception]) -> None:
        self._source, self._begin, self._error = source, begin, error
        self._engine = begin()
        #: True inside a member.
        self._inside = False
        self._rest = b""
        self._given = 0

    def readinto(self, room: memoryview) -> int:
        while not self._source.broken:
            packed = self._rest
            if not packed and not self._holds_output():
                packed = self._source.packed()
                if not packed:
                    self._source.broken = self._inside
                    return 0
            if self._engine.eof:
                # Zeros that fill up a tape or a block are no member (gzip's manual).
                packed = packed.lstrip(b"\0")
                if not packed:
                    self._rest = b""
                    continue
                self._engine = self._begin()
            try:
                data = self._engine.decompress(packed, len(room))
            except self._error:
                if self._given and not self._inside:
                    return 0  # what follows the last member is something else
                self._source.broken = True
                break
            self._inside = not self._engine.eof
            self._rest = self._engine.unused_data or getattr(self._engine, "unconsumed_tail", b"")
            if data:
                self._given += len(data)
                room[: len(data)] = data
                return len(data)
        if not self._given:
            raise CaptureError(f"{self._source.name} can't be uncompressed: it is damaged or cut short.")
        return 0

    def _holds_output(self) -> bool:
        """True when the engine has more output than there was room for (zstd keeps its input)."""
        return self._inside and getattr(self._engine, "needs_input", True) is False
