"""What published detectors say of the same records, written from their definitions.

They watch Keras or torch models with their own collectors; here they get what a run record holds.
Where a signal differs, the nearest one stands in, and the docstring says which. A rule whose signal
a run does not have (no accuracy in a regression) stays silent, as it would be left out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sweeper.detectors._measure import task_loss
from sweeper.detectors._memory import first_pass
from sweeper.detectors._view import update_ratio
from sweeper.types import RunRecord

Floats = NDArray[np.float64]
EPOCHS = 10
"""Epochs of a run whose data never repeat."""


def alarms(record: RunRecord) -> dict[str, list[str]]:
    """Name -> what it calls wrong; an empty list for a run that it finds sound."""
    return {
        "AUTOTRAINER": autotrainer(record),
        "DeepDiagnosis": deep_diagnosis(record),
        "torchmortem": torchmortem(record),
    }


def epochs(record: RunRecord, values: Floats) -> Floats:
    """Means of a per-step series [T] over the passes through the data, [E]."""
    known = len(values)
    length = first_pass(record) or max(1, known // EPOCHS)
    parts = [values[i : i + length] for i in range(0, known, length)]
    return np.array([_mean(part) for part in parts if len(part)])


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def autotrainer(record: RunRecord) -> list[str]:
    """Zhang et al. 2021 with the thresholds of its source (beta 1e-3, 1e-4, 70; gamma 0.7; delta
    0.01; zeta 0.03; eta 0.2; Theta 0.7; judged from 30 % of the epochs on).

    Stand-ins: accuracies per pass over the data; the share of dead units for the share of exactly
    zero gradients, which a record does not keep.
    """
    loss, accuracy = epochs(record, task_loss(record)), epochs(record, record.series("accuracy"))
    tested = accuracy
    if record.evals is not None and np.isfinite(record.evals.accuracy).any():
        tested = record.evals.accuracy[np.isfinite(record.evals.accuracy)]
    raw = record.series("loss")
    if not np.isfinite(raw[-1:]).all() or (loss.size and np.nanmax(loss) >= 1e5):
        return ["explode"]
    layers = record.layers
    if layers is not None and not np.isfinite(_late(layers.weight_norm)).all():
        return ["explode"]
    if not np.isfinite(accuracy).any():
        return []
    judged = accuracy[math.ceil(0.3 * len(accuracy)) - 1 :]
    poor = np.nanmax(accuracy) < 0.7 or np.nanmax(tested) < 0.7
    slow = _rise(accuracy) < 0.01 and _rise(tested) < 0.01
    if not judged.size:
        return []
    if poor or slow:
        dead = record.activations.dead_share if record.activations is not None else np.zeros((0, 0))
        if dead.size and np.isfinite(dead[-1]).any() and np.nanmean(dead[-1]) >= 0.7:
            return ["relu"]
        if layers is not None and len(layers.step):
            first, last = layers.grad_norm[-1, 0], layers.grad_norm[-1, -1]
            if last > 0 and first / last > 70:
                return ["explode"]
            if last > 0 and first / last < 1e-3 and first < 1e-4:
                return ["vanish"]
        return ["not_converge"] if slow else []
    return ["unstable"] if _unstable(accuracy) else []


def _rise(values: Floats) -> float:
    return float(np.nanmax(np.diff(values), initial=0.0)) if len(values) > 1 else 0.0


def _unstable(values: Floats) -> bool:
    inner = values[1:-1]
    before, after = values[:-2], values[2:]
    peaks = inner[(inner >= before) & (inner >= after)]
    valleys = inner[(inner <= before) & (inner <= after)]
    pairs = min(len(peaks), len(valleys))
    return int((peaks[:pairs] - valleys[:pairs] >= 0.03).sum()) >= max(1, 0.2 * len(values))


def _late(values: Floats) -> Floats:
    return values[-1:]


def deep_diagnosis(record: RunRecord) -> list[str]:
    """Wardat et al. 2022 with the thresholds of its source: dead 0.7, saturated 0.5, vanishing 1e-7
    in mean absolute gradient, a loss that is the same in five epochs or an accuracy in twenty, and
    numerical errors.

    Stand-ins: the share of dead units for the share of outputs that are not positive; the root mean
    square of a layer's gradient for its mean absolute value.
    """
    found = []
    loss, accuracy = epochs(record, task_loss(record)), epochs(record, record.series("accuracy"))
    raw = record.series("loss")
    if np.isinf(raw).any() or not np.isfinite(raw[-1:]).all():
        found.append("invalid loss")
    layers = record.layers
    if layers is not None and len(layers.step):
        rms = layers.grad_norm / np.sqrt(np.array(layers.sizes, dtype=float))
        late = rms[-1][np.isfinite(rms[-1])]
        if (late == 0).any() or np.isnan(layers.weight_norm[-1]).any():
            found.append("numerical error")
        elif (late < 1e-7).any():
            found.append("vanishing gradient")
    hidden = record.activations
    if hidden is not None and len(hidden.step):
        if (np.nan_to_num(hidden.dead_share[-1]) >= 0.7).any():
            found.append("dead node")
        if (np.nan_to_num(hidden.saturated_share[-1]) > 0.5).any():
            found.append("saturated activation")
    if _constant(loss, 5):
        found.append("loss not decreasing")
    if np.isfinite(accuracy).any():
        if (accuracy == 0).any():
            found.append("invalid accuracy")
        elif _constant(accuracy, 20):
            found.append("accuracy not increasing")
    return found


def _constant(values: Floats, window: int) -> bool:
    blocks = [values[i : i + window] for i in range(0, len(values) - window + 1, window)]
    return any(bool((block == block[0]).all()) for block in blocks if np.isfinite(block).all())


def torchmortem(record: RunRecord) -> list[str]:
    """torchmortem 0.1, rules of severity warning and critical: gradients (100x between the ends,
    norm above 1000, stalled under 1e-8 in 30 % of the samples), update ratio outside 1e-5 to 1e-1,
    weight norms (10x growth, 1e-4 stagnation, 100x between layers), dead and saturated units above
    half, effective rank halved, divergence and plateau of the loss. Curvature and gradient noise
    are not in a record.
    """
    found: list[str] = []
    layers = record.layers
    if layers is not None and len(layers.step) >= 2:
        found += _gradient_flow(layers.grad_norm)
        found += _update_ratio(update_ratio(layers))
        found += _weight_norm(layers.weight_norm)
    hidden = record.activations
    if hidden is not None and len(hidden.step):
        half = len(hidden.step) // 2
        for name, shares in (("dead", hidden.dead_share), ("saturation", hidden.saturated_share)):
            over = np.nan_to_num(shares[half:]) > 0.5
            if (over.mean(axis=0) >= 0.5).any():
                found.append(name)
        if len(hidden.step) >= 3:
            found += _rank(hidden.erank)
    return found + _loss_dynamics(task_loss(record))


def _gradient_flow(norms: Floats) -> list[str]:
    found = []
    known = np.nan_to_num(norms, posinf=np.inf)
    late = known[len(known) // 2 :].mean(axis=0)
    if late[-1] >= 1e-30 and (late[0] < 1e-30 or late[-1] / late[0] >= 100):
        found.append("vanishing")
    if (known > 1000).any():
        found.append("exploding")
    if ((known < 1e-8).mean(axis=0) >= 0.3).any():
        found.append("stalling")
    return found


def _update_ratio(ratios: Floats) -> list[str]:
    late = ratios[1:][(len(ratios) - 1) // 2 :]
    medians = []
    for column in late.T:
        moving = column[np.isfinite(column) & (column > 0)]
        if moving.size:
            medians.append(float(np.median(moving)))
    return [
        *(["update ratio low"] if any(m < 1e-5 for m in medians) else []),
        *(["update ratio high"] if any(m > 1e-1 for m in medians) else []),
    ]


def _weight_norm(norms: Floats) -> list[str]:
    first, last = norms[0], norms[-1]
    usable = (first > 1e-30) & np.isfinite(first) & np.isfinite(last)
    found = []
    if usable.any():
        if (last[usable] / first[usable] > 10).any():
            found.append("weight explosion")
        if len(norms) >= 4 and (abs(last[usable] / first[usable] - 1) < 1e-4).any():
            found.append("weight stagnation")
    final = last[np.isfinite(last) & (last > 1e-30)]
    if len(final) >= 2 and final.max() / final.min() >= 100:
        found.append("weight imbalance")
    return found


def _rank(rank: Floats) -> list[str]:
    for column in rank.T:
        known = column[np.isfinite(column) & (column > 0)]
        third = len(known) // 3
        if len(known) >= 3 and known[-third:].mean() / known[:third].mean() <= 0.5:
            return ["rank collapse"]
    return []


def _loss_dynamics(loss: Floats) -> list[str]:
    known = loss[np.isfinite(loss)]
    smooth = np.convolve(known, np.ones(10) / 10, mode="valid") if len(known) >= 20 else known
    found = []
    window = min(20, len(smooth) // 2)
    if window >= 5:
        tail = smooth[-window:]
        if (np.diff(tail) > 0).mean() >= 0.8 and tail[-1] / max(tail[0], 1e-30) >= 1.5:
            found.append("divergence")
    for start in range(len(smooth) // 2, len(smooth) - 20, 20):
        part = smooth[start : start + 20]
        if part.mean() > 1e-30 and np.ptp(part) / abs(part.mean()) < 1e-5:
            return [*found, "plateau"]
    return found
