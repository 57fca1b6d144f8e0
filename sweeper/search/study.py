"""The joint study: Optuna's TPE over combinations of remedies, by ask and tell, warm-started with
every trial.

Sampling happens in memory; the journal holds finished trials only, each written as one record.
However the driver ends, the file therefore has no trial that never ends and no half-told one, and
what a cut record loses is found again in its run folder.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeper.search.journal import open_journal
from sweeper.search.points import JointSpace
from sweeper.search.server import ServerStudy
from sweeper.search.stacking import Told, stacked
from sweeper.types import Dimension, Fix, Trial, UsageError, jsonable

if TYPE_CHECKING:
    from sweeper.remedies import Remedy

WORST_SCORE = -2.0
"""Score of a fix under which the program did not run to anything that could be judged."""
CONSTRAINTS = ("finite", "quiet", "gradients", "learning", "fits_memory", "applied", "runs")
"""Every trial carries all of them, graded where the judge grades; 0 and below is satisfied."""
PROPOSALS = 12
"""Samples drawn for one ask before chance takes over."""
TIE = 1e-3
"""Weight of the score among equally ill trials; without it they tie, and ties say nothing."""
STARTUP = 10
"""Trials before TPE models anything (Optuna's default); screening trials count."""
MODELLED = 60
"""Trials that the sampler models at least, once there are so many; twice as many at most."""
LEARNS_FROM = frozenset({"baseline", "screening", "joint", "elimination"})
"""Phases whose trials share one seed and one budget, and so can be compared."""


class JointStudy:
    """Ask for fixes that were not tried, tell what came of them. Not thread-safe: the driver alone
    calls it."""

    def __init__(
        self,
        path: Path,
        *,
        dimensions: Mapping[str, Mapping[str, Dimension]],
        remedies: Mapping[str, Remedy],
        max_changes: int,
        seed: int,
        again: Sequence[Fix] = (),
        replay: bool = False,
        storage: ServerStudy | None = None,
    ) -> None:
        """Open the journal at ``path``, or take ``storage``, and learn from what it holds.

        ``dimensions`` is in the order of belief. ``again`` are fixes that an interrupted driver had
        under way: they are asked for first. ``replay`` takes nothing from either: everything is
        asked anew in the same order, and finished runs answer from their folders. UsageError when
        the journal was written for another space.
        """
        self.space = JointSpace(dimensions, remedies)
        self.max_changes = min(max_changes, len(dimensions))
        self._journal: optuna.Study | ServerStudy
        if storage is None:
            self._journal = open_journal(path, "joint")
            self._check_space(path)
        else:
            self._journal = storage
            self._check_space(storage.place)
        known = self._journal.get_trials(deepcopy=False)
        self._kept = {f.user_attrs["hash"] for f in known if "hash" in f.user_attrs}
        known = [] if replay else known
        self._random = np.random.default_rng([seed, len(known)])
        self._seed = int(self._random.integers(2**31))
        self._memory = _memory_study(self._seed)
        self._learnt: list[FrozenTrial] = []
        self._since_rebuilt = 0
        self._told: dict[str, Told] = {}
        self._phases: dict[str, str] = {}
        self._running: dict[str, tuple[Fix, optuna.Trial]] = {}
        self._again = [] if replay else list(again)
        for frozen in known:
            self._learn(frozen)
        self.earlier = [t.fix for t in self.told if self._phases[t.fix.hash] == "joint"]
        """Joint fixes that the journal held when it was opened; their runs lie in their folders."""

    @property
    def told(self) -> tuple[Told, ...]:
        """Every judged fix, in the order in which it was told."""
        return tuple(self._told.values())

    def knows(self, fix: Fix) -> bool:
        """True when the fix was told already or is under way."""
        return fix.hash in self._told or fix.hash in self._running

    def ask(self, needless: Callable[[Fix], bool] = lambda fix: False) -> Fix | None:
        """A fix that was neither told nor is under way nor ``needless``; None when chance finds no
        other in this space.

        In order: what an interrupted driver had under way, combinations of the best screened fixes
        taking turns with the sampler, a random fix.
        """
        if not self.space.dimensions:
            return None
        while self._again:
            fix = self._again.pop(0)
            if not self.knows(fix):
                return self._start(fix)
        if len(self._told) % 2 == 0 or len(self._told) < STARTUP:
            screened = [t for t in self.told if self._phases[t.fix.hash] == "screening"]
            for fix in stacked(screened, self.max_changes):
                if not self.knows(fix) and not needless(fix):
                    return self._start(fix)
        return self._sampled(needless) or self._by_chance(needless)

    def tell(self, trial: Trial) -> None:
        """Record a finished trial. Told once: a fix that is known already changes nothing."""
        running = self._running.pop(trial.fix.hash, None)
        if running is not None:
            self._memory.tell(running[1], state=TrialState.FAIL)
        if trial.phase not in LEARNS_FROM or trial.fix.hash in self._told:
            return
        frozen = self._frozen(trial)
        if frozen is not None:
            if trial.fix.hash not in self._kept:
                self._journal.add_trial(frozen)
            self._learn(frozen)

    def importance(self) -> dict[str, float]:
        """Remedy -> share of the score's variation that it explains (PED-ANOVA), largest first; may
        be empty."""
        if len(self._told) < 4:
            return {}
        whole = _memory_study(self._seed)
        whole.add_trials(self._learnt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = optuna.importance.get_param_importances(whole, normalize=False)
            except (ValueError, RuntimeError):
                return {}
        summed: dict[str, float] = dict.fromkeys(self.space.dimensions, 0.0)
        for name, value in found.items():
            summed[name.partition(".")[0]] += value if math.isfinite(value) else 0.0
        total = sum(summed.values())
        if total <= 0:
            return {}
        shares = {name: value / total for name, value in summed.items()}
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    def _sampled(self, needless: Callable[[Fix], bool]) -> Fix | None:
        for _ in range(PROPOSALS):
            probe = self._memory.ask()
            fix = self.space.suggest(probe)
            if fix is not None and needless(fix):
                fix = None
            if fix is not None and 0 < len(fix.changes) <= self.max_changes and not self.knows(fix):
                self._running[fix.hash] = fix, probe
                return fix
            self._memory.tell(probe, state=TrialState.FAIL)
            if fix is not None and len(fix.changes) > self.max_changes:
                kept = self._random.choice(sorted(fix.changes), self.max_changes, replace=False)
                fix = Fix(changes={k: fix.changes[k] for k in sorted(map(str, kept))})
                if not self.knows(fix) and not needless(fix):
                    return self._start(fix)
        return None

    def _by_chance(self, needless: Callable[[Fix], bool]) -> Fix | None:
        """A random fix of a random number of remedies; small spaces are exhausted this way."""
        names = list(self.space.dimensions)
        sampler = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=int(self._random.integers(2**31)))
        )
        for _ in range(200):
            size = int(self._random.integers(1, self.max_changes + 1))
            chosen = {str(n) for n in self._random.choice(names, size, replace=False)}
            sampler.enqueue_trial({name: name in chosen for name in names})
            fix = self.space.suggest(sampler.ask())
            if fix is not None and not self.knows(fix) and not needless(fix):
                return self._start(fix)
        return None

    def _start(self, fix: Fix) -> Fix:
        """Make a fix known to the sampler as under way, so that it proposes something else
        meanwhile."""
        params, _ = self.space.describe(fix)
        self._memory.enqueue_trial(params)
        running = self._memory.ask()
        self.space.suggest(running)
        self._running[fix.hash] = fix, running
        return fix

    def _frozen(self, trial: Trial) -> FrozenTrial | None:
        """The trial as one record; None for outcomes that say nothing about the fix."""
        status = trial.outcome.status
        if status in ("infrastructure", "killed"):
            return None
        params, distributions = self.space.describe(trial.fix)
        violations = dict.fromkeys(CONSTRAINTS, -1.0)
        score = WORST_SCORE
        if trial.judgement is not None:
            score = trial.judgement.score
            violations |= {k: v for k, v in trial.judgement.violations.items() if not math.isnan(v)}
        violations["fits_memory"] = 1.0 if status == "out_of_memory" else -1.0
        violations["applied"] = 1.0 if status == "not_applied" or trial.not_applied else -1.0
        violations["runs"] = 1.0 if status in ("program_error", "no_optimizer") else -1.0
        late = status == "deadline"
        if late:
            violations["finite"] = max(violations["finite"], 0.5)
        cut = late or status == "behind"
        attributes: dict[str, Any] = {
            "fix": jsonable(dict(trial.fix.changes)),
            "hash": trial.fix.hash,
            "phase": trial.phase,
            "seed": trial.seed,
            "status": status,
            "folder": trial.folder.name,
            "restored": bool(trial.judgement and trial.judgement.restored),
        }
        return optuna.trial.create_trial(
            state=TrialState.PRUNED if cut else TrialState.COMPLETE,
            value=score,
            params=params,
            distributions=distributions,
            user_attrs=attributes,
            intermediate_values={max(trial.outcome.steps, 1): score} if cut else None,
            constraints={k: float(min(v, 1e6)) for k, v in violations.items()},
        )

    def _learn(self, frozen: FrozenTrial) -> None:
        attributes = frozen.user_attrs
        if "hash" not in attributes or attributes["hash"] in self._told:
            return
        excess = sum(max(v, 0.0) for v in frozen.constraints.values())
        score = WORST_SCORE if frozen.value is None else float(frozen.value)
        # TPE ranks feasible trials by score and ill ones behind them by the sum of what they
        # violate. One number says the same, and spares the sampler reading every constraint of
        # every trial for every group of parameters (a third of its time at 1,000 trials).
        learnt = optuna.trial.create_trial(
            value=score if excess <= 0 else WORST_SCORE - 1.0 - excess + TIE * score,
            params=frozen.params,
            distributions=frozen.distributions,
        )
        self._learnt.append(learnt)
        self._memory.add_trial(learnt)
        self._since_rebuilt += 1
        if self._since_rebuilt >= MODELLED:
            self._forget()
        fix = Fix(changes=attributes["fix"])
        self._told[attributes["hash"]] = Told(fix=fix, score=score, excess=excess)
        self._phases[attributes["hash"]] = attributes["phase"]

    def _forget(self) -> None:
        """Let the sampler model the best and the latest trials only.

        An ask then costs the same at 5,000 trials as at 100. The sampler's good set holds 25 trials
        at most anyway (Optuna's default).
        """
        best = sorted(self._learnt, key=lambda t: -float(t.value or 0.0))[: MODELLED // 2]
        chosen = {id(t) for t in (*best, *self._learnt[-MODELLED // 2 :])}
        self._seed += 1
        self._memory = _memory_study(self._seed)
        self._memory.add_trials([t for t in self._learnt if id(t) in chosen])
        self._since_rebuilt = 0
        for fix, _ in list(self._running.values()):
            self._start(fix)

    def _check_space(self, place: Path | str) -> None:
        ours = self.space.fingerprint()
        theirs = self._journal.user_attrs.get("space")
        if theirs is None:
            self._journal.set_user_attr("space", ours)
            return
        for key in sorted({*ours, *theirs}):
            if ours.get(key) != theirs.get(key):
                raise UsageError(
                    f"a study keeps its search space, got {key} = {ours.get(key, 'nothing')} where "
                    f"{place} has {theirs.get(key, 'nothing')}; use another study folder"
                )


def _memory_study(seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=seed, n_startup_trials=STARTUP
        )
    return optuna.create_study(direction="maximize", sampler=sampler)
