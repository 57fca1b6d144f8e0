"""A run folder as bytes, to bring it back from another machine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from sweeper.types import SweeperError

LARGEST = 256 * 2**20
"""Bytes that one file of a run may have; the program's own files stay where it ran."""


def pack(folder: Path) -> bytes:
    """The record in a run folder, compressed: its own files, not what the program wrote."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                archive.add(path, path.name, recursive=False)
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Lay the files of `pack` into a folder.

    Raises:
        SweeperError: an entry that `pack` does not make: no plain file, a path, or too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for entry in archive:
            plain = entry.isreg() and entry.name == Path(entry.name).name != ""
            if not plain or entry.size > LARGEST:
                raise SweeperError(
                    f"a run comes back as plain files of at most {LARGEST} bytes, "
                    f"got {entry.name!r} ({entry.size} bytes) for {folder.name}"
                )
            content = archive.extractfile(entry)
            assert content is not None
            (folder / entry.name).write_bytes(content.read())
