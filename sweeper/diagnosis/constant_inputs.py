"""Every input is the same."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.types import Cause, Hypothesis


def explain(e: Evidence) -> Hypothesis | None:
    if not e.constant_inputs or e.captured is None:
        return None
    value = e.captured.inputs.reshape(-1)[0]
    return hypothesis(
        Cause.CONSTANT_INPUTS,
        0.97,
        f"all {len(e.captured.inputs)} captured inputs are equal (first value {value:g})",
        rows=len(e.captured.inputs),
    )


CAUSE = CauseRule(
    cause=Cause.CONSTANT_INPUTS,
    definition="no input feature varies over the captured samples",
    source="captured inputs",
    remedies=(),
    explain=explain,
    explains=tuple(c for c in Cause if c is not Cause.CONSTANT_INPUTS),
)
