"""Bring every input feature to mean 0 and variance 1, by the statistics of the training batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from sweeper.program.session import Session


def refusal(facts: Facts) -> str:
    return _hints.integer_inputs(facts)


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import _inputs

    _inputs.on_raw_input(session, "standardise_inputs", _inputs.Standardiser)


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(
        record, "standardise_inputs", "train_calls", "training input was standardised"
    )


def advice(value: FixValue, facts: Facts) -> str:
    return (
        "mean, std = X_train.mean(0), X_train.std(0)\n"
        "X_train, X_test = (X_train - mean) / std, (X_test - mean) / std"
    )


REMEDY = Remedy(
    name="standardise_inputs",
    summary="every input feature to mean 0 and variance 1",
    source="LeCun et al. 1998, Efficient BackProp, section 4.3",
    treats=(Cause.INPUTS_NOT_STANDARDISED, Cause.INPUT_OUTLIERS, Cause.BAD_INITIALISATION),
    structural=False,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("standardise_inputs"),
)
