"""Which answers of a model a program scores, where it does so outside of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]
CLOSE = 1e-4
SAME_COURSE = 1 - 1e-6
"""Correlation from which given values are the outputs on another scale."""


def joined(outputs: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The outputs of a phase behind one another, on the host; None when their shapes differ."""
    if not outputs or len({o.shape[1:] for o in outputs}) != 1:
        return None
    return torch.cat([o.detach() for o in outputs]).float().cpu()


def array(values: Any) -> Array | None:
    """A flat array of numbers, or None."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    if found.dtype.kind not in "biuf":
        return None
    return found.reshape(-1).astype(np.float64 if found.dtype.kind == "f" else np.int64)


def classes_behind(scores: Array, outputs: torch.Tensor) -> Array | None:
    """The classes, by the usual limit, of scores that are an output or what a sigmoid or softmax
    makes of it; None when they are none of these."""
    if outputs.dim() == 2 and outputs.shape[1] > 1 and _of_classes(scores, outputs):
        return np.asarray(outputs.argmax(1))
    flat = outputs.reshape(-1)
    if flat.numel() != scores.size:
        return None
    if _close(scores, flat):
        shares = bool(((flat >= 0) & (flat <= 1)).all())
        return np.asarray(flat > (0.5 if shares else 0.0)).astype(int)
    return np.asarray(flat > 0).astype(int) if _close(scores, flat.sigmoid()) else None


def _of_classes(scores: Array, outputs: torch.Tensor) -> bool:
    """Whether the scores are a softmax over the classes, or those of the second of two."""
    shares = outputs.softmax(1)
    if scores.size == outputs.numel():
        return _close(scores, shares.reshape(-1))
    if scores.size != len(outputs) or outputs.shape[1] != 2:
        return False
    columns = (shares[:, 1], outputs[:, 1], outputs[:, 1] - outputs[:, 0])
    return any(_close(scores, column) for column in columns)


def follows(values: Array, outputs: torch.Tensor) -> bool:
    """Whether the values are the outputs, perhaps on another scale."""
    flat = outputs.reshape(-1).double().numpy()
    if flat.size != values.size or flat.size < 3 or not np.isfinite(flat).all():
        return False
    if not float(np.std(flat)) > 0 or not float(np.std(values)) > 0:
        return bool(np.allclose(flat, values, rtol=CLOSE))
    return float(np.corrcoef(flat, values)[0, 1]) >= SAME_COURSE


def _close(scores: Array, tensor: torch.Tensor) -> bool:
    return bool(np.allclose(scores, tensor.numpy(), rtol=CLOSE, atol=CLOSE))
