"""The joint space as Optuna sees it: per remedy an on/off choice and, where it is on, its
parameters.

Parameter names: ``<remedy>`` is the choice, ``<remedy>.<parameter>`` a parameter
(``<remedy>.value`` where the parameter is named after its remedy).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweeper.search.values import to_point, to_value
from sweeper.types import Dimension, Fix, FixValue, UsageError

if TYPE_CHECKING:
    from sweeper.remedies import Remedy

ON = CategoricalDistribution([False, True])


class JointSpace:
    """Fixes of several remedies as points; remedies in the order of belief."""

    def __init__(
        self, dimensions: Mapping[str, Mapping[str, Dimension]], remedies: Mapping[str, Remedy]
    ) -> None:
        self.dimensions = dimensions
        self.remedies = remedies
        self.distributions: dict[str, dict[str, BaseDistribution]] = {
            name: {parameter_name(name, p): distribution(d) for p, d in own.items()}
            for name, own in dimensions.items()
        }

    def suggest(self, trial: optuna.Trial) -> Fix | None:
        """Walk the conditional space with a trial; None when a value is refused by its remedy."""
        return self.valued(
            trial,
            [name for name in self.dimensions if trial.suggest_categorical(name, (False, True))],
        )

    def valued(self, trial: optuna.Trial, names: Iterable[str]) -> Fix | None:
        """A fix of these remedies with values of a trial; None when one is refused."""
        changes: dict[str, FixValue] = {}
        for name in names:
            point = {
                p: _suggest(trial, parameter_name(name, p), d)
                for p, d in self.dimensions[name].items()
            }
            try:
                changes[name] = to_value(self.remedies[name], point)
            except UsageError:
                return None
        return Fix(changes=changes)

    def describe(self, fix: Fix) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Parameters and distributions of a fix; a value outside the space counts by its choice
        alone."""
        params: dict[str, Any] = {}
        known: dict[str, BaseDistribution] = {}
        for name, own in self.dimensions.items():
            params[name], known[name] = name in fix.changes, ON
            if name not in fix.changes:
                continue
            point = to_point(self.remedies[name], fix.changes[name], own)
            for p, value in (point or {}).items():
                key = parameter_name(name, p)
                params[key], known[key] = value, self.distributions[name][key]
        return params, known

    def fingerprint(self) -> dict[str, str]:
        """Parameter -> its distribution as text; studies are the same only when these agree."""
        return {
            key: optuna.distributions.distribution_to_json(d)
            for own in self.distributions.values()
            for key, d in own.items()
        } | dict.fromkeys(self.dimensions, "on/off")


def parameter_name(remedy: str, parameter: str) -> str:
    """The name of a remedy's parameter in the study."""
    return f"{remedy}.{'value' if parameter == remedy else parameter}"


def distribution(dimension: Dimension) -> BaseDistribution:
    """The Optuna distribution of a dimension."""
    if dimension.kind == "choice":
        return CategoricalDistribution(tuple(dimension.choices))
    if dimension.kind == "int":
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> bool | int | float | str:
    if dimension.kind == "choice":
        chosen = trial.suggest_categorical(name, tuple(dimension.choices))
        assert chosen is not None
        return chosen
    if dimension.kind == "int":
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
