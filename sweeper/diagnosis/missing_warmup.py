"""A transformer starts at its full rate."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    lr = e.lr
    if not e.adaptive or not e.attention or len(lr) < 5 or not lr.max() > 0:
        return None
    if lr[:3].max() < 0.5 * lr.max():  # it has one
        return None
    belief = 0.45
    if e.has(Symptom.COLLAPSED_REPRESENTATION, Symptom.VANISHING_GRADIENT) or e.blew_up:
        belief += 0.2
    if e.depth >= 16:
        belief += 0.15
    if (
        e.peak_lr > 5e-3 or e.peak_lr < 2e-4
    ):  # too high or too low for any warm-up to be the first answer
        belief -= 0.15
    return hypothesis(
        Cause.MISSING_WARMUP,
        belief,
        f"a transformer of {e.depth} weight layers takes steps of the full rate {lr.max():.3g} from"
        " the start",
        peak_lr=float(lr.max()),
        first_lr=float(lr[0]),
        depth=e.depth,
    )


CAUSE = CauseRule(
    cause=Cause.MISSING_WARMUP,
    definition="attention layers, an adaptive optimizer, and a rate that is at its peak in the"
    " first steps of a run"
    " that learned nothing",
    source="Xiong et al. 2020 (post-norm transformers need warm-up); PaLM and OLMo reports",
    remedies=("lr_schedule", "learning_rate", "clip_norm"),
    explain=explain,
    explains=(Cause.TOO_DEEP_WITHOUT_SHORTCUTS, Cause.DEAD_ACTIVATION, Cause.MISSING_NORMALISATION),
)
