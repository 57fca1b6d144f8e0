"""The learning rate is too small for the optimizer."""

from __future__ import annotations

import math

from sweeper.diagnosis._base import SLOW, CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom

USUAL = {
    "SGD": 1e-2,
    "Adadelta": 1.0,
    "Adagrad": 1e-2,
    "Rprop": 1e-2,
    "ASGD": 1e-2,
    "RMSprop": 1e-3,
}
"""Rates that usually train from scratch (torch's defaults, SGD by custom); adaptive optimizers else
1e-3."""


def explain(e: Evidence) -> Hypothesis | None:
    if not e.stuck or e.facts.detached or e.optimizer is None or not e.gradient_seen:
        return None
    usual = USUAL.get(e.optimizer.name, 1e-3)
    momentum = 1 / (1 - min(e.optimizer.momentum, 0.99)) if e.optimizer.name == "SGD" else 1.0
    lr = float(e.lr.max()) if e.lr.size else e.peak_lr  # a schedule may never reach its promise
    below = math.log10(usual / max(lr * momentum, 1e-30)) if lr > 0 else 0.0
    starved = e.finding(Symptom.STARVED_UPDATES)
    faded = e.has(Symptom.VANISHING_GRADIENT)
    belief = 0.0
    if starved is not None and starved.evidence.get("frozen_share", 0.0) < 0.5:
        belief = 0.6 if below < 1 else 0.85
    elif below >= 1:
        belief = 0.35 if below < 2 else (0.7 if e.ratio < 100 * SLOW else 0.4)
    elif e.ratio < 10 * SLOW:
        belief = 0.45
    elif (e.ratio < 1e-3 or e.record.foreign) and e.still_falling:
        belief = 0.35
    if faded:
        belief *= 0.4
    if e.blew_up or e.hot:
        belief *= 0.2
    if belief <= 0:
        return None
    return hypothesis(
        Cause.LEARNING_RATE_TOO_LOW,
        belief,
        _in_words(e, lr, usual),
        ratio=e.ratio,
        peak_lr=lr,
        decades_below_usual=below,
    )


def _in_words(e: Evidence, lr: float, usual: float) -> str:
    if e.record.foreign:
        rate = f"the rate is {lr:.3g} ({usual:g} is usual)" if lr > 0 else "the log has no rate"
        return rate + (", and the loss falls slowly but surely" if e.still_falling else "")
    name = e.optimizer.name if e.optimizer else ""
    return (
        f"weights move by {e.ratio:.1e} of their size a step at rate {lr:.3g} with {name}"
        f" (about 1e-3 is healthy, {usual:g} a usual rate)"
    )


CAUSE = CauseRule(
    cause=Cause.LEARNING_RATE_TOO_LOW,
    definition="nothing is learned, gradients arrive, and weights move by less than 1e-5 to 1e-4 of"
    " their size",
    source="torchmortem and CS231n for the healthy ratio",
    remedies=("learning_rate", "optimizer", "lr_schedule"),
    explain=explain,
    explains=(),
)
