"""Bound the gradient's norm at each step, in place of the program's own clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import (
    Cause,
    Diagnosis,
    Dimension,
    Facts,
    FixValue,
    RunRecord,
    Scalar,
    UsageError,
)

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session

HARD = (1e-6, 1e6)
NORM_TYPES = (1.0, 2.0, "inf")
DEFAULTS: dict[str, Scalar] = {"norm_type": 2.0}
TOLERANCE = 1.02


def validate(value: FixValue) -> FixValue:
    full = _values.fields("clip_norm", value, "max_norm", DEFAULTS)
    max_norm = _values.number("clip_norm", full["max_norm"], *HARD)
    norm_type = full["norm_type"]
    # The word, because JSON has no infinity.
    norm_type = "inf" if norm_type in ("inf", "Infinity", math.inf) else norm_type
    if isinstance(norm_type, bool) or norm_type not in NORM_TYPES:
        raise UsageError(f"norm_type of clip_norm must be 1, 2 or inf, got {full['norm_type']!r}")
    norm_type = norm_type if isinstance(norm_type, str) else float(norm_type)
    return _values.short({"max_norm": max_norm, "norm_type": norm_type}, "max_norm", DEFAULTS)


def _spelled(value: FixValue) -> tuple[float, float]:
    full = _values.fields("clip_norm", value, "max_norm", DEFAULTS)
    return float(full["max_norm"]), float(full["norm_type"])


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {
        "max_norm": Dimension(
            kind="float", low=1e-3, high=1e3, log=True, hard_low=HARD[0], hard_high=HARD[1]
        ),
        "norm_type": Dimension(kind="choice", choices=NORM_TYPES),
    }


def refusal(facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    if facts.steps_in_backward:
        return "its optimizers step inside of backward, before the norm of all gradients is known"
    return ""


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    """1 first (customary for transformers), then 5 where a clip is too tight, else 0.1 (Pascanu et
    al. 2013)."""
    own = [c.max_norm for c in facts.clips if c.kind == "norm" and c.max_norm > 0]
    too_tight = _hints.belief(diagnosis, Cause.CLIP_TOO_TIGHT) > 0
    wanted = [1.0, 5.0, *(c * 1000 for c in own)] if too_tight else [1.0, 0.1, 10.0]
    return tuple(v for v in _values.distinct(wanted, ratio=2.0) if all(v != c for c in own))[:2]


def apply(session: Session, value: FixValue) -> None:
    import torch

    max_norm, norm_type = _spelled(value)
    # Kept on the device of the gradients; read at sparse steps, because reading waits for the
    # device.
    largest: dict[str, torch.Tensor] = {}
    steps = 0

    def clip(optimizer: torch.optim.Optimizer) -> None:
        nonlocal steps
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        if not gradients:
            return
        steps += 1
        total = total_norm(gradients, norm_type)
        factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor.to(gradient.device, gradient.dtype))
        after = torch.where(torch.isfinite(total), total * factor, torch.zeros_like(total))
        largest["after"] = torch.maximum(largest.get("after", after), after)
        largest["clipped"] = largest.get("clipped", torch.zeros_like(factor)) + (factor < 1)
        if total.device.type == "cpu" or steps & (steps - 1) == 0:
            session.confirm(
                "clip_norm",
                steps=steps,
                largest_norm=float(largest["after"]),
                clipped_steps=int(largest["clipped"]),
            )

    def skip(kind: str, parameters: Any, own_norm: float, own_type: float) -> bool:
        return True

    session.on_program_clip(skip)
    session.before_step(clip)


def total_norm(gradients: list[torch.Tensor], norm_type: float) -> torch.Tensor:
    """The norm of all gradients together, as torch.nn.utils.clip_grad_norm_ computes it; a scalar
    tensor."""
    import torch

    def norm(gradient: torch.Tensor) -> torch.Tensor:
        values = gradient.coalesce().values() if gradient.is_sparse else gradient
        # Half precision overflows in the sum of squares.
        wide = torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else None
        found: torch.Tensor = torch.linalg.vector_norm(values.detach(), norm_type, dtype=wide)
        return found

    device = gradients[0].device
    norms = torch.stack([norm(g).to(device) for g in gradients])
    result: torch.Tensor = torch.linalg.vector_norm(norms, norm_type)
    return result


def effect(value: FixValue, record: RunRecord) -> str:
    max_norm, norm_type = _spelled(value)
    seen = _hints.evidence(record, "clip_norm")
    if not seen.get("steps"):
        return "no step had a gradient to clip"
    largest = float(seen.get("largest_norm", math.inf))
    if norm_type == 2.0 and len(after := _hints.finite(record.series("clipped_norm"))):
        largest = max(largest, float(after.max()))
    if largest <= max_norm * TOLERANCE:
        return ""
    return f"the largest norm at a step was {largest:.3g}, not at most {max_norm:.3g}"


def advice(value: FixValue, facts: Facts) -> str:
    max_norm, norm_type = _spelled(value)
    name = 'float("inf")' if math.isinf(norm_type) else f"{norm_type:g}"
    kind = "" if norm_type == 2.0 else f", norm_type={name}"
    call = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {max_norm:g}{kind})"
    return f"{call}  # before optimizer.step()"


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    full = _values.fields("clip_norm", value, "max_norm", DEFAULTS)
    max_norm = float(full["max_norm"])
    own = next(
        (c.max_norm for c in facts.clips if c.kind == "norm" and c.max_norm > 0), 100 * max_norm
    )
    return tuple(validate({**full, "max_norm": norm}) for norm in _values.between(max_norm, own))


REMEDY = Remedy(
    name="clip_norm",
    summary="bound the gradient's norm (1, 2 or inf) at each step",
    source="Pascanu et al. 2013 (arXiv 1211.5063); torch.nn.utils.clip_grad_norm_",
    treats=(
        Cause.UNBOUNDED_GRADIENT, Cause.CLIP_TOO_TIGHT, Cause.LEARNING_RATE_TOO_HIGH,
        Cause.INPUT_OUTLIERS,
    ),
    structural=False,
    space=space,
    refusal=refusal,
    suggest=suggest,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=validate,
    toward_baseline=toward_baseline,
)  # fmt: skip
