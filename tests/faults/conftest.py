from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def few_objects() -> Iterator[None]:
    """Models are found among living objects: keep those of the imported libraries out of sight."""
    import sweeper.telemetry.recorder  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
