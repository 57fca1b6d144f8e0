"""Thresholds are in force: a record just over it and one just under it differ
in nothing else, and the verdict changes as the threshold's words say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from sweeper.detectors import all_detectors
from sweeper.detectors._base import Insufficient
from sweeper.types import Finding, RunRecord, Symptom
from tests.detectors.records import (
    BATCH,
    LN10,
    PASS,
    STEPS,
    activations,
    chance,
    evals,
    facts,
    flat,
    layer,
    layers,
    record,
    series,
    set_at,
    sound_loss,
)

Floats = NDArray[np.float64]
Make = Callable[[float], RunRecord]
H = LN10
"""Prior entropy of ten equal classes."""


@dataclass(frozen=True)
class Row:
    """``make(over)`` gives the outcome ``above``, ``make(under)`` the outcome ``below``.

    Outcomes: ``critical``, ``told`` (a finding that is not), ``silent``, ``insufficient``; a word
    in quotes has to be in the reason; a number is the severity.
    """

    symptom: str
    field: str
    make: Make
    over: float
    under: float
    above: str
    below: str


REGRESSION = facts(
    task="regression", loss_function="mse_loss", class_prior=(), n_classes=0, head_width=1,
    target_variance=1.0, target_mean=0.0,
)  # fmt: skip


# -- the first loss --------------------------------------------------------------------------------


def first_loss(excess: float) -> RunRecord:
    return record(series(loss=set_at(flat(3.0), 0, (1 + excess) * H), accuracy=0.1))


def first_error(excess: float) -> RunRecord:
    steps = chance(loss=set_at(flat(1.0), 0, 1 + excess), accuracy=np.nan)
    return record(steps | {"r2_error": steps["n"] * 1.0}, what=REGRESSION)


# -- chance ----------------------------------------------------------------------------------------


def held_out(accuracy: float, loss: float) -> RunRecord:
    """Skills on an evaluation of 10,000 samples."""
    evaluated = evals(
        accuracy=0.1 + 0.9 * accuracy, loss=(np.nan, np.nan, (1 - loss) * H), n=10_000
    )
    return record(chance(), evaluated=evaluated)


def one_answer(share: float) -> RunRecord:
    return record(chance(majority=share))


def unlearnt(skill: float) -> RunRecord:
    steps = series(loss=flat((1 - skill) * H, noise=0.001), accuracy=0.11)
    return record(steps, evaluated=evals(accuracy=0.37))


def understood(skill: float) -> RunRecord:
    steps = series(loss=flat(H, noise=0.001), accuracy=0.11)
    return record(steps, evaluated=evals(accuracy=0.1 + 0.9 * skill))


def token_model(skill: float) -> RunRecord:
    evaluated = evals(loss=(np.nan, np.nan, (1 - skill) * H), n=1_000_000)
    return record(chance(), what=facts(task="language_model"), evaluated=evaluated)


def first_steps(n: float, rows: Literal["steps", "epochs"] = "steps") -> RunRecord:
    """The first ``n`` rows of a run at chance."""
    steps = {k: v[: int(n)] for k, v in chance().items()}
    made = record(steps, what=facts(steps=int(n)), evaluated=evals(accuracy=0.1))
    return replace(made, rows=rows)


def single_class(others: float) -> RunRecord:
    """A run that knows nearly all of its 6,400 samples, all but ``others`` of one class."""
    rare = others / (PASS * BATCH)
    two = facts(class_prior=(1 - rare, rare), n_classes=2, head_width=2)
    right = series(accuracy=1.0, loss=sound_loss(end=0.001) * 1e-3)
    return record(right, what=two, evaluated=evals(accuracy=0.6, prior=0.5))


# -- hidden outputs --------------------------------------------------------------------------------


def hidden(what: Any = None, **parts: Any) -> RunRecord:
    return record(chance(), what=what, hidden=activations(**parts))


def flattened_map(share: float) -> RunRecord:
    stack = (layer("l1", kind="Conv2d"), layer("l2"), layer("l3", is_output=True))
    made = activations(dead=(share, share))
    only = replace(
        made, names=("l2",), functions=("relu",),
        **{n: getattr(made, n)[:, [0]] for n in ("cosine", "erank", "dead_share",
                                                 "saturated_share")},
    )  # fmt: skip
    return record(chance(), what=facts(layers=stack), hidden=only)


# -- the course of the loss ------------------------------------------------------------------------


def course(*ways: tuple[float, float, int], noise: float = 0.0) -> Floats:
    line = np.concatenate([np.linspace(*way) for way in ways])
    rng = np.random.default_rng(5)
    return np.asarray(line * (1 + noise * rng.standard_normal(len(line))), dtype=np.float64)


def exploded(times: float) -> RunRecord:
    return record(chance(loss=set_at(flat(H, noise=0.0), 3, times * H)))


def fallen(share: float) -> RunRecord:
    loss = course((1.0, 1 - share, 60), (1 - share, 1 - share, STEPS - 60)) * H
    return record(series(loss=loss, accuracy=0.1), what=facts(task="unknown", class_prior=()))


def at_prior(share: float) -> RunRecord:
    loss = np.concatenate([np.full(20, 3.5), np.full(STEPS - 20, share * H)])
    return record(chance(loss=loss))


def still_moving(share: float) -> RunRecord:
    """Falls by ``share`` from the third to the last fifth, and comes back to where it began."""
    loss = np.full(STEPS, H)
    loss[150:225] = H / (1 - share) if share < 1 else H
    return record(chance(loss=loss))


def risen(times: float) -> RunRecord:
    """Ends at so many times its minimum."""
    loss = course((1.0, 1.0, 150), (1.0, times, 80), (times, times, STEPS - 230))
    return record(series(loss=2 * H * loss, accuracy=0.1))


def risen_near_zero(share: float) -> RunRecord:
    """Rises tenfold to a share of the first losses."""
    low = share / 10
    loss = course((1.0, 1.0, 15), (low, low, 135), (low, share, 80), (share, share, STEPS - 230))
    return record(series(loss=20 * H * loss, accuracy=0.1))


def risen_late(_: float) -> RunRecord:
    """Two high losses behind a plateau: few for a very small p-value."""
    loss = course((3.0, 1.0, STEPS - 42), (1.0, 1.01, 40), (15.0, 15.0, 2))
    return record(series(loss=2 * H * loss, accuracy=0.1))


def losses(n: float, rows: Literal["steps", "epochs"] = "steps") -> RunRecord:
    steps = {k: v[: int(n)] for k, v in chance().items()}
    return replace(record(steps, what=facts(task="unknown", class_prior=())), rows=rows)


def log(loss: Floats) -> RunRecord:
    """A log that says no more than its losses and the number of classes."""
    steps = {"loss": loss, "task_loss": loss, "step": np.arange(len(loss), dtype=float)}
    what = facts(class_prior=(), steps=len(loss))
    return replace(record(steps, what=what), rows="entries")


def plateau(share: float) -> RunRecord:
    return log(np.concatenate([np.full(10, H), np.full(190, share * H)]))


def settled(change: float) -> RunRecord:
    end = 0.8 * H
    return log(np.concatenate([np.full(10, H), np.full(110, end * (1 + change)), np.full(80, end)]))


def spiked(height: float, at: int = 250, n: int = STEPS, ill: bool = False) -> RunRecord:
    """Losses between 0.9 and 1.1 (median 1, robust spread 0.074), and one spike."""
    rng = np.random.default_rng(2)
    loss = rng.uniform(0.9, 1.1, n)
    loss[at] = height
    steps = {k: v[:n] for k, v in series(loss=sound_loss()).items()}
    steps |= {"loss": loss, "task_loss": loss}
    if ill:
        steps |= {"accuracy": np.full(n, 0.1)}
        steps["fresh_correct"] = np.where(steps["fresh_n"] > 0, steps["n"] * 0.1, np.nan)
    return record(steps)


def several_spikes(n: float) -> RunRecord:
    loss = np.random.default_rng(2).uniform(0.9, 1.1, 1000)
    loss[200 : 200 + 100 * int(n) : 100] = 4.0
    steps = series(1000, loss=loss)
    return record(steps)


def spiked_over_all(times: float) -> RunRecord:
    """A spike of so many times the largest loss before it, in a run that learned nothing."""
    before = np.random.default_rng(2).uniform(0.9, 1.1, STEPS)[:250]
    made = spiked(times * float(before.max()), ill=True)
    return replace(made, facts=facts(task="unknown", class_prior=()))


def calmed(_: float) -> RunRecord:
    """150 wild losses, 100 calm ones, a spike: small beside the wild ones."""
    rng = np.random.default_rng(4)
    loss = np.concatenate([rng.uniform(0.1, 1.9, 150), rng.uniform(0.95, 1.05, STEPS - 150)])
    loss[250] = 2.05
    return record(series(loss=loss))


# -- gradients and updates -------------------------------------------------------------------------


def norms(value: float) -> RunRecord:
    return record(chance(grad_norm=set_at(flat(1.0, noise=0.0), slice(0, 60), value)))


def jump(times: float, before_end: int = 10) -> RunRecord:
    """A jump before the loss breaks; the norm stays under the absolute limit."""
    norm = set_at(flat(1.0, noise=0.0), 280 - before_end, times)
    return record(chance(grad_norm=norm, loss=set_at(flat(H), slice(280, None), np.inf)))


def starved(**parts: Any) -> RunRecord:
    made = layers(**{k: v for k, v in parts.items() if k not in ("share", "steps")})
    update = made.update_norm.copy()
    if "share" in parts:  # of four equal weights
        moving = 4 - round(4 * parts["share"])
        update[:, :moving] = made.weight_norm[:, :moving] * 1e-3
    if "steps" in parts:
        rows = round(len(made.step) * (1 - parts["steps"]))
        update[:rows] = made.weight_norm[:rows] * 1e-3
    return record(chance(), by_layer=replace(made, update_norm=update))


def swinging(width: float, level: float = 3.0) -> RunRecord:
    loss = np.asarray(level + width * level * (-1.0) ** np.arange(STEPS), dtype=np.float64)
    return record(series(loss=loss, accuracy=0.1))


def turning(every: float) -> RunRecord:
    """Swings of period ``every``: 2/every of the neighbouring differences change sign."""
    period = int(every)
    wave = np.where(np.arange(STEPS) % period < period // 2, 1.0, -1.0)
    loss = 3.0 + 2.4 * wave
    return record(series(loss=np.asarray(loss, dtype=np.float64), accuracy=0.1))


def correlated(lag_one: float) -> RunRecord:
    """White noise has differences with lag-1 autocorrelation -0.5; a walk has 0."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(STEPS)
    share = 1.0 if lag_one < -0.3 else 0.0
    values = share * noise + (1 - share) * np.cumsum(rng.standard_normal(STEPS))
    values = (values - values.mean()) / values.std()
    loss = np.clip(3.0 + 2.5 * values, 0.01, None)
    return record(series(loss=np.asarray(loss, dtype=np.float64), accuracy=0.1))


