"""The labels have nothing to do with the inputs."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis

ENOUGH = 500
"""Samples from which the silence of simple models weighs (they find 5 % skill with high
probability)."""


ENOUGH_TOKENS = 64
"""The same in sequences of tokens: neighbouring tokens of any text depend on each other."""


def explain(e: Evidence) -> Hypothesis | None:
    probe = e.probe if e.labels_suspect and e.shift is None else None
    if probe is None or probe.signal:
        return None
    enough = ENOUGH_TOKENS if e.facts.task == "language_model" else ENOUGH
    belief = 0.9 if probe.n >= enough else (0.7 if probe.n >= 0.4 * enough else 0.4)
    if e.memorised:
        belief += 0.05
    if e.unlearnt:  # what is understood elsewhere was learned from these labels
        belief *= 0.3
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
