"""Measurements behind skill: on evaluation phases, on fresh samples, and on training batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sweeper.detectors._stats import binomial_tail, mean, normal_tail
from sweeper.types import Facts, RunRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Where = Literal["eval", "fresh", "train", "replay", ""]

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

UNEQUAL = 0.8
"""Share of the largest class from which accuracy alone cannot show that nothing was learned."""
FEWEST_OF_EITHER = 10
"""Samples in and outside of the commonest class under which balanced accuracy is not told."""


@dataclass(frozen=True, kw_only=True)
class Skill:
    """One measurement of learning."""

    name: Literal["accuracy", "balanced_accuracy", "loss", "r2", ""]
    value: float
    """1 is perfect, 0 the constant answer, NaN unknown."""
    p_value: float
    """One-sided chance of at least this under the constant answer; NaN where no test is
    possible."""
    n: int
    """Samples behind it."""
    where: Where
    metric: float
    """The raw accuracy (balanced or not), loss (nats) or R squared."""

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


def needed(facts: Facts) -> int:
    """Samples below which chance cannot be told from skill (design: max(200, 20 K), at most
    1000)."""
    return min(1000, max(200, 20 * n_classes(facts)))


def from_evals(record: RunRecord) -> tuple[Skill, ...]:
    """Skills of the last evaluation phase that held samples the run had not trained on."""
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
    if record.facts.task == "regression" and not math.isfinite(accuracy):
        if math.isfinite(share):
            found.append(_r2(share, n, "eval"))
    elif math.isfinite(accuracy):
        p0 = (accuracy - share) / (1 - share) if math.isfinite(share) and share < 1 else math.nan
        if not 0 < p0 < 1:
            p0 = max(record.facts.class_prior, default=math.nan)
        found.extend(_accuracy(accuracy, n, p0, "eval"))
        rare = float(evals.rare_n[row]), float(evals.rare_correct[row])
        found.extend(_balanced(record.facts, n, accuracy * n, *rare, "eval"))
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


def from_steps(
    record: RunRecord, mask: NDArray[np.bool_], where: Literal["fresh", "train"]
) -> tuple[Skill, ...]:
    """Skills over the steps of ``mask`` [T], before each update: all samples, or the fresh ones."""
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
            found.extend(_balanced_steps(record, rows, where))
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


def from_replay(record: RunRecord) -> tuple[Skill, ...]:
    """Skills on the first training batches, by the final model without its dropout."""
    replay, facts = record.replay, record.facts
    if replay is None or not math.isfinite(replay.skill) or not replay.n:
        return ()
    entropy = prior_entropy(facts)
    in_loss: list[Skill] = []
    if entropy > 0 and in_nats(record) and math.isfinite(replay.loss):
        value = (entropy - replay.loss) / entropy
        p_value = normal_tail(value * math.sqrt(replay.n))
        in_loss = [
            Skill(
                name="loss", value=value, p_value=p_value, n=replay.n, where="replay",
                metric=replay.loss,
            )
        ]  # fmt: skip
    if facts.task == "regression":
        return (_r2(replay.skill, replay.n, "replay"),)
    total = int(np.sum(replay.class_counts))
    if facts.task in ("classification", "binary") and total:
        prior = max(replay.class_counts) / total
        accuracy = prior + replay.skill * (1 - prior)
        return (*_accuracy(accuracy, total, prior, "replay"), *in_loss)
    return tuple(in_loss) if facts.task == "language_model" else ()


def _accuracy(accuracy: float, n: int, p0: float, where: Where) -> list[Skill]:
    if not 0 < p0 < 1:
        return []
    p_value = binomial_tail(accuracy * n, n, p0)
    value = (accuracy - p0) / (1 - p0)
    return [Skill(name="accuracy", value=value, p_value=p_value, n=n, where=where, metric=accuracy)]


def _balanced_steps(
    record: RunRecord, rows: NDArray[np.bool_], where: Literal["fresh", "train"]
) -> list[Skill]:
    rare = record.series("rare_n")
    rows = rows & np.isfinite(rare)
    if where == "fresh":  # the rare ones are counted for whole batches
        rows &= record.series("fresh_n") >= record.series("n")
    n = record.series("n")[rows]
    right = float((record.series("accuracy")[rows] * n).sum())
    return _balanced(
        record.facts, int(n.sum()), right, float(rare[rows].sum()),
        float(record.series("rare_correct")[rows].sum()), where,
    )  # fmt: skip


def _balanced(
    facts: Facts, n: int, right: float, rare: float, rare_right: float, where: Where
) -> list[Skill]:
    """Mean recall of the commonest class and of all others together, for very unequal classes.

    Its skill is Youden's J (1950), the first recall plus the second less 1, which every constant
    answer has 0 of; the p-value is that of the two-proportion z-test.
    """
    common = n - rare
    if not max(facts.class_prior, default=0.0) >= UNEQUAL:
        return []
    if not min(rare, common) >= FEWEST_OF_EITHER or not rare <= 2 * (1 - UNEQUAL) * n:
        return []
    found, false = rare_right / rare, 1 - (right - rare_right) / common
    value, named = found - false, (rare_right + false * common) / n
    spread = math.sqrt(named * (1 - named) * (1 / rare + 1 / common))
    p_value = normal_tail(value / spread) if spread > 0 else 0.5 if value <= 0 else 0.0
    return [
        Skill(
            name="balanced_accuracy", value=value, p_value=p_value, n=n, where=where,
            metric=(1 + value) / 2,
        )
    ]  # fmt: skip


def _r2(value: float, n: int, where: Where) -> Skill:
    """R squared with the F test of one explanatory variable as its p-value."""
    z = math.sqrt(max(value, 0.0) / max(1 - value, 1e-12) * n)
    return Skill(name="r2", value=value, p_value=normal_tail(z), n=n, where=where, metric=value)