def by_epochs(changes: Floats) -> RunRecord:
    accuracy = 0.4 + np.concatenate([[0.0], np.cumsum(changes)])
    steps = {k: v[: len(accuracy)] for k, v in series().items()} | {"accuracy": accuracy}
    return replace(record(steps), rows="epochs")


def swings(size: float) -> RunRecord:
    """Every epoch turns the accuracy back by ``size``."""
    return by_epochs(np.asarray(size * (-1.0) ** np.arange(21), dtype=np.float64))


def turns(share: float) -> RunRecord:
    """Of 20 turning points, a share turns the accuracy back."""
    changes = np.full(21, 0.005)
    n = round(share * 20) + 1
    changes[:n] = 0.1 * (-1.0) ** np.arange(n)
    return by_epochs(changes)


# -- the rest --------------------------------------------------------------------------------------


def broken(share: float) -> RunRecord:
    bad = round(share * STEPS)
    return record(series(loss=set_at(sound_loss(), slice(100, 100 + bad), np.inf)))


def filtered(n: float) -> RunRecord:
    loss = set_at(sound_loss(), slice(100, 100 + int(n)), 0.0)
    norm = set_at(flat(1.0), slice(100, 100 + int(n)), np.nan)
    return record(series(loss=loss, grad_norm=norm))


