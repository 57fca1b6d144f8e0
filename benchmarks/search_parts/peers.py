"""Other ways to choose what is tried next, in the same space, under the same judge and proof.

A peer proposes one fix after the other. What is restored at the program's own seed goes to the
proof at once, as it stands. Random search, TPE and Hyperband are Optuna's own samplers and pruners
over one joint space: how many remedies, which, and their values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Protocol

import optuna
from detection_parts.peers import autotrainer
from optuna.trial import TrialState

from search_parts.cases import Case
from sweeper.detectors.skill import skill_of
from sweeper.remedies import all_remedies
from sweeper.search.judge import NO_MEASURE, survived_share
from sweeper.search.points import JointSpace
from sweeper.search.space import Space
from sweeper.search.study import WORST_SCORE
from sweeper.search.values import into_space
from sweeper.telemetry.record import read_record
from sweeper.types import Dimension, Fix, FixValue, RunRecord, Trial, UsageError

CHECKS = 9
"""Places of a run, equally far apart, at which a pruner is asked; Hyperband's largest budget."""


class Peer(Protocol):
    def ask(self) -> Fix | None:
        """The next fix; None when it has no other."""

    def watch(self, trial: Trial) -> float:
        """Share of the run after which it is ended."""

    def tell(self, trial: Trial, share: float) -> None: ...


