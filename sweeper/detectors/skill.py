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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sweeper.detectors._stats import binomial_tail, mean, normal_tail
from sweeper.types import Facts, RunRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Where = Literal["eval", "fresh", "train", ""]

ENTROPY_LOSSES = frozenset(
    {
        "cross_entropy",
        "nll_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    }
)
"""Losses whose value is in nats, so that the prior entropy is what the constant answer costs."""

ALPHA = 0.01
"""One-sided level of every test against chance."""
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
UNEQUAL = 0.8
"""Share of the largest class from which accuracy alone cannot show that nothing was learned."""
CLEARLY = 0.30
"""Skill that needs no second look at the loss."""
BELOW_GUESSING = 0.95
"""Share of the cost of guessing that the loss must be under beside a small accuracy skill."""
LATE = 2 / 3
"""Skill is measured over the part of the run behind this share."""


@dataclass(frozen=True, kw_only=True)
class Skill:
    """One measurement of learning."""

    name: Literal["accuracy", "loss", "r2", ""]
    value: float
    """1 is perfect, 0 the constant answer, NaN unknown."""
    p_value: float
    """One-sided chance of at least this under the constant answer; NaN where no test is
    possible."""
    n: int
    """Samples behind it."""
    where: Where
    metric: float
    """The raw accuracy, loss (nats) or R squared."""

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    @property
    def significant(self) -> bool:
        return self.known and not self.p_value > ALPHA

    @property
    def prior(self) -> float:
        """Accuracy of the constant answer; NaN for other kinds."""
        if self.name != "accuracy" or not self.value < 1:
            return math.nan
        return (self.metric - self.value) / (1 - self.value)


UNKNOWN = Skill(name="", value=math.nan, p_value=math.nan, n=0, where="", metric=math.nan)


def prior_entropy(facts: Facts) -> float:
    """Entropy of the class prior (unigram entropy for language models) in nats; NaN when it does
    not apply."""
    if facts.task not in ("classification", "binary", "language_model"):
        return math.nan
    shares = [p for p in facts.class_prior if p > 0]
    if not shares or not math.isfinite(sum(shares)) or abs(sum(shares) - 1) > 0.05:
        return math.nan
    return -sum(p * math.log(p) for p in shares)


def n_classes(facts: Facts) -> int:
    """Number of classes the head can tell apart; 0 for regression and unknown tasks."""
    if facts.task == "binary":
        return 2
    if facts.task in ("classification", "language_model"):
        return max(facts.n_classes, facts.head_width, len(facts.class_prior))
    return 0


def task_loss(record: RunRecord) -> Floats:
    """Mean value of the loss function, [T]; the trained scalar where the seams saw no loss
    function."""
    values = record.series("task_loss")
    return values if np.isfinite(values).any() else record.series("loss")


def in_nats(record: RunRecord) -> bool:
    """Whether ``task_loss`` can be compared with the prior entropy."""
    known = bool(np.isfinite(record.series("task_loss")).any())
    return known and record.facts.loss_function in ENTROPY_LOSSES


def skill_of(record: RunRecord) -> Skill:
    """The run's skill: accuracy for classes, loss for language models, R squared for regression.

    Measured late in the run, on the samples that say most (see the module). ``UNKNOWN`` (value NaN,
    ``where`` empty) when the record measures none of them.
    """
    name = {"regression": "r2", "language_model": "loss"}.get(record.facts.task, "accuracy")
    for measured in _sources(record):
        for skill in measured:
            if skill.name == name:
                return skill
    return UNKNOWN


def skills_of(record: RunRecord) -> tuple[Skill, ...]:
    """Every kind of skill measured on the best source that gives any, the primary one first."""
    return next((measured for measured in _sources(record) if measured), ())


def learned(record: RunRecord) -> bool | None:
    """True when the run beats the constant answer clearly, False when it does not, None when
    nothing tells.

    Imbalanced classes show learning in the loss before the accuracy moves, so either will do; a
    small skill counts only while the loss is below what guessing costs. A source that is too small,
    or that knows only the accuracy of very unequal classes, can say yes but not no.
    """
    verdict: bool | None = None
    if adversarial(record.facts):
        return None
    for measured in _sources(record):
        if _weighted(measured):
            continue
        if any(_is_learned(skill, measured, record) for skill in measured):
            return True
        if any(_decides(skill, record) for skill in measured):
            return False
        verdict = False if measured else verdict
    return verdict


def ill(record: RunRecord) -> bool:
    """Whether a bad sign should count as critical: the run did not learn, or nothing shows that it
    did.

    Without any measure of skill, a loss that fell by a quarter and stayed finite passes for
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
    if len(values) < 20:
        return False
    first, last = (
        float(values[: len(values) // 20 + 1].mean()),
        float(values[-len(values) // 5 :].mean()),
    )
    return not first - last > 0.25 * abs(first)


def is_chance(skill: Skill, share: float = 0.05) -> bool:
    """Within chance by test or by size: with many samples trivial gains become significant."""
    return skill.known and (not skill.significant or skill.value < share)


def _is_learned(skill: Skill, beside: tuple[Skill, ...], record: RunRecord) -> bool:
    if not skill.significant:
        return False
    if skill.value < least_skill(record.facts, skill.name):
        return False
    if skill.value >= CLEARLY:
        return True
    if skill.name == "loss":
        return not any(_names_one_class(other) for other in beside)
    if skill.name != "accuracy" or not in_nats(record):
        return True
    # Weighted losses of unequal classes are measured against equal ones.
    equal = math.log(max(n_classes(record.facts), 2))
    guess = equal if skill.prior >= 0.6 else prior_entropy(record.facts)
    level = mean(_late(record.series("task_loss")))
    return not level > BELOW_GUESSING * guess


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


def _names_one_class(skill: Skill) -> bool:
    return skill.name == "accuracy" and abs(skill.value) < 0.02 and skill.prior >= UNEQUAL


def _decides(skill: Skill, record: RunRecord) -> bool:
    if skill.n < needed(record.facts):
        return False
    if skill.name == "loss":
        return record.facts.task == "language_model" or skill.where == "train"
    return not skill.prior >= UNEQUAL or _names_one_class(skill)


def _sources(record: RunRecord) -> Iterator[tuple[Skill, ...]]:
    """Measurements on evaluation phases, late fresh samples and training batches, as far as there
    are any."""
    yield _from_evals(record)
    n_steps = len(record.series("loss"))
    steps = np.arange(n_steps)
    late = steps >= int(LATE * n_steps)
    fresh = _from_steps(record, late, "fresh")
    # Padding that differs between epochs makes a few repeated samples look fresh.
    share = np.nansum(record.series("fresh_n")[late]) / max(
        np.nansum(record.series("n")[late]), 1.0
    )
    if share >= 0.5 and any(skill.n >= needed(record.facts) for skill in fresh):
        yield fresh
    elif memorised(record):
        length = first_pass(record)
        yield _from_steps(record, (steps < length) & (steps >= length // 2), "fresh")
    else:
        yield _from_steps(record, late, "train")


def needed(facts: Facts) -> int:
    """Samples below which chance cannot be told from skill (design: max(200, 20 K), at most
    1000)."""
    return min(1000, max(200, 20 * n_classes(facts)))


def _late(values: Floats) -> Floats:
    return values[int(LATE * len(values)) :]


def _from_evals(record: RunRecord) -> tuple[Skill, ...]:
    evals = record.evals
    n_steps = len(record.series("loss"))
    if evals is None or not len(evals.step):
        return ()
    told = np.isfinite(evals.skill) | np.isfinite(evals.loss) | np.isfinite(evals.accuracy)
    held_out = ~(evals.fresh_share < 0.5)
    rows = np.flatnonzero((evals.step >= 0.5 * n_steps) & told & held_out & (evals.n > 0))
    if not len(rows):
        return ()
    # The phase with the most samples among the last ones: a program may also print a small batch
    # now and then.
    last = rows[-3:]
    row = int(last[::-1][np.argmax(evals.n[last][::-1])])
    n, accuracy, share = int(evals.n[row]), float(evals.accuracy[row]), float(evals.skill[row])
    found: list[Skill] = []
    if record.facts.task == "regression":
        if math.isfinite(share):
            found.append(_r2(share, n, "eval"))
    elif math.isfinite(accuracy):
        p0 = (accuracy - share) / (1 - share) if math.isfinite(share) and share < 1 else math.nan
        if not 0 < p0 < 1:
            p0 = max(record.facts.class_prior, default=math.nan)
        found.extend(_accuracy(accuracy, n, p0, "eval"))
    entropy = prior_entropy(record.facts)
    loss = float(evals.loss[row])
    if 0 <= loss < math.inf and entropy > 0 and in_nats(record):
        # Losses of single samples spread about as widely as the entropy itself.
        p_value = normal_tail((entropy - loss) * math.sqrt(n) / entropy)
        value = (entropy - loss) / entropy
        found.append(
            Skill(name="loss", value=value, p_value=p_value, n=n, where="eval", metric=loss)
        )
    return tuple(found)


def _from_steps(
    record: RunRecord, mask: NDArray[np.bool_], where: Literal["fresh", "train"]
) -> tuple[Skill, ...]:
    facts = record.facts
    found: list[Skill] = []
    n = record.series("n" if where == "train" else "fresh_n")
    if where == "train":
        correct, loss = record.series("accuracy") * n, record.series("task_loss")
    else:
        correct, loss = record.series("fresh_correct"), record.series("fresh_loss")
    if facts.task in ("classification", "binary"):
        rows = mask & np.isfinite(correct) & (n > 0)
        total = int(n[rows].sum())
        if total:
            accuracy = float(correct[rows].sum()) / total
            found.extend(
                _accuracy(accuracy, total, max(facts.class_prior, default=math.nan), where)
            )
    elif facts.task == "regression":
        found.extend(_regression(record, mask, where))
    entropy = prior_entropy(facts)
    rows = mask & np.isfinite(loss) & (n > 0)
    if entropy > 0 and in_nats(record) and rows.sum() >= 5:
        level = mean(loss[rows], n[rows])
        if level < 0:  # nll_loss without log-probabilities: no cost in nats
            return tuple(found)
        spread = float(loss[rows].std(ddof=1)) / math.sqrt(rows.sum())
        p_value = normal_tail((entropy - level) / max(spread, 1e-12))
        value = (entropy - level) / entropy
        total = int(n[rows].sum())
        found.append(
            Skill(name="loss", value=value, p_value=p_value, n=total, where=where, metric=level)
        )
    return tuple(found)


def _regression(
    record: RunRecord, mask: NDArray[np.bool_], where: Literal["fresh", "train"]
) -> list[Skill]:
    variance = record.facts.target_variance
    if not variance > 0:
        return []
    n, error = record.series("n"), record.series("r2_error")
    if not np.isfinite(error).any() and record.facts.loss_function == "mse_loss":
        error = record.series("task_loss") * n  # prediction and target differ in shape
    rows = mask & np.isfinite(error) & (n > 0)
    if where == "fresh":  # errors are kept for whole batches
        rows &= record.series("fresh_n") >= n
    total = int(n[rows].sum())
    return [_r2(1 - float(error[rows].sum()) / total / variance, total, where)] if total else []


def _accuracy(accuracy: float, n: int, p0: float, where: Where) -> list[Skill]:
    if not 0 < p0 < 1:
        return []
    p_value = binomial_tail(accuracy * n, n, p0)
    value = (accuracy - p0) / (1 - p0)
    return [Skill(name="accuracy", value=value, p_value=p_value, n=n, where=where, metric=accuracy)]


def _r2(value: float, n: int, where: Where) -> Skill:
    """R squared with the F test of one explanatory variable as its p-value."""
    z = math.sqrt(max(value, 0.0) / max(1 - value, 1e-12) * n)
    return Skill(name="r2", value=value, p_value=normal_tail(z), n=n, where=where, metric=value)


def first_pass(record: RunRecord) -> int:
    """Steps of the first pass over the training data; 0 when the data never repeat or nothing
    tells."""
    n, fresh = record.series("n"), record.series("fresh_n")
    if not np.isfinite(fresh).any() or len(fresh) < 8:
        return 0
    share = np.nan_to_num(fresh / np.maximum(n, 1.0))
    # A stretch of repeats ends the pass: single fresh rows come later (drop_last, padding).
    ahead = np.convolve(share < 0.5, np.ones(3), mode="valid")
    ends = np.flatnonzero(ahead >= 3)
    return int(ends[0]) if len(ends) and ends[0] < 0.9 * len(fresh) else 0


def memorised(record: RunRecord) -> bool:
    """Whether training accuracy and loss improved by repeating samples rather than by learning.

    Three things together: the first pass ends at chance on its fresh samples, the training measures
    improve afterwards, and they improve between passes, not inside them. A model that learns gets
    better inside every pass, because each batch also helps with samples it does not hold; a model
    that memorises jumps when the pass starts over. The gain inside passes is the sum of their least
    squares slopes; it and two standard errors must stay under three quarters of the whole gain, for
    the accuracy and for the loss.
    """
    length = first_pass(record)
    n_steps = len(record.series("loss"))
    if length < 4 or n_steps < 3 * length:
        return False
    steps = np.arange(n_steps)
    early = _from_steps(record, (steps < length) & (steps >= length // 2), "fresh")
    if not early or any(skill.significant for skill in early):
        return False
    measures = [v for v in (record.series("accuracy"), -task_loss(record)) if np.isfinite(v).any()]
    return bool(measures) and all(_by_jumps(values, length) for values in measures)


def _by_jumps(values: Floats, length: int) -> bool:
    """Whether ``values`` [T] grew between passes of ``length`` steps and not inside them."""
    passes = len(values) // length
    table = values[length : passes * length].reshape(passes - 1, length)
    if not np.isfinite(table).all():
        return False
    gain = mean(table[-1]) - mean(values[length - max(5, length // 8) : length])
    position = (np.arange(length) + 0.5) / length - 0.5
    power = float(np.dot(position, position))
    slopes = table @ position / power
    residual = table - table.mean(axis=1, keepdims=True) - slopes[:, None] * position
    variance = float((residual**2).sum()) / max(1, (passes - 1) * (length - 2))
    inside, error = float(slopes.sum()), math.sqrt(variance / power * (passes - 1))
    return gain > 0 and inside < 0.5 * gain and inside + 2 * error < 0.75 * gain
