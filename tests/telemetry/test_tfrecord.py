"""Records of event files: what the `tensorboard` package reads of the same bytes is the measure."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from sweeper.telemetry.foreign import tfrecord
from sweeper.telemetry.foreign.tfrecord import records

RNG = np.random.default_rng(0)
SIZES = [0, 1, 24, *RNG.integers(40, 44, 300).tolist(), 5000, *RNG.integers(0, 90, 200).tolist()]


def written() -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    out = []
    for size in SIZES:
        head, data = struct.pack("<Q", size), RNG.integers(0, 256, size, dtype=np.uint8).tobytes()
        sums = [struct.pack("<I", masked_crc32c(part)) for part in (head, data)]
        out += [head, sums[0], data, sums[1]]
    return b"".join(out)


WHOLE = written()


def theirs(path: Path) -> list[bytes]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    return list(RawEventFileLoader(str(path)).Load())


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(tfrecord, "BLOCK_BYTES", block)
    path = tmp_path / "events"
    path.write_bytes(WHOLE)
    assert [len(r) for r in records(path)] == SIZES
    assert list(records(path)) == theirs(path)


@pytest.mark.parametrize("place", [0, 5, 9, 13, 100, 2000, len(WHOLE) // 2, len(WHOLE) - 1])
def test_damaged_file_ends_where_theirs_does(tmp_path: Path, place: int) -> None:
    path, damaged = tmp_path / "events", bytearray(WHOLE)
    damaged[place] ^= 0x10
    path.write_bytes(bytes(damaged))
    expected = theirs(path)
    assert list(records(path)) == expected
    assert len(expected) < len(SIZES)


@pytest.mark.parametrize("length", [0, 3, 11, 12, 15, 16, 17, 3000, len(WHOLE) - 1])
def test_torn_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "events"
    path.write_bytes(WHOLE[:length])
    assert list(records(path)) == theirs(path)


def test_a_length_that_no_file_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"\xff" * 8 + WHOLE[8:])
    assert list(records(path)) == []


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        list(records(tmp_path / "missing"))
