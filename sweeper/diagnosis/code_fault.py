"""The code cannot train the model, whatever the hyperparameters."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis, Symptom

EVERYTHING = tuple(c for c in Cause if c is not Cause.CODE_FAULT)
FEWEST, TRIED = 8, 100
"""Samples of the batch and steps made without which a replay says nothing (TheDeepChecker: 16
samples, 1,000 steps; sound small models need 20 to 100 of Adam)."""
BY_HEART = 0.5
"""Skill on one batch under which it was not learnt by heart (sound ones reach 0.9 and more)."""


def explain(e: Evidence) -> Hypothesis | None:
    facts = e.facts
    if facts.detached:
        return hypothesis(
            Cause.CODE_FAULT,
            0.98,
            "backward ran and no parameter of the optimizer ever had a gradient: the loss is cut"
            " off from the model (a new tensor, .item(), .detach() or numpy on the way)"
            if facts.backwards_per_step
            else "no parameter of the optimizer ever had a gradient, for backward never ran between"
            " two optimizer steps",
            detached=True,
        )
    if facts.head_width > 1 and facts.n_classes and facts.label_max >= facts.head_width:
        return hypothesis(
            Cause.CODE_FAULT,
            0.95,
            f"labels reach {facts.label_max} and the head has {facts.head_width} outputs",
            label_max=facts.label_max,
        )
    if e.shift is not None and not e.learned:
        rows = abs(e.shift.rows)
        return hypothesis(
            Cause.CODE_FAULT,
            0.95,
            f"targets have nothing to do with their inputs and fit those {rows}"
            f" row{'s' if rows > 1 else ''} {'before' if e.shift.rows > 0 else 'behind'} them"
            f" (skill {e.shift.skill:.2f}, p = {e.shift.p_value:.0e}): they are out of step",
            shift=e.shift.rows,
            skill=e.shift.skill,
        )
    unused = sum(o.n_without_grad for o in facts.optimizers)
    share = unused / max(1, facts.n_parameters)
    if share > 0.3 and e.stuck:
        return hypothesis(
            Cause.CODE_FAULT,
            0.3 + 0.5 * share,
            f"{share:.0%} of the parameters require a gradient and never had one: part of the model"
            " does not reach"
            " the loss",
            share_without_gradient=share,
        )
    replay = e.record.replay
    if (
        replay is not None and e.stuck and not e.constant_inputs and replay.batch >= FEWEST
        and replay.batch_steps >= TRIED and replay.batch_skill < BY_HEART
    ):  # fmt: skip
        return hypothesis(
            Cause.CODE_FAULT,
            0.45,
            f"from fresh weights, model and loss do not even learn one batch of {replay.batch} by"
            f" heart: skill {replay.batch_skill:.2f} after {replay.batch_steps} steps of Adam",
            batch_skill=replay.batch_skill,
            batch=replay.batch,
        )
    moved = e.finding(Symptom.STARVED_UPDATES)
    still = (
        moved is not None
        and moved.evidence.get("frozen_share", 0.0) > 0.99
        and moved.evidence.get("share_of_run", 0.0) > 0.99
    )
    if still and e.lr.size and float(e.lr.max()) > 0 and e.gradient_seen and not e.shrunk_lr:
        return hypothesis(
            Cause.CODE_FAULT, 0.35, "gradients are there and no weight ever moves", still=True
        )
    return None


CAUSE = CauseRule(
    cause=Cause.CODE_FAULT,
    definition="no gradient reaches the parameters, labels lie outside the head, part of the model"
    " is cut off, targets belong to other rows, or not even one batch can be learnt by heart",
    source="seams; TheDeepChecker (one batch by heart)",
    remedies=(),
    explain=explain,
    explains=EVERYTHING,
)
