"""Text files of any encoding, line by line, in bounded memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sweeper.types import UsageError

LONGEST_LINE = 1 << 20
"""Characters of one line; a longer one is no row of a log."""
HEAD = 1 << 16
"""Bytes looked at to tell encoding, delimiter and format."""

_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x89HDF": "HDF5",
    b"PAR1": "Parquet",
    b"SQLite format 3": "an SQLite data base",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}
_READ = "logs are CSV, JSON, JSON lines, TensorBoard event files or W&B's .wandb files"


def read_head(path: Path) -> bytes:
    """The first bytes of a regular file.

    Raises:
        UsageError: missing, not a regular file, unreadable, empty.
    """
    if not path.exists():
        raise UsageError(f"LOG must exist, got {str(path)!r}")
    if not path.is_file():
        raise UsageError(f"LOG must be a regular file or a folder, got {str(path)!r}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UsageError(f"LOG must be readable, got {path}: {error.strerror}") from None
    if not head.strip(b"\x00 \t\r\n\xef\xbb\xbf\xff\xfe"):
        what = "an empty file" if not head else "a file of nothing but blanks"
        raise UsageError(f"LOG must hold rows, got {what}: {path}")
    return head


def encoding_of(head: bytes, path: Path) -> str:
    """Name of the encoding, by byte order mark and by what the first bytes decode to.

    Raises:
        UsageError: the bytes are no text.
    """
    head = head.rstrip(b"\x00") + b"\x00" * (head[:2].count(0) > 0)  # a crash leaves zeros behind
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            raise UsageError(
                f"LOG must be text, got {kind} in {path}: unpack or export it first; {_READ}"
            )
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if head.startswith(mark):
            return name
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.4 * half > even * 10:
        return "utf-16-le"
    if even > 0.4 * half > odd * 10:
        return "utf-16-be"
    control = sum(head.count(bytes([b])) for b in (*range(9), *range(14, 27), *range(28, 32)))
    if control > 0.01 * len(head):
        raise UsageError(f"LOG must be text, got binary data in {path}; {_READ}")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"  # any byte has a meaning there, and numbers are the same in all of them
    return "utf-8"


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """The file as text; what cannot be decoded becomes U+FFFD.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            yield file
    except OSError as error:
        raise UsageError(f"LOG must be readable, got {path}: {error.strerror or error}") from None


class Lines:
    """Lines with their ends; ``number`` is that of the last one, from 1."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.number = 0
        self._file, self._path = file, path

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """Raises `UsageError` for a line longer than `LONGEST_LINE`."""
        line = self._file.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            raise UsageError(
                f"LOG's lines must have at most {LONGEST_LINE:,} characters, got a longer one in"
                f" {self._path}:{self.number}"
            )
        return line


def text_of(head: bytes, encoding: str) -> str:
    """The first bytes as text, without a half character at their end."""
    return codecs.getincrementaldecoder(encoding)(errors="replace").decode(head)
