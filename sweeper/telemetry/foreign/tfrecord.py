"""Records of a TFRecord file, as TensorBoard writes its events, with their checksums verified.

Each record is its length (8 bytes), the length's checksum (4), the data and the data's checksum
(4), little-endian; a checksum is CRC-32C, rotated by 15 bits and offset ("masked"), see
tensorflow.org/tutorials/load_data/tfrecord. Without TensorFlow the `tensorboard` package computes
it byte by byte in Python, which takes most of the time that a long log needs; here it is computed
for all records of one length at once.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]
    Bytes = NDArray[np.uint8]

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
FRAME = HEADER.size + FOOTER.size
"""Bytes around the data of a record."""
BLOCK_BYTES = 1 << 20
"""Bytes that are read and verified at once."""
_POLYNOMIAL = 0x82F63B78


def records(path: Path) -> Iterator[bytes]:
    """The data of each record up to the first that is torn or whose checksum is wrong.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left >= FRAME:
            head = file.read(HEADER.size)
            if len(head) < HEADER.size:
                return
            length = HEADER.unpack(head)[0] + FOOTER.size  # of the first record's rest
            if length > left - HEADER.size:
                return
            block = head + file.read(max(length, BLOCK_BYTES))
            starts, lengths = _frames(block)
            sound = _sound(block, starts, lengths) if starts else 0
            for start, size in zip(starts[:sound], lengths[:sound], strict=True):
                yield block[start : start + size]
            if not starts or sound < len(starts):
                return
            done = starts[-1] + lengths[-1] + FOOTER.size
            file.seek(done - len(block), os.SEEK_CUR)
            left -= done


def _frames(block: bytes) -> tuple[list[int], list[int]]:
    """Starts and lengths of the data of the whole records at the start of ``block``."""
    size, position = len(block), 0
    starts: list[int] = []
    lengths: list[int] = []
    while position + FRAME <= size:
        length: int = HEADER.unpack_from(block, position)[0]
        if length > size - position - FRAME:
            break
        starts.append(position + HEADER.size)
        lengths.append(length)
        position += FRAME + length
    return starts, lengths


def _sound(block: bytes, starts: list[int], lengths: list[int]) -> int:
    """Records before the first with a wrong checksum."""
    data = np.frombuffer(block, dtype=np.uint8)
    first, size = np.array(starts), np.array(lengths)
    # A damaged length leads astray from there on, so that it is the first to be found wrong.
    bad = _checksum(_rows(data, first - HEADER.size, 8)) != _word(data, first - FOOTER.size)
    for length in np.unique(size).tolist():
        same = np.flatnonzero(size == length)
        found = _checksum(_rows(data, first[same], length))
        bad[same] |= found != _word(data, first[same] + length)
    return int(np.argmax(bad)) if bad.any() else len(first)


def _rows(block: Bytes, starts: NDArray[np.int64], length: int) -> Bytes:
    """[N, length] bytes from each start on."""
    return np.asarray(block[starts[:, None] + np.arange(length)], dtype=np.uint8)


def _word(block: Bytes, starts: NDArray[np.int64]) -> Words:
    return np.ascontiguousarray(_rows(block, starts, 4)).view("<u4")[:, 0]


def _table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


_TABLE = _table()


def _checksum(rows: Bytes) -> Words:
    """Masked CRC-32C of each row, [N]."""
    crc = np.full(len(rows), 0xFFFFFFFF, dtype=np.uint32)
    if len(rows) < 8:  # a long record of its own: plain numbers are faster than arrays
        crc = np.array([_plain(row.tobytes()) for row in rows], dtype=np.uint32)
    else:
        for column in np.ascontiguousarray(rows.T):
            crc = _TABLE[(crc ^ column) & 0xFF] ^ (crc >> 8)
    crc = ~crc
    return np.asarray(((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8), dtype=np.uint32)


def _plain(data: bytes) -> int:
    crc, table = 0xFFFFFFFF, _PLAIN_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


_PLAIN_TABLE: list[int] = _TABLE.tolist()
