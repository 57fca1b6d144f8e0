"""One class is so common that naming it always is the easy answer."""

from __future__ import annotations

from sweeper.detectors._stats import mean
from sweeper.detectors.skill import LATE, skills_of
from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    prior = max(e.facts.class_prior, default=0.0)
    if e.facts.task not in ("classification", "binary") or prior < 0.7 or not e.stuck:
        return None
    found = e.finding(Symptom.CHANCE_LEVEL)
    if found is not None and "others" in found.evidence:
        return hypothesis(Cause.CLASS_IMBALANCE, 0.92, found.reason, prior=prior)
    skills = {s.name: s for s in skills_of(e.record)}
    accuracy, loss = skills.get("accuracy"), skills.get("loss")
    majority = mean(e.record.series("majority")[int(LATE * e.n_steps) :])
    one_class = majority > 0.98 or (accuracy is not None and abs(accuracy.value) < 0.02)
    if not one_class:
        return None
    belief = 0.75 if prior >= 0.95 else 0.6 if prior >= 0.9 else 0.35 if prior >= 0.8 else 0.15
    # Imbalance alone does not keep the probabilities, and so the loss, from learning.
    if loss is not None and loss.value < 0.02:
        belief *= 0.6
    return hypothesis(
        Cause.CLASS_IMBALANCE,
        belief,
        f"{prior:.0%} of the targets are one class and the model names hardly any other",
        prior=prior,
        loss_skill=loss.value if loss else None,
    )


CAUSE = CauseRule(
    cause=Cause.CLASS_IMBALANCE,
    definition="four of five targets or more are one class, and the model predicts that class only",
    source="captured priors",
    remedies=("class_weights", "learning_rate", "batch_size"),
    explain=explain,
)
