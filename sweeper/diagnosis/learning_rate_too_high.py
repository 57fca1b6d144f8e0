"""The learning rate is too large."""

from __future__ import annotations

import math

from sweeper.diagnosis._base import HOT, CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom

JUMP = 3.0
"""Early loss over the first one that tells too long a first step in a log, which does not show how
far the weights moved (design)."""
NARROW = 3e-3
"""Largest usual rate of Adam for a narrow transformer; for a wide one it falls as 1 / width from
3e-4 at 512 (Yang et al. 2022, and the recipes of GPT-2 and BERT)."""


def explain(e: Evidence) -> Hypothesis | None:
    if e.optimizer is None or e.facts.detached:
        return None
    lr, early = e.peak_lr, e.early_ratio
    belief = 0.0
    if early >= 10 * HOT:
        belief = 0.75
    elif early >= HOT:
        belief = 0.65
    elif early >= 0.03:
        belief = 0.35
    if e.adaptive:
        # A step of an adaptive optimizer is about as long as its rate.
        usual = 1.0 if e.optimizer.name == "Adadelta" else 1e-3
        if e.attention:
            usual = min(NARROW, 3e-4 * max(1.0, 512 / max(1.0, e.width)))
        if e.attention and e.facts.pretrained:
            usual = 5e-5
        above = math.log10(max(lr, 1e-30) / usual)
        belief = max(belief, 0.85 if above >= 1.4 else (0.6 if above >= 0.9 else 0.0))
    elif lr / (1 - min(e.optimizer.momentum, 0.99)) >= 1.0:
        belief = max(belief, 0.6)
    elif e.record.foreign and lr >= 1.0:  # of any optimizer
        belief = max(belief, 0.6 if lr < 10.0 else 0.75)
    if not belief:
        belief = 0.3 if e.blew_up else 0.0
    if e.record.foreign and e.jumped_early >= JUMP:
        belief = max(belief, 0.5)
    if e.blew_up and belief:
        belief += 0.15
    if e.critical(Symptom.STARVED_UPDATES) and not (e.hot or e.blew_up or e.died):
        belief *= 0.2
    if e.died:
        belief += 0.05
    exploded = e.critical(Symptom.EXPLODING_GRADIENT, Symptom.NON_FINITE)
    if exploded and (e.recurrent or e.repeated_weights):
        # There the gradient itself grows over time, at any rate.
        belief *= 1.0 if e.adaptive or lr >= 1.0 else 0.75
    if belief <= 0:
        return None
    return hypothesis(
        Cause.LEARNING_RATE_TOO_HIGH,
        min(belief, 0.93),
        _rate(e, lr)
        + (f" and an early step moved weights by {early:.2g} of their size" if early > 0 else "")
        + ("" if e.record.foreign else f" (about 1e-3 is healthy, {HOT:g} harmful)"),
        peak_lr=lr,
        early_ratio=early,
    )


def _rate(e: Evidence, lr: float) -> str:
    name = e.optimizer.name if e.optimizer else ""
    if not e.record.foreign:
        return f"the rate is {lr:.3g} with {name}"
    rate = f"the rate is {lr:.3g}" if math.isfinite(lr) else "the log has no rate"
    if e.jumped_early >= JUMP:
        return f"{rate}, and an early loss is {e.jumped_early:.3g} times the first (limit {JUMP:g})"
    return f"{rate}, of an optimizer that the log does not name, and the loss broke out"


CAUSE = CauseRule(
    cause=Cause.LEARNING_RATE_TOO_HIGH,
    definition="early updates change weights by a tenth of their size or more, or the rate is ten"
    " times the usual"
    " one of its optimizer, and the run breaks, dies or stands at chance",
    source="torchmortem and TheDeepChecker (0.1)",
    remedies=("learning_rate", "lr_schedule", "clip_norm", "optimizer", "normalisation"),
    explain=explain,
    explains=(
        Cause.DEAD_ACTIVATION,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.MISSING_NORMALISATION,
        Cause.SATURATING_ACTIVATION,
        Cause.OPTIMIZER_MISMATCH,
        Cause.WEIGHT_DECAY_TOO_STRONG,
    ),
)
