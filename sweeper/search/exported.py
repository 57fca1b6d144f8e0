"""A study as optuna-dashboard shows it: every run with readable names and a note, in memory.

A copy, so that nothing which is clicked there reaches the study, and a study whose driver is at
work can be looked at.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from sweeper.types import Scalar, Trial, UsageError

DECADES = 30.0
"""A parameter whose values span so much, all above zero, is shown on a log scale."""
METRIC = "score"


def exported(trials: Sequence[Trial], name: str) -> optuna.Study:
    """The runs as an Optuna study; trial numbers are those of the report's table of runs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(), study_name=name, direction="maximize"
        )
        study.set_metric_names([METRIC])
    points = [_point(trial) for trial in trials]
    used = sorted({remedy for trial in trials for remedy in trial.fix.changes})
    known = _distributions(points)
    for number, (trial, point) in enumerate(zip(trials, points, strict=True)):
        switches: dict[str, Scalar] = {f"{_plain(r)} used": r in trial.fix.changes for r in used}
        params = point | switches  # what has a value is read first
        study.add_trial(_frozen(trial, number, params, known))
    return study


def annotate(study: optuna.Study, notes: Mapping[int, str], about: str) -> None:
    """Markdown beside each trial, by its number, and beside the study.

    Raises:
        UsageError: optuna-dashboard is not installed.
    """
    save_note = _dashboard().save_note
    save_note(study, about)
    for trial in study.get_trials(deepcopy=False):
        if trial.number in notes:
            # All that a note asks of a trial; a real one cannot be made of a finished trial.
            place = SimpleNamespace(storage=study._storage, study=study, _trial_id=trial._trial_id)
            save_note(place, notes[trial.number])


def application(study: optuna.Study) -> Any:
    """The dashboard of this study as a WSGI application.

    Raises:
        UsageError: optuna-dashboard is not installed.
    """
    return _dashboard().wsgi(study._storage)


def _dashboard() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # announcements of its own dependencies
            return importlib.import_module("optuna_dashboard")
    except ImportError as error:
        raise UsageError(
            "`sweeper dashboard` needs optuna-dashboard (pip install 'sweeper[dashboard]'), "
            f"got {error}"
        ) from None


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _point(trial: Trial) -> dict[str, Scalar]:
    """Parameters by readable names: ``learning rate``, ``clip norm: max norm``."""
    point: dict[str, Scalar] = {}
    for remedy, value in trial.fix.changes.items():
        if isinstance(value, Mapping):
            point |= {f"{_plain(remedy)}: {_plain(key)}": v for key, v in value.items()}
        elif not isinstance(value, bool):
            point[_plain(remedy)] = value
    return point


def _distributions(points: Sequence[Mapping[str, Scalar]]) -> dict[str, BaseDistribution]:
    """What the values seen of each parameter span."""
    seen: dict[str, list[Scalar]] = {}
    for point in points:
        for name, value in point.items():
            seen.setdefault(name, []).append(value)
    return {name: _distribution(values) for name, values in seen.items()}


def _distribution(values: Sequence[Scalar]) -> BaseDistribution:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) < len(values) or not all(map(math.isfinite, numbers)):
        return CategoricalDistribution(sorted(set(values), key=repr))
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= DECADES
    if all(isinstance(v, int) for v in numbers):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _frozen(
    trial: Trial, number: int, params: Mapping[str, Scalar], known: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    judged = trial.judgement
    score = judged.score if judged is not None and math.isfinite(judged.score) else None
    switch = CategoricalDistribution([False, True])
    whole = {name: _cast(value, known.get(name, switch)) for name, value in params.items()}
    end = _ended(trial)
    attributes: dict[str, Any] = {
        "fix": trial.fix.label,
        "phase": trial.phase,
        "seed": trial.seed,
        "ended": trial.outcome.status,
        "restored": bool(judged and judged.restored and not trial.not_applied),
        "steps": trial.outcome.steps,
        "run": f"runs/{trial.folder.name}",
    }
    if judged is not None and math.isfinite(judged.metric):
        attributes[judged.metric_name] = judged.metric
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.COMPLETE if score is not None else TrialState.FAIL,
        value=score,
        datetime_start=end - timedelta(seconds=trial.outcome.seconds),
        datetime_complete=end,
        params=whole,
        distributions={name: known.get(name, switch) for name in whole},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values={},
    )


def _cast(value: Scalar, distribution: BaseDistribution) -> Scalar:
    """A whole number among fractions is one of them."""
    if isinstance(distribution, FloatDistribution):
        assert isinstance(value, (int, float))
        return float(value)
    return value


def _ended(trial: Trial) -> datetime:
    """When the run's outcome was written; now where it is gone."""
    try:
        return datetime.fromtimestamp((trial.folder / "outcome.json").stat().st_mtime)
    except OSError:
        return datetime.now()
