"""The optimizer does not suit the model or the rate it was given."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom


def explain(e: Evidence) -> Hypothesis | None:
    if e.optimizer is None or not e.stuck or e.facts.detached or not e.gradient_seen:
        return None
    name, lr = e.optimizer.name, e.peak_lr
    embedded = any("mbedding" in layer.kind for layer in e.facts.layers)
    starved = e.has(Symptom.STARVED_UPDATES)
    if name == "Adadelta" and lr < 0.1:
        return _say(0.75, f"Adadelta is meant for a rate near 1 and has {lr:g}", lr)
    if name == "Rprop" and _mini_batches(e):
        return _say(
            0.75, "Rprop needs full batches: it reads signs of gradients that mini-batches flip", lr
        )
    if name == "Adagrad" and lr < 1e-2:
        return _say(0.5, f"Adagrad's steps shrink for ever and began at {lr:g}", lr)
    if name in ("SGD", "ASGD"):
        if e.attention:
            return _say(
                0.6, "plain SGD trains transformers badly: gradient sizes differ by layer", lr
            )
        if lr <= 1e-4 and starved:
            return _say(0.5, f"{lr:g} is a rate for Adam, not for {name}", lr)
        if embedded:
            return _say(0.4, "SGD moves embeddings of rare tokens hardly at all", lr)
        return (
            _say(0.2, f"{name} without adaptation does not get this model moving", lr)
            if not e.hot
            else None
        )
    if e.adaptive and lr >= 0.05:
        return _say(0.3, f"{lr:g} is a rate for SGD, not for {name}", lr)
    return None


def _mini_batches(e: Evidence) -> bool:
    sizes = [loader.n_batches for loader in e.facts.loaders if loader.trained and loader.n_batches]
    return max(sizes, default=2) > 1


def _say(belief: float, reason: str, lr: float) -> Hypothesis:
    return hypothesis(Cause.OPTIMIZER_MISMATCH, belief, reason, peak_lr=lr)


CAUSE = CauseRule(
    cause=Cause.OPTIMIZER_MISMATCH,
    definition="the optimizer's kind explains that a model with sound gradients does not learn at"
    " this rate",
    source="AUTOTRAINER and DeepDiagnosis change the optimizer first for a loss that does not move",
    remedies=("optimizer", "learning_rate"),
    explain=explain,
)
