"""How much a run learned, on a scale that does not depend on the task.

Skill is the share of the way from the constant answer (the majority class, the class prior, the
mean target) to a perfect one: ``(accuracy - p0) / (1 - p0)``, ``(H - loss) / H`` with the prior
entropy H in nats, or R squared. "Chance" is therefore the class prior, the unigram entropy or the
mean predictor, never 1/K.

Samples that were never trained on decide where there are any: the program's own evaluation phases
first, then the first pass over the data (each loss is taken before its update), and only then the
training batches. Training accuracy that grows in steps from epoch to epoch and stands still inside
each of them is memory, not skill.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sweeper.detectors._measure import (
    ALPHA,
    UNEQUAL,
    UNKNOWN,
    Skill,
    from_evals,
    from_replay,
    from_steps,
    in_nats,
    n_classes,
    needed,
    prior_entropy,
    task_loss,
)
from sweeper.detectors._memory import first_pass, memorised
from sweeper.detectors._stats import binomial_tail, mean
from sweeper.detectors._view import least_rows
from sweeper.types import Facts, RunRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "ALPHA",
    "CLEARLY",
    "FALLEN",
    "LATE",
    "UNEQUAL",
    "UNKNOWN",
    "Skill",
    "adversarial",
    "enough",
    "first_pass",
    "held_out_skill",
    "ill",
    "in_nats",
    "is_chance",
    "judged",
    "learned",
    "least_skill",
    "memorised",
    "n_classes",
    "needed",
    "noisy",
    "prior_entropy",
    "skill_of",
    "skills_of",
    "task_loss",
]

LEARNED = 0.10
"""Skill from which a run counts as learning; twice the 0.05 under which it counts as chance
(design)."""
LEARNED_LANGUAGE = 0.04
"""The same for language models over words: twice the 2 % band around the unigram entropy."""
CHARACTERS = 300
"""Largest vocabulary of characters or bytes, whose next one is easier to guess."""
MANY_CLASSES = 20
LEARNED_MANY = 0.05
"""The same for the accuracy among so many classes, where every per cent is several times chance."""
CLEARLY = 0.30
"""Skill that needs no second look at the loss."""
CLEARLY_LANGUAGE = 0.35
"""The same for language models whose unigram entropy is unknown (it is 0.8 ln K for the 65
characters of a play, and lower for word pieces; design)."""
BELOW_GUESSING = 0.95
"""Share of the cost of guessing that the loss must be under beside a small accuracy skill."""
FEWEST_EVALUATED = 50
"""Held-out samples under which an evaluation cannot say no."""
EXCLUDED = 0.05
"""Level of the test by which a small evaluation excludes learning."""
FALLEN = 0.25
"""Share of its first level by which a loss must fall to pass for learning where nothing else can be
measured: ours (design)."""
LATE = 2 / 3
"""Skill is measured over the part of the run behind this share."""


def skill_of(record: RunRecord) -> Skill:
    """The run's skill: accuracy for classes (balanced where they are very unequal), loss for
    language models, R squared for regression (accuracy where the program's own evaluation counts
    right answers).

    Measured late in the run, on the samples that say most (see the module) and are enough to tell
    skill from chance. ``UNKNOWN`` (value NaN, ``where`` empty) when the record measures none of
    them.
    """
    return next(iter(skills_of(record)), UNKNOWN)


def skills_of(record: RunRecord) -> tuple[Skill, ...]:
    """Every kind of skill measured on the best source that has the primary one, the primary one
    first.

    A source with enough samples goes before a better one with too few.
    """
    fallback: tuple[Skill, ...] = ()
    for measured in _sources(record, replayed=False):
        told = _primary_first(measured, record)
        if not told or told[0].name not in _primaries(record.facts):
            continue
        if told[0].n >= needed(record.facts):
            return told
        fallback = fallback or told
    return fallback


def held_out_skill(record: RunRecord) -> Skill:
    """The primary skill on samples that were never trained on, however few; ``UNKNOWN`` when there
    are none."""
    for measured in _sources(record):
        for skill in measured:
            if skill.name in _primaries(record.facts) and skill.where != "train":
                return skill
    return UNKNOWN


def _primaries(facts: Facts) -> tuple[str, ...]:
    """The kinds of skill that judge a run, the better one first.

    A regression whose program counts right answers is after classes: there accuracy decides.
    """
    if facts.task == "regression":
        return "r2", "accuracy"
    if facts.task == "language_model":
        return ("loss",)
    return "balanced_accuracy", "accuracy"  # the first is told for very unequal classes alone


def learned(record: RunRecord) -> bool | None:
    """True when the run beats the constant answer clearly, False when it does not, None when
    nothing tells.

    Imbalanced classes show learning in the loss before the accuracy moves, so either will do; a
    small skill counts only while the loss is below what guessing costs. A source that is too small,
    or that knows only the accuracy of very unequal classes, can say yes but not no.
    """
    return judged(record)[0]


def judged(record: RunRecord) -> tuple[bool | None, tuple[Skill, ...]]:
    """What `learned` says, and the measurements that say so, the primary one first."""
    if adversarial(record.facts):
        return None, ()
    weak: tuple[Skill, ...] = ()
    for measured in _sources(record):
        if _weighted(measured):
            balanced = _balanced(measured)
            if _is_learned(balanced, measured, record):
                return True, _primary_first(measured, record)
            if _shows_nothing(balanced, record.facts):
                return False, _primary_first(measured, record)
            continue
        if any(_is_learned(skill, measured, record) for skill in measured):
            return True, _primary_first(measured, record)
        if any(s.prior >= UNEQUAL and not _names_one_class(s, record) for s in measured):
            continue  # it names rare classes too, perhaps under a weighted loss
        if any(
            _unequal_classes_would_do(s, record) and s.value >= least_skill(record.facts, s.name)
            for s in measured
        ):
            continue
        if any(_decides(skill, record) for skill in measured):
            return False, _primary_first(measured, record)
        if any(_hints(skill, record) for skill in measured):
            weak = weak or _primary_first(measured, record)
    return (False, weak) if weak else (None, ())


def ill(record: RunRecord) -> bool:
    """Whether a bad sign should count as critical: the run did not learn, or nothing shows that it
    did.

    Without any measure of skill, a loss that fell by `FALLEN` and stayed finite passes for
    learning.
    """
    loss = record.series("loss")
    known = np.isfinite(loss)
    if known.any() and not known[-max(1, len(loss) // 20) :].any():
        return True
    if adversarial(record.facts):
        return False
    verdict = learned(record)
    if verdict is not None:
        return not verdict
    values = loss[known]
    if len(values) < least_rows(record, 20, 6):
        return False
    first, last = (
        float(values[: len(values) // 20 + 1].mean()),
        float(values[-len(values) // 5 :].mean()),
    )
    return not first - last > FALLEN * abs(first)


def is_chance(skill: Skill, share: float = 0.05) -> bool:
    """Within chance by test or by size: with many samples trivial gains become significant."""
    return skill.known and (not skill.significant or skill.value < share)


def _is_learned(skill: Skill, beside: tuple[Skill, ...], record: RunRecord) -> bool:
    if not skill.significant or _unequal_classes_would_do(skill, record):
        return False
    if skill.value < least_skill(record.facts, skill.name):
        return False
    if skill.name == "balanced_accuracy":
        return skill.value >= CLEARLY  # weights drawn at random tell classes apart a little
    if skill.name == "loss" and any(_names_one_class(other, record) for other in beside):
        # A model that ranks well and names one class at the usual limit has learned, but losses of
        # samples that were trained on before do not show how well it ranks others.
        return skill.where != "train" and skill.value >= CLEARLY
    # The classes of a log may be unequal: there even a fair accuracy must come with a loss.
    if skill.name == "loss" or skill.value >= (2 * CLEARLY if record.foreign else CLEARLY):
        return True
    if skill.name != "accuracy" or not in_nats(record):
        return True
    # Weighted losses of unequal classes are measured against equal ones.
    equal = math.log(max(n_classes(record.facts), 2))
    guess = equal if skill.prior >= 0.6 else prior_entropy(record.facts)
    level = mean(_late(record.series("task_loss")))
    return not level > BELOW_GUESSING * guess


def _unequal_classes_would_do(skill: Skill, record: RunRecord) -> bool:
    """A log tells how many classes there are, not how unequal: above 1/K and ln K a constant answer
    may do, so that a small skill shows nothing there."""
    least = CLEARLY_LANGUAGE if record.facts.task == "language_model" else CLEARLY
    return record.foreign and skill.value < least


def least_skill(facts: Facts, name: str) -> float:
    """Skill from which a run of this task counts as learning."""
    if facts.task == "language_model":
        return LEARNED_LANGUAGE if n_classes(facts) > CHARACTERS else LEARNED
    if name == "accuracy" and n_classes(facts) >= MANY_CLASSES:
        return LEARNED_MANY
    return LEARNED


def adversarial(facts: Facts) -> bool:
    """Models trained against each other: their losses say nothing about how well they do."""
    return len(facts.optimizers) > 1 and facts.n_roots > 1 and facts.backwards_per_step > 1


def _weighted(measured: tuple[Skill, ...]) -> bool:
    """Accuracy under the rate of a very common class: the loss asks for the rare one, and accuracy
    and loss no longer compare with the prior."""
    return any(s.prior >= UNEQUAL and s.value < -0.02 for s in measured)


def _balanced(measured: tuple[Skill, ...]) -> Skill:
    return next((s for s in measured if s.name == "balanced_accuracy"), UNKNOWN)


def _shows_nothing(balanced: Skill, facts: Facts) -> bool:
    """As good as any constant answer, on enough samples of the rare classes."""
    rare = (1 - max(facts.class_prior, default=1.0)) * balanced.n
    return is_chance(balanced) and rare >= FEWEST_EVALUATED


def _names_one_class(skill: Skill, record: RunRecord) -> bool:
    if skill.name != "accuracy" or abs(skill.value) >= 0.02 or not skill.prior >= UNEQUAL:
        return False
    return not mean(_late(record.series("majority"))) < 0.98


def enough(skill: Skill, facts: Facts) -> bool:
    """Samples from which this measurement may say that a run is at chance."""
    return skill.n >= (FEWEST_EVALUATED if skill.where == "eval" else needed(facts))


def noisy(skill: Skill, facts: Facts) -> bool:
    """Measured while dropout disturbed the answers, so that the model itself may do better.

    Sums over dropped units scatter in proportion to their size: targets far from zero suffer most.
    """
    if skill.where != "train" or not any(p > 0 for p in facts.dropout):
        return False
    if facts.task == "regression" and facts.target_mean**2 > facts.target_variance:
        return True
    return not is_chance(skill)


def _decides(skill: Skill, record: RunRecord) -> bool:
    if noisy(skill, record.facts):
        return False
    if skill.n < needed(record.facts) and not _clearly_under(skill, record.facts):
        return False
    if skill.name == "loss":
        return record.facts.task == "language_model" or skill.where == "train"
    return not skill.prior >= UNEQUAL or _names_one_class(skill, record)


def _clearly_under(skill: Skill, facts: Facts) -> bool:
    """A small evaluation all the same excludes the least accuracy that would be learning: exact
    binomial test, one-sided at EXCLUDED."""
    if skill.name != "accuracy" or skill.where != "eval" or skill.n < FEWEST_EVALUATED:
        return False
    least = skill.prior + least_skill(facts, skill.name) * (1 - skill.prior)
    wrong = (1 - skill.metric) * skill.n
    return 0 < least < 1 and binomial_tail(wrong, skill.n, 1 - least) < EXCLUDED


def _hints(skill: Skill, record: RunRecord) -> bool:
    """Says no when no better source says anything."""
    return enough(skill, record.facts) and not noisy(skill, record.facts)


def _primary_first(measured: tuple[Skill, ...], record: RunRecord) -> tuple[Skill, ...]:
    names = _primaries(record.facts)
    return tuple(sorted(measured, key=lambda s: (*names, s.name).index(s.name)))


def _sources(record: RunRecord, *, replayed: bool = True) -> Iterator[tuple[Skill, ...]]:
    """Measurements on evaluation phases, late fresh samples and training batches, as far as there
    are any.

    Where dropout disturbs the training batches, the replayed ones stand in for them. A baseline
    alone is replayed: what is compared with other runs is measured without.
    """
    yield from_evals(record)
    n_steps = len(record.series("loss"))
    steps = np.arange(n_steps)
    late = steps >= int(LATE * n_steps)
    fresh = from_steps(record, late, "fresh")
    # Padding that differs between epochs makes a few repeated samples look fresh.
    share = np.nansum(record.series("fresh_n")[late]) / max(
        np.nansum(record.series("n")[late]), 1.0
    )
    if share >= 0.5 and any(skill.n >= needed(record.facts) for skill in fresh):
        yield fresh
    elif memorised(record):
        length = first_pass(record)
        yield from_steps(record, (steps < length) & (steps >= length // 2), "fresh")
    elif replayed and any(p > 0 for p in record.facts.dropout) and (again := from_replay(record)):
        yield again
    else:
        yield from_steps(record, late, "train")


def _late(values: Floats) -> Floats:
    return values[int(LATE * len(values)) :]