def overfitted(train: float, skill: float) -> RunRecord:
    return record(
        series(accuracy=0.1 + 0.9 * train), evaluated=evals(accuracy=0.1 + 0.9 * skill, n=10_000)
    )


def rebound(times: float) -> RunRecord:
    evaluated = evals(accuracy=0.9, loss=(0.5, 0.3, 0.3 * times))
    return record(series(accuracy=0.91), evaluated=evaluated)


TABLE = (
    Row("bad_initial_loss", "excess", first_loss, 1.02, 0.98, "critical", "told"),
    Row("bad_initial_loss", "warn", first_loss, 0.51, 0.49, "told", "silent"),
    Row("bad_initial_loss", "squared", first_error, 10.2, 9.8, "critical", "told"),
    Row("chance_level", "skill", lambda x: held_out(x, 0.05), 0.055, 0.045, "0.6", "0.9"),
    Row("chance_level", "loss_skill", token_model, 0.021, 0.019, "0.6", "0.9"),
    Row("chance_level", "steps", first_steps, 10, 9, "critical", "insufficient"),
    Row("chance_level", "epochs", lambda x: first_steps(x, "epochs"), 3, 2, "critical",
        "insufficient"),
    Row("chance_level", "others", single_class, 10.5, 9.5, "silent", "critical"),
    Row("chance_level", "constant", one_answer, 0.96, 0.94, "'name one class'", "'limit 5%'"),
    Row("chance_level", "unlearnt", unlearnt, 0.055, 0.045, "silent", "critical"),
    Row("chance_level", "little", understood, 0.51, 0.49, "silent", "critical"),
    Row("collapsed_representation", "cosine", lambda x: hidden(cosine=(0.5, x)), 0.955, 0.945,
        "critical", "silent"),
    Row("collapsed_representation", "growth", lambda x: hidden(cosine=(0.96 - x, 0.96)), 0.21, 0.19,
        "critical", "silent"),
    Row("collapsed_representation", "from_start", lambda x: hidden(cosine=(x, x)), 0.985, 0.975,
        "critical", "silent"),
    Row("collapsed_representation", "rank_drop",
        lambda x: hidden(cosine=(0.9, 0.96), rank=(8.0, 8.0 * x)), 0.31, 0.29,
        "silent", "critical"),
    Row("collapsed_representation", "rank_left",
        lambda x: hidden(cosine=(0.9, 0.96), rank=(20.0, x)), 3.1, 2.9, "silent", "critical"),
    Row("collapsed_representation", "rows", lambda x: hidden(cosine=(0.5, 0.99), rows=x), 16, 15,
        "critical", "insufficient"),
    Row("dead_units", "share", lambda x: hidden(dead=(x, x)), 0.51, 0.49, "critical", "told"),
    Row("dead_units", "warn", lambda x: hidden(dead=(x, x)), 0.31, 0.29, "told", "silent"),
    Row("dead_units", "flattened", flattened_map, 0.985, 0.975, "critical", "silent"),
    Row("dead_units", "rows", lambda x: hidden(dead=(0.9, 0.9), rows=x), 128, 127, "critical",
        "insufficient"),
    Row("divergence", "peak", exploded, 10.2, 9.8, "critical", "silent"),
    Row("divergence", "rise", risen, 2.05, 1.95, "critical", "silent"),
    Row("divergence", "of_start", risen_near_zero, 0.52, 0.48, "critical", "silent"),
    Row("exploding_gradient", "decades", lambda x: record(chance(), by_layer=layers(decades=-x)),
        3.05, 2.95, "critical", "told"),
    Row("exploding_gradient", "warn", lambda x: record(chance(), by_layer=layers(decades=-x)), 1.9,
        1.8, "told", "silent"),
    Row("exploding_gradient", "norm", norms, 1010, 990, "critical", "silent"),
    Row("exploding_gradient", "jump", jump, 105, 95, "critical", "silent"),
    Row("exploding_gradient", "window", lambda x: jump(500, int(x)), 51, 49, "silent", "critical"),
    Row("flat_loss", "fall", fallen, 0.055, 0.045, "silent", "critical"),
    Row("flat_loss", "of_prior", at_prior, 0.985, 0.975, "critical", "silent"),
    Row("flat_loss", "moving", still_moving, 0.055, 0.045, "silent", "critical"),
    Row("flat_loss", "steps", losses, 30, 29, "critical", "insufficient"),
    Row("flat_loss", "epochs", lambda x: losses(x, "epochs"), 6, 5, "critical", "insufficient"),
    Row("flat_loss", "plateau", plateau, 0.76, 0.74, "critical", "silent"),
    Row("flat_loss", "settled", settled, 0.03, 0.01, "silent", "critical"),
    Row("loss_spike", "of_level", spiked, 2.1, 1.9, "told", "silent"),
    Row("loss_spike", "minimum", lambda x: spiked(4.0, at=int(x), n=int(x) + 1), 65, 63, "told",
        "insufficient"),
    Row("loss_spike", "rate", several_spikes, 2, 1, "0.3", "0.1"),
    Row("loss_spike", "peak", spiked_over_all, 10.2, 9.8, "critical", "told"),
    Row("non_finite", "share", broken, 0.06, 0.04, "critical", "told"),
    Row("non_finite", "zero_losses", filtered, 3, 2, "critical", "silent"),
    Row("oscillation", "sign_changes", turning, 2, 6, "critical", "silent"),
    Row("oscillation", "lag_one", correlated, 0.0, -0.5, "silent", "critical"),
    Row("oscillation", "spread", swinging, 0.36, 0.34, "critical", "silent"),
    Row("oscillation", "swing", swings, 0.031, 0.029, "told", "silent"),
    Row("oscillation", "epochs", turns, 0.25, 0.2, "told", "silent"),
    Row("oscillation", "above_prior", lambda x: swinging(0.5, x * H), 1.07, 1.03, "critical",
        "told"),
    Row("overfitting", "gap", lambda x: overfitted(0.45 + x / 2, 0.45 - x / 2), 0.41, 0.39,
        "critical", "told"),
    Row("overfitting", "ratio", lambda x: overfitted(0.9, 0.9 * x), 0.51, 0.49, "told", "critical"),
    Row("overfitting", "warn", lambda x: overfitted(0.9, 0.9 - x), 0.16, 0.14, "told", "silent"),
    Row("overfitting", "rise", rebound, 1.55, 1.45, "told", "silent"),
    Row("saturated_units", "share", lambda x: hidden(saturated=(x, x)), 0.51, 0.49, "critical",
        "told"),
    Row("saturated_units", "warn", lambda x: hidden(saturated=(x, x)), 0.31, 0.29, "told",
        "silent"),
    Row("saturated_units", "rows", lambda x: hidden(saturated=(0.9, 0.9), rows=x), 64, 63,
        "critical", "insufficient"),
    Row("starved_updates", "slow", lambda x: starved(ratio=x), 1.1e-5, 0.9e-5,
        "silent", "critical"),
    Row("starved_updates", "starved", lambda x: starved(ratio=x), 1.1e-7, 0.9e-7, "0.6", "0.8"),
    Row("starved_updates", "share", lambda x: starved(ratio=1e-8, share=x), 0.5, 0.25, "critical",
        "silent"),
    Row("starved_updates", "steps", lambda x: starved(ratio=1e-8, steps=x), 0.55, 0.45, "critical",
        "silent"),
    Row("vanishing_gradient", "decades",
        lambda x: record(chance(), by_layer=layers(decades=x, ratio=1e-5)), 3.05, 2.95, "critical",
        "told"),
    Row("vanishing_gradient", "warn", lambda x: record(chance(), by_layer=layers(decades=x)), 2.05,
        1.95, "told", "silent"),
    Row("vanishing_gradient", "slow",
        lambda x: record(chance(), by_layer=layers(decades=4.0, ratio=x)), 1.1e-4, 0.9e-4, "told",
        "critical"),
)  # fmt: skip

