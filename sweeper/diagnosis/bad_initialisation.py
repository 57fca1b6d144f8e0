"""The first weights have the wrong size."""

from __future__ import annotations

import numpy as np

from sweeper.detectors._stats import median
from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom

LARGE, SMALL = 3.0, 0.25
"""Root mean square times sqrt(fan-in) out of which a first weight is odd: He has 1.41, Xavier and
LeCun about 1, torch's default 0.58, orthogonal at most 1."""
EXTREME = 10.0
"""Times outside of these limits, where no scheme draws weights (design)."""


def explain(e: Evidence) -> Hypothesis | None:
    if e.facts.pretrained:
        return None
    heads = {layer.name for layer in e.facts.layers if layer.is_output}
    scale = {n: v for n, v in e.weight_scale.items() if n.rpartition(".")[0] not in heads}
    values = np.array(list(scale.values()))
    if values.size:
        large, small = float((values > LARGE).mean()), float((values < SMALL).mean())
        middle = median(values)
        signs = e.critical(
            Symptom.BAD_INITIAL_LOSS,
            Symptom.SATURATED_UNITS,
            Symptom.EXPLODING_GRADIENT,
            Symptom.NON_FINITE,
            Symptom.DIVERGENCE,
        )
        if large >= 0.5:
            return _say(0.92 if signs or middle > EXTREME * LARGE else 0.7, middle)
        # Normalisation and transformers start small on purpose.
        if small >= 0.5 and not e.facts.norms and not e.attention:
            faint = e.has(Symptom.VANISHING_GRADIENT, Symptom.DEAD_UNITS, Symptom.STARVED_UPDATES)
            if float((values < SMALL / EXTREME).mean()) >= 0.5:
                return _say(0.88, middle)
            return _say(0.8 if faint or e.stuck else 0.5, middle)
    if _copies(e):
        return hypothesis(
            Cause.BAD_INITIALISATION,
            0.5,
            "all hidden units give the same answer from the start, as equal first weights do",
        )
    if e.critical(Symptom.BAD_INITIAL_LOSS):
        finding = e.finding(Symptom.BAD_INITIAL_LOSS)
        reason = finding.reason if finding else ""
        return hypothesis(
            Cause.BAD_INITIALISATION,
            0.4,
            reason if e.record.foreign else f"{reason} although weights have usual sizes",
        )
    return None


def _copies(e: Evidence) -> bool:
    series = e.record.activations
    if series is None or not len(series.step) or e.has(Symptom.DEAD_UNITS):
        return False
    rank = series.erank[0][np.isfinite(series.erank[0])]
    return bool(rank.size and (rank < 1.05).all()) and not e.constant_inputs


def _say(belief: float, middle: float) -> Hypothesis:
    return hypothesis(
        Cause.BAD_INITIALISATION,
        belief,
        f"first weights are {middle:.2g} times 1 / sqrt(inputs) in size (usual is 0.6 to 1.4)",
        scale=middle,
    )


CAUSE = CauseRule(
    cause=Cause.BAD_INITIALISATION,
    definition="half or more of the hidden weights start at over 3 or under 0.25 times 1 /"
    " sqrt(fan-in), or the"
    " first loss is far above that of guessing with sane inputs",
    source="TheDeepChecker (initial loss and weight variance); He et al. 2015, Glorot and Bengio"
    " 2010",
    remedies=("init", "normalisation", "activation", "residual"),
    explain=explain,
    evident=True,
    explains=(
        Cause.SATURATING_ACTIVATION,
        Cause.DEAD_ACTIVATION,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.MISSING_NORMALISATION,
        Cause.LEARNING_RATE_TOO_HIGH,
        Cause.LEARNING_RATE_TOO_LOW,
        Cause.UNBOUNDED_GRADIENT,
        Cause.OPTIMIZER_MISMATCH,
        Cause.CODE_FAULT,
    ),
)
