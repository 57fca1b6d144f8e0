"""Input features have sizes that no default weights are made for."""

from __future__ import annotations

import numpy as np

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

LARGE = 10.0
"""Root mean square of a feature above which it is not standardised (definition 5.13: |x| > 10)."""
TINY = 1e-3
"""... of all features together, under which the first layer sees nothing (design)."""


def explain(e: Evidence) -> Hypothesis | None:
    features = e.features
    if features is None or len(features) < 8:
        return None
    low, high = np.quantile(features, [0.01, 0.99], axis=0)
    bulk = np.clip(features, low, high)  # single outliers are a cause of their own
    size = np.sqrt(np.mean(bulk**2, axis=0))
    varied = bulk.std(axis=0) > 0
    largest = float(size.max())
    if largest > LARGE:
        belief = 0.95 if largest > 1000 else (0.85 if largest > 50 else 0.55)
        if e.facts.layers and e.facts.layers[0].followed_by == "norm":
            belief *= 0.5
        return hypothesis(
            Cause.INPUTS_NOT_STANDARDISED,
            belief,
            f"{(size > LARGE).mean():.0%} of the input features are larger than {LARGE:g}, the"
            " largest about"
            f" {largest:.3g}",
            largest=largest,
            share=float((size > LARGE).mean()),
        )
    if varied.any() and float(size[varied].max()) < TINY:
        return hypothesis(
            Cause.INPUTS_NOT_STANDARDISED,
            0.7,
            f"all input features are smaller than {TINY:g} (largest {float(size.max()):.1e})",
            largest=largest,
        )
    return None


CAUSE = CauseRule(
    cause=Cause.INPUTS_NOT_STANDARDISED,
    definition="the bulk of a feature has a root mean square above 10, or all features are under"
    " 0.001",
    source="UMLAUT and SageMaker Debugger check ranges; the limits are wide so that standardised"
    " data are quiet",
    remedies=("standardise_inputs", "normalisation", "learning_rate", "optimizer"),
    explain=explain,
    explains=(
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.DEAD_ACTIVATION,
        Cause.BAD_INITIALISATION,
        Cause.UNBOUNDED_GRADIENT,
        Cause.SATURATING_ACTIVATION,
        Cause.MISSING_NORMALISATION,
        Cause.OPTIMIZER_MISMATCH,
        Cause.INPUT_OUTLIERS,
        Cause.CLASS_IMBALANCE,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
    ),
)
