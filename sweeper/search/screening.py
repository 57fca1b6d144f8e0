"""Screening: each applicable remedy alone, most believed first. The interpretable half of the
answer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping

from sweeper.search.history import Count
from sweeper.search.space import Space
from sweeper.search.values import into_space, part_way, to_value
from sweeper.types import Cause, Diagnosis, Dimension, Facts, Fix, FixValue, UsageError

MOST_VALUES = 3
"""Values of one remedy that are screened."""
BELIEF_WEIGHT = 4.0
"""Earlier programs that weigh as much as a belief."""
UNNAMED = 0.02
"""Belief in a remedy that no hypothesis names."""
NEXT_VALUE = 0.4
"""Belief in the next value of a remedy against the one before, when that one did not restore: a
second value of a strongly believed remedy comes before the first of one hardly believed (design).
"""


def remedy_beliefs(diagnosis: Diagnosis) -> dict[str, float]:
    """Remedy -> belief that it treats a cause: the hypothesis' own, less for its later remedies."""
    beliefs: dict[str, float] = {}
    for hypothesis in diagnosis.hypotheses:
        if not hypothesis.curable:
            continue
        for rank, name in enumerate(hypothesis.remedies):
            weight = hypothesis.belief * 0.8**rank
            beliefs[name] = max(beliefs.get(name, 0.0), weight)
    return beliefs


def remedy_order(
    diagnosis: Diagnosis, names: list[str], history: Mapping[str, Count] | None = None
) -> list[str]:
    """Remedies that treat the most believed hypotheses first, then the rest by name.

    Each hypothesis' remedies keep their order.
    """
    beliefs = _with_history(remedy_beliefs(diagnosis), history)
    believed = sorted((n for n in names if n in beliefs), key=lambda n: (-beliefs[n], n))
    return believed + sorted(n for n in names if n not in beliefs)


def _with_history(
    beliefs: dict[str, float], history: Mapping[str, Count] | None
) -> dict[str, float]:
    """Beliefs moved by what each remedy did alone on earlier programs with the most believed cause:
    as that many programs move a beta distribution in which the belief weighs as much as
    `BELIEF_WEIGHT` of them."""
    moved = dict(beliefs)
    for name, count in (history or {}).items():
        prior = BELIEF_WEIGHT * beliefs.get(name, UNNAMED)
        moved[name] = (prior + count.restored) / (BELIEF_WEIGHT + count.tried)
    return moved


def screening_order(
    facts: Facts, diagnosis: Diagnosis, space: Space, history: Mapping[str, Count] | None = None
) -> list[Fix]:
    """Single-remedy fixes to try, best first and each once, by the belief in the remedy and in each
    further value of it.

    An optimizer comes with its customary learning rate as one more fix, since a rate that suits one
    optimizer is wrong for another by orders of magnitude; such pairs stand beside the optimizer
    alone.
    """
    dimensions, _ = space.applicable(facts)
    order = remedy_order(diagnosis, list(dimensions), history)
    values = {name: values_of(name, facts, diagnosis, space, dimensions[name]) for name in order}
    beliefs = _with_history(remedy_beliefs(diagnosis), history)
    ranked = sorted(
        (-max(beliefs.get(name, 0.0), UNNAMED) * NEXT_VALUE**turn, turn, place)
        for place, name in enumerate(order)
        for turn in range(len(values[name]))
    )
    fixes: list[Fix] = []
    for _, turn, place in ranked:
        name = order[place]
        fix = Fix(changes={name: values[name][turn]})
        fixes.append(fix)
        if name == "optimizer":
            fixes.extend(_with_rate(fix, facts, space, dimensions))
    unique = {fix.hash: fix for fix in fixes}
    return list(unique.values())


def values_of(
    name: str, facts: Facts, diagnosis: Diagnosis, space: Space, dimensions: Mapping[str, Dimension]
) -> list[FixValue]:
    """Suggested values inside the space, or two points of the space when it holds none of them."""
    remedy = space.remedies[name]
    found: list[FixValue] = []
    for value in remedy.suggest(facts, diagnosis):
        inside = into_space(remedy, value, dimensions)
        if inside is not None and inside not in found:
            found.append(inside)
    if not found:
        # Not the middle: of a range around "no change", such as a scale of 1, it changes nothing.
        for share in (0.75, 0.25):
            with contextlib.suppress(UsageError):
                value = to_value(remedy, {k: part_way(d, share) for k, d in dimensions.items()})
                found.extend([value] if value not in found else [])
    return found[:MOST_VALUES]


def _with_rate(
    fix: Fix, facts: Facts, space: Space, dimensions: dict[str, dict[str, Dimension]]
) -> list[Fix]:
    from sweeper.remedies import customary_rate

    if "learning_rate" not in dimensions or space.max_changes < 2:
        return []
    rate = customary_rate(str(fix.changes["optimizer"]), facts)
    if not math.isfinite(rate):
        return []
    remedy = space.remedies["learning_rate"]
    inside = into_space(remedy, rate, dimensions["learning_rate"])
    if inside is None:
        return []
    return [Fix(changes={**fix.changes, "learning_rate": inside})]


def incurable(diagnosis: Diagnosis, at_least: float) -> tuple[Cause, ...]:
    """Causes that no remedy cures and that are believed at least so much, most believed first."""
    return tuple(h.cause for h in diagnosis.hypotheses if not h.curable and h.belief >= at_least)
