"""Run records made by hand: a sound classification run, and what a test changes about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeper.types import (
    ActivationSeries,
    ActivationSite,
    EvalSeries,
    Facts,
    Fix,
    LayerFact,
    LayerSeries,
    OptimizerFact,
    Outcome,
    RunRecord,
)

Floats = NDArray[np.float64]

STEPS = 300
BATCH = 64
PASS = 100
"""Steps of the first pass over the data."""
LN10 = float(np.log(10))


def optimizer(**changes: Any) -> OptimizerFact:
    values: dict[str, Any] = {
        "name": "Adam",
        "peak_lr": (1e-3,),
        "first_lr": 1e-3,
        "last_lr": 1e-3,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "n_parameters": 10_000,
        "n_frozen": 0,
        "n_without_grad": 0,
        "n_missing": 0,
    }
    return OptimizerFact(**(values | changes))


def layer(name: str, **changes: Any) -> LayerFact:
    values: dict[str, Any] = {
        "name": name,
        "kind": "Linear",
        "n_in": 50,
        "n_out": 50,
        "followed_by": "relu",
    }
    return LayerFact(**(values | changes))


def site(function: str, where: str = "act", reason: str = "") -> ActivationSite:
    return ActivationSite(
        site=where, kind="module", function=function, swappable=not reason, reason=reason
    )


def facts(**changes: Any) -> Facts:
    n_layers = changes.pop("n_layers", 4)
    function = changes.pop("function", "relu")
    values: dict[str, Any] = {
        "task": "classification",
        "loss_function": "cross_entropy",
        "n_classes": 10,
        "head_width": 10,
        "label_max": 9,
        "class_prior": (0.1,) * 10,
        "batch_size": BATCH,
        "optimizers": (optimizer(),),
        "layers": tuple(layer(f"l{i}", is_output=i == n_layers - 1) for i in range(n_layers)),
        "activations": tuple(site(function, f"a{i}") for i in range(n_layers - 1)),
        "n_parameters": 10_000,
        "n_roots": 1,
        "steps": STEPS,
        "finished": True,
    }
    return Facts(**(values | changes))


def sound_loss(
    n: int = STEPS, start: float = LN10, end: float = 0.3, noise: float = 0.05
) -> Floats:
    """A loss that falls exponentially with seeded noise."""
    rng = np.random.default_rng(0)
    fall = end + (start - end) * np.exp(-np.arange(n) / (n / 8))
    return np.asarray(np.abs(fall * (1 + noise * rng.standard_normal(n))), dtype=np.float64)


def flat(value: float, n: int = STEPS, noise: float = 0.01) -> Floats:
    rng = np.random.default_rng(1)
    return np.asarray(value * (1 + noise * rng.standard_normal(n)), dtype=np.float64)


def set_at(values: Any, at: int | slice, value: float) -> Floats:
    """A copy with other values in some places."""
    out = np.array(values, dtype=np.float64)
    out[at] = value
    return out


def series(n: int = STEPS, n_pass: int = PASS, **changes: Floats | float) -> dict[str, Floats]:
    """Per-step series of a sound run; scalars are repeated. ``loss`` also sets ``task_loss``."""
    if "loss" in changes:
        changes.setdefault("task_loss", changes["loss"])
    values: dict[str, Any] = {
        "loss": sound_loss(n),
        "task_loss": sound_loss(n),
        "n": float(BATCH),
        "majority": 0.15,
        "accuracy": np.clip(1 - sound_loss(n) / LN10, 0.1, 1.0),
        "grad_norm": flat(1.0, n, 0.1),
        "clipped_norm": flat(1.0, n, 0.1),
        "lr": 1e-3,
        "skipped": 0.0,
    }
    values |= changes
    out = {k: np.full(n, v) if np.isscalar(v) else np.asarray(v) for k, v in values.items()}
    fresh = np.arange(n) < n_pass
    out.setdefault("fresh_n", np.where(fresh, out["n"], 0.0))
    out.setdefault("fresh_correct", np.where(fresh, out["n"] * out["accuracy"], np.nan))
    out.setdefault("fresh_loss", np.where(fresh, out["task_loss"], np.nan))
    out["step"] = np.arange(n, dtype=float)
    return out


def chance(**changes: Any) -> dict[str, Floats]:
    """Series of a run that learns nothing."""
    return series(**({"loss": flat(LN10), "accuracy": flat(0.1, noise=0.02)} | changes))


def layers(
    n_layers: int = 4,
    n_samples: int = 30,
    decades: float = 0.0,
    ratio: float = 1e-3,
    scale: float = 1.0,
    shrink: float = 1.0,
) -> LayerSeries:
    """``decades``: gradient lost from the last layer to the first; ``scale``: first weights times
    1/sqrt(50)."""
    size = 2500
    depth = np.linspace(1.0, 0.0, n_layers)
    gradient = 10.0 ** (-decades * depth) * np.sqrt(size) * 1e-3
    grown = np.geomspace(1.0, shrink, n_samples)[:, None]
    weight = np.full((n_samples, n_layers), scale / np.sqrt(50) * np.sqrt(size)) * grown
    return LayerSeries(
        names=tuple(f"l{i}.weight" for i in range(n_layers)),
        sizes=(size,) * n_layers,
        step=np.linspace(0, STEPS - 1, n_samples).round(),
        grad_norm=np.tile(gradient, (n_samples, 1)),
        weight_norm=weight,
        update_norm=weight * ratio,
        first_update_sum=np.full(n_samples, -1.0),
        adam_below_eps=np.zeros((n_samples, n_layers)),
    )


def activations(
    cosine: tuple[float, float] = (0.4, 0.5),
    rank: tuple[float, float] = (30.0, 20.0),
    dead: tuple[float, float] = (0.0, 0.05),
    saturated: tuple[float, float] = (0.0, 0.0),
    rows: float = 512,
    function: str = "relu",
) -> ActivationSeries:
    """Two watched layers (hidden and pooled), four samples, values from the first to the last."""

    def line(ends: tuple[float, float]) -> Floats:
        return np.tile(np.linspace(*ends, 4)[:, None], (1, 2))

    return ActivationSeries(
        names=("l2", "l3"),
        functions=(function, "pooled"),
        step=np.array([0.0, 30.0, 100.0, 299.0]),
        n_samples=np.full(4, rows),
        cosine=line(cosine),
        erank=line(rank),
        dead_share=line(dead),
        saturated_share=line(saturated),
    )


def evals(
    accuracy: float = np.nan,
    prior: float = 0.1,
    loss: tuple[float, ...] = (np.nan,),
    n: float = 1000,
    skill: float = np.nan,
    fresh_share: float = 1.0,
    rare: tuple[float, float] = (np.nan, np.nan),
) -> EvalSeries:
    """Evaluation phases spread to the end of the run; accuracy and skill belong to the last.

    ``rare``: samples outside of the commonest class, and the right answers among them.
    """
    count = len(loss)

    def last(value: float) -> Floats:
        return np.array([np.nan] * (count - 1) + [value])

    known = skill if np.isfinite(skill) else (accuracy - prior) / (1 - prior)
    return EvalSeries(
        step=np.linspace(STEPS / count, STEPS, count),
        n=np.full(count, n),
        loss=np.array(loss),
        accuracy=last(accuracy),
        skill=last(known),
        fresh_share=np.full(count, fresh_share),
        rare_n=last(rare[0]),
        rare_correct=last(rare[1]),
    )


def record(
    steps: Mapping[str, Floats] | None = None,
    *,
    what: Facts | None = None,
    by_layer: LayerSeries | None = None,
    hidden: ActivationSeries | None = None,
    evaluated: EvalSeries | None = None,
    status: str = "finished",
) -> RunRecord:
    values = series() if steps is None else steps
    return RunRecord(
        folder=None,
        fix=Fix(),
        seed=0,
        max_steps=None,
        facts=facts() if what is None else what,
        steps=values,
        outcome=Outcome(status=status, steps=len(values.get("loss", ()))),  # type: ignore[arg-type]
        layers=by_layer,
        activations=hidden,
        evals=evaluated,
    )
