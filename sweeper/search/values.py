"""Fix values as points of a remedy's space and back.

A point is a mapping parameter -> value with exactly the keys of ``remedy.space(facts)``;
``remedy.validate`` turns it into the canonical value. The way back, from a canonical value such as
``clip_norm=1.0`` to ``{"max_norm": 1.0, "norm_type": 2.0}``, is found by trying: a point stands for
a value when it validates to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sweeper.types import Dimension, FixValue, Scalar, UsageError

if TYPE_CHECKING:
    from sweeper.remedies import Remedy

Point = Mapping[str, Scalar]
Dimensions = Mapping[str, Dimension]

NEUTRAL: tuple[Scalar, ...] = (1.0, 0.0)
"""Tried for a number that a bare value leaves out: a factor of one, a share of zero."""


def to_value(remedy: Remedy, point: Point) -> FixValue:
    """Canonical value of a point; floats keep three digits, so that a fix file reads well."""
    return remedy.validate({k: _rounded(v) for k, v in point.items()})


def to_point(remedy: Remedy, value: FixValue, dimensions: Dimensions) -> Point | None:
    """The point of a space that stands for a canonical value, or None when the space cannot express
    it."""
    if not dimensions:
        return {}
    for point in _candidates(value, dimensions):
        if not contains(point, dimensions):
            continue
        try:
            if remedy.validate(dict(point)) == value:
                return point
        except UsageError:
            continue
    return None


def into_space(remedy: Remedy, value: FixValue, dimensions: Dimensions) -> FixValue | None:
    """The value itself when the space holds it, else the nearest that it holds: numbers are moved
    to the border.

    None when a choice of the value is not in the space.
    """
    if to_point(remedy, value, dimensions) is not None:
        return value
    for point in _candidates(value, dimensions):
        moved = {k: _moved(v, dimensions[k]) for k, v in point.items()}
        if any(v is None for v in moved.values()):
            continue
        try:
            if remedy.validate(dict(point)) == value:
                return remedy.validate({k: v for k, v in moved.items() if v is not None})
        except UsageError:
            continue
    return None


def contains(point: Point, dimensions: Dimensions) -> bool:
    """True when every parameter lies in its range."""
    return point.keys() == dimensions.keys() and all(
        _moved(v, dimensions[k]) == v for k, v in point.items()
    )


def part_way(dimension: Dimension, share: float) -> Scalar:
    """The value at a share of a range (of its logarithm when logarithmic), or the first choice."""
    if dimension.kind == "choice":
        return dimension.choices[0]
    low, high = dimension.low, dimension.high
    if dimension.log and low > 0:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return round(value) if dimension.kind == "int" else _rounded(value)


def _candidates(value: FixValue, dimensions: Dimensions) -> Iterator[dict[str, Scalar]]:
    """Points that could stand for a value: its own keys, every choice and neutral number for the
    missing ones."""
    if isinstance(value, Mapping):
        givens = [{k: v for k, v in value.items() if k in dimensions}]
    else:
        givens = [{name: value} for name in dimensions]
    for given in givens:
        missing = [name for name in dimensions if name not in given]
        options = [_options(dimensions[name]) for name in missing]
        for chosen in itertools.islice(itertools.product(*options), 200):
            yield {**given, **dict(zip(missing, chosen, strict=True))}


def _options(dimension: Dimension) -> tuple[Scalar, ...]:
    if dimension.kind == "choice":
        return tuple(dimension.choices)
    return (*NEUTRAL, part_way(dimension, 0.5))


def _moved(value: Scalar, dimension: Dimension) -> Scalar | None:
    """The value inside the range, or None when it cannot be moved there."""
    if dimension.kind == "choice":
        return value if value in dimension.choices else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    inside = min(max(float(value), dimension.low), dimension.high)
    return value if inside == value else (round(inside) if dimension.kind == "int" else inside)


def _rounded(value: Scalar) -> Scalar:
    return float(f"{value:.3g}") if isinstance(value, float) else value
