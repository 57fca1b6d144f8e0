"""The labels have nothing to do with the inputs."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

ALPHA = 0.02
"""Level of the permutation test under which simple models do find a signal."""
ENOUGH = 500
"""Samples from which the silence of simple models weighs (they find 5 % skill with high
probability)."""


def explain(e: Evidence) -> Hypothesis | None:
    probe = e.probe if e.labels_suspect else None
    if probe is None or e.facts.task == "language_model" or probe.p_value <= ALPHA:
        return None
    belief = 0.9 if probe.n >= ENOUGH else (0.7 if probe.n >= 200 else 0.4)
    if e.memorised:
        belief += 0.05
    return hypothesis(
        Cause.LABELS_WITHOUT_SIGNAL,
        belief,
        f"cross-validated simple models on {probe.n} captured samples do not beat the constant"
        " answer (skill"
        f" {probe.score:+.2f}, permutation p = {probe.p_value:.2f}): targets look shuffled or"
        " belong to other rows",
        n=probe.n,
        p_value=probe.p_value,
        score=probe.score,
    )


CAUSE = CauseRule(
    cause=Cause.LABELS_WITHOUT_SIGNAL,
    definition="two simple models, cross-validated on the captured inputs and targets, score no"
    " better than with"
    " permuted targets",
    source="permutation test (Ojala and Garriga 2010)",
    remedies=(),
    explain=explain,
    explains=tuple(c for c in Cause if c is not Cause.LABELS_WITHOUT_SIGNAL),
    probe=True,
)