MOVED = (
    # The threshold is moved instead of the record: (symptom, field, record, over, under, ...).
    Row("loss_spike", "z", lambda x: spiked(2.5), 25.0, 5.0, "silent", "told"),
    Row("loss_spike", "of_start", lambda x: spiked(4.0), 4.5, 3.5, "silent", "told"),
    Row("loss_spike", "window", calmed, 250, 128, "silent", "told"),
    Row("divergence", "p_value", risen_late, 0.05, 1e-4, "critical", "silent"),
)  # fmt: skip


def outcome(symptom: str, made: RunRecord, wanted: str, **moved: float) -> str:
    detector = all_detectors()[symptom]
    limits = replace(detector.thresholds, **moved) if moved else detector.thresholds
    found = detector.detect(made, limits)
    if isinstance(found, Insufficient):
        return "insufficient"
    if not isinstance(found, Finding):
        return "silent"
    if wanted.startswith("'"):
        return wanted if wanted.strip("'") in found.reason else found.reason
    if wanted[0].isdigit():
        return f"{found.severity:g}"
    return "critical" if found.critical else "told"


@pytest.mark.parametrize("row", TABLE, ids=lambda r: f"{r.symptom}-{r.field}")
def test_just_over_and_just_under(row: Row) -> None:
    assert outcome(row.symptom, row.make(row.over), row.above) == row.above
    assert outcome(row.symptom, row.make(row.under), row.below) == row.below


@pytest.mark.parametrize("row", MOVED, ids=lambda r: f"{r.symptom}-{r.field}")
def test_moving_the_threshold(row: Row) -> None:
    made = row.make(100)
    assert outcome(row.symptom, made, row.above, **{row.field: row.over}) == row.above
    assert outcome(row.symptom, made, row.below, **{row.field: row.under}) == row.below


def test_a_row_straddles_its_threshold() -> None:
    """The two values lie on the two sides of the number in force."""
    directly = [r for r in TABLE if r.make not in (turning, correlated, several_spikes,
                                                   swinging)]  # fmt: skip
    for row in directly:
        limit = getattr(all_detectors()[row.symptom].thresholds, row.field)
        size = abs(limit)
        assert min(row.over, row.under) <= size <= max(row.over, row.under), row


def test_every_threshold_has_its_pair() -> None:
    paired = {(row.symptom, row.field) for row in (*TABLE, *MOVED)}
    in_force = {
        (symptom, field.name)
        for symptom, detector in all_detectors().items()
        for field in fields(detector.thresholds)
    }
    assert paired == in_force
    assert {symptom for symptom, _ in paired} == {symptom.value for symptom in Symptom}
