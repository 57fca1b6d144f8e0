"""Reading fix values: each function returns the canonical value or raises UsageError with rule and
value."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence

from sweeper.types import FixValue, Scalar, UsageError


def number(rule: str, value: object, low: float, high: float) -> float:
    """A finite float in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UsageError(f"{rule} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def integer(rule: str, value: object, low: int, high: int) -> int:
    """An int in [low, high]; a float without a fraction counts."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{rule} must be a whole number from {low} to {high}, got {value!r}")
    return value


def choice(rule: str, value: object, allowed: Sequence[str]) -> str:
    """One of the allowed words."""
    if isinstance(value, str) and value in allowed:
        return value
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UsageError(f"{rule} must be one of {', '.join(allowed)}, got {value!r}{hint}")


def flag(rule: str) -> Callable[[FixValue], FixValue]:
    """The validation of a remedy that is on or off: True; a sampled point of an empty space
    counts."""

    def validate(value: FixValue) -> FixValue:
        if value is True or (isinstance(value, Mapping) and not value):
            return True
        raise UsageError(f"{rule} is either true or left out, got {value!r}")

    return validate


def fields(
    rule: str, value: FixValue, main: str, defaults: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """Spell a value out: a bare value stands for ``main``, missing keys take their defaults."""
    if not isinstance(value, Mapping):
        return {**defaults, main: value}
    allowed = [main, *(k for k in defaults if k != main)]
    for key in value:
        choice(f"a key of {rule}", key, allowed)
    if main not in value and main not in defaults:
        raise UsageError(f"{rule} needs the key {main!r}, got {dict(value)!r}")
    return {**defaults, **value}


def short(full: Mapping[str, Scalar], main: str, defaults: Mapping[str, Scalar]) -> FixValue:
    """The inverse of `fields`: the bare main value when every other key has its default."""
    if all(full[key] == value for key, value in defaults.items() if key != main):
        return full[main]
    return {key: full[key] for key in sorted(full)}


def real(value: FixValue) -> float:
    """A validated number."""
    assert not isinstance(value, Mapping)
    return float(value)


def distinct(values: Sequence[float], ratio: float = 1.5, most: int = 3) -> tuple[float, ...]:
    """The first ``most`` values that differ from the earlier ones by more than a factor; 3
    digits."""
    kept: list[float] = []
    for value in values:
        if all(abs(math.log(value / other)) > math.log(ratio) for other in kept):
            kept.append(float(f"{value:.3g}"))
    return tuple(kept[:most])


def between(value: float, own: float) -> tuple[float, ...]:
    """Two values on the way from ``value`` back to ``own`` (both > 0), in equal factors, mildest
    first."""
    if not (value > 0 and own > 0) or abs(math.log(value / own)) < math.log(2):
        return ()
    return tuple(float(f"{own * (value / own) ** share:.3g}") for share in (1 / 3, 2 / 3))