class Sampled:
    """An Optuna study over the joint space."""

    def __init__(
        self,
        case: Case,
        space: Space,
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        dimensions, _ = space.applicable(case.baseline.facts)
        self._space = JointSpace(dimensions, space.remedies)
        self._most = min(space.max_changes, len(dimensions))
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._prunes = not isinstance(pruner, optuna.pruners.NopPruner)
        self._trial: optuna.Trial | None = None

    def ask(self) -> Fix | None:
        for _ in range(100):
            self._trial = self._study.ask()
            names = [
                str(self._trial.suggest_categorical(f"change {i}", tuple(self._space.dimensions)))
                for i in range(self._trial.suggest_int("changes", 1, self._most))
            ]
            fix = self._space.valued(self._trial, dict.fromkeys(names))
            if fix is not None:
                return fix
            self._study.tell(self._trial, state=TrialState.FAIL)
        return None

    def watch(self, trial: Trial) -> float:
        assert self._trial is not None
        if not self._prunes or trial.judgement is None:
            return 1.0
        for step, value in enumerate(_curve_of(trial.folder), start=1):
            self._trial.report(value, step)
            if step < CHECKS and self._trial.should_prune():
                return step / CHECKS
        return 1.0

    def tell(self, trial: Trial, share: float) -> None:
        assert self._trial is not None
        if share < 1.0:
            self._study.tell(self._trial, state=TrialState.PRUNED)
            return
        told = trial.judgement is not None and not trial.not_applied
        score = trial.judgement.score if trial.judgement is not None and told else WORST_SCORE
        self._study.tell(self._trial, score)


@cache
def _curve_of(folder: Path) -> tuple[float, ...]:
    return tuple(curve(read_record(folder)))


def curve(record: RunRecord) -> list[float]:
    """The judge's score of the first 1/9, 2/9, ... of a run; larger is better, always finite."""
    total = max(len(record.series("loss")), 1)
    whole = survived_share(record) >= 1.0
    planned = total if whole else max(record.max_steps or 0, record.facts.steps, total)
    values = []
    for check in range(1, CHECKS + 1):
        count = math.ceil(planned * check / CHECKS)
        if count > total:
            break  # it had ended by itself
        skill = skill_of(first_steps(record, count))
        values.append(min(max(skill.value, -1.0), 1.0) if skill.known else NO_MEASURE)
    return values


def first_steps(record: RunRecord, count: int) -> RunRecord:
    """The record as it stood after so many steps."""
    evals = record.evals
    if evals is not None:
        rows = evals.step <= count
        evals = replace(
            evals, step=evals.step[rows], n=evals.n[rows], loss=evals.loss[rows],
            accuracy=evals.accuracy[rows], skill=evals.skill[rows],
            fresh_share=evals.fresh_share[rows],
        )  # fmt: skip
    steps = {key: values[:count] for key, values in record.steps.items()}
    return replace(record, steps=steps, evals=evals, replay=None)


class AutoTrainer:
    """AUTOTRAINER's repairs in its fixed order, each alone on the program as it is (Zhang et al.
    2021): those of the problem that its own rules find, then those of its other problems.

    Its repairs are Keras edits; here each is the remedy that does the same.
    """

    def __init__(self, case: Case, space: Space) -> None:
        facts = case.baseline.facts
        rate = facts.optimizers[0].peak_lr[0] if facts.optimizers else math.nan
        lists = repairs(rate, case.baseline.facts.batch_size)
        found = [name for name in autotrainer(case.baseline.record) if name in lists]
        order = [*found, *(name for name in lists if name not in found)]
        dimensions, _ = space.applicable(facts)
        fixes = [_inside(changes, space, dimensions) for name in order for changes in lists[name]]
        unique = {fix.hash: fix for fix in fixes if fix is not None}
        self._waiting: Iterator[Fix] = iter(unique.values())

    def ask(self) -> Fix | None:
        return next(self._waiting, None)

    def watch(self, trial: Trial) -> float:
        return 1.0

    def tell(self, trial: Trial, share: float) -> None: ...


def repairs(rate: float, batch: int) -> dict[str, list[dict[str, FixValue]]]:
    """Problem -> repairs in the order of its source; up to three strengths of a rate."""
    selu: dict[str, FixValue] = {"activation": "selu", "init": "lecun"}
    relu: dict[str, FixValue] = {"activation": "relu", "init": "kaiming"}
    norm: dict[str, FixValue] = {"normalisation": "batch"}
    return {
        "vanish": [selu, relu, norm],
        "explode": [relu, selu, {"clip_norm": 1.0}, norm],
        "relu": [selu, norm, {"init": "kaiming"}],
        "unstable": [
            {"optimizer": "adam"},
            *({"learning_rate": rate / 10**k} for k in (1, 2, 3)),
            {"batch_size": 4 * batch},
            {"lr_schedule": "step"},
        ],
        "not_converge": [
            {"optimizer": "adam"},
            {"optimizer": "sgd"},
            *({"learning_rate": rate * 10**k} for k in (1, 2, 3)),
            {"init": "kaiming"},
        ],
    }


def _inside(
    changes: Mapping[str, FixValue], space: Space, dimensions: Mapping[str, Mapping[str, Dimension]]
) -> Fix | None:
    """The fix as far as the space has it; None when nothing of it is left."""
    kept: dict[str, FixValue] = {}
    for name, value in changes.items():
        if name not in dimensions:
            continue
        try:
            own = into_space(
                space.remedies[name], all_remedies()[name].validate(value), dimensions[name]
            )
        except UsageError:
            continue
        if own is not None:
            kept[name] = own
    return Fix(changes=kept) if kept else None


def peer(name: str, case: Case, space: Space, seed: int) -> Peer:
    """One of `PEERS`, its samplers and pruners as Optuna sets them up by default.

    Seeds differ between the methods too: equal ones would begin with the same random fixes.
    """
    seed = 100 * seed + PEERS.index(name)
    tpe = optuna.samplers.TPESampler(seed=seed)
    if name == "TPE":
        return Sampled(case, space, tpe, optuna.pruners.MedianPruner())
    if name == "random":
        sampler = optuna.samplers.RandomSampler(seed=seed)
        return Sampled(case, space, sampler, optuna.pruners.NopPruner())
    if name == "Hyperband":
        pruner = optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=CHECKS, reduction_factor=3
        )
        return Sampled(case, space, tpe, pruner)
    return AutoTrainer(case, space)


PEERS = ("TPE", "random", "Hyperband", "AUTOTRAINER")
