"""The program's own evaluation phases, put together from what the seams see without gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sweeper.program.graph import tensors_in
from sweeper.program.session import LossCall
from sweeper.telemetry.losses import HELD, LossLog, Totals
from sweeper.telemetry.own_scores import array, classes_behind, follows, joined
from sweeper.telemetry.samples import Batch, SeenSamples, model_rows, sum_up
from sweeper.telemetry.targets import ConstantAnswer, Targets

MANY_LABELS = 10_000
"""Different labels beyond which the constant answer of a phase is not known."""
MOST_KEPT = 2**20
"""Outputs of a phase (4 MB) beyond which they are not kept for scores taken at its end."""
MOST_CALLS = 256
"""Calls of a loss after which their numbers are added up."""


@dataclass
class Evaluation:
    """One phase: forwards without gradients between two training steps.

    Losses and samples are put together at its end, many batches in one operation.
    """

    seen: SeenSamples
    n_compared: int = 0
    compared_correct: Any = 0.0
    labels: dict[float, int] = field(default_factory=dict)
    hits: dict[float, int] = field(default_factory=dict)
    """Of the labels, those that were answered right."""
    residuals: ConstantAnswer = field(default_factory=ConstantAnswer)
    """True values of errors that the program took itself."""
    squared: Any = 0.0
    """Sum of the squares of these errors."""
    rows: int = 0
    fresh_rows: int = 0
    totals: Totals = field(default_factory=Totals)
    _calls: int = 0
    _output: torch.Tensor | None = None
    _outputs: list[torch.Tensor] = field(default_factory=list)
    _kept: int = 0
    _batches: list[Batch] = field(default_factory=list)
    _held: int = 0

    def __post_init__(self) -> None:
        self.targets = Targets()
        self.losses = LossLog(self.seen, self.targets)

    def forward(self, args: Any, kwargs: Any) -> None:
        rows = model_rows(args, kwargs)
        if rows is None:
            return
        batch = Batch(rows, self.seen)
        self._batches.append(batch)
        self._held += batch.held
        if self._held > HELD:
            self._count_rows()

    def _count_rows(self) -> None:
        batches, self._batches, self._held = self._batches, [], 0
        sum_up(batches, self.seen)
        sums = [s for batch in batches if (s := batch.known_sums(self.seen)) is not None]
        if sums:
            known = self.seen.known(torch.cat(sums).cpu().numpy())
            self.rows += len(known)
            self.fresh_rows += int((~known).sum())

    def output(self, value: Any) -> None:
        candidates = [
            t for t in tensors_in(dict(value) if isinstance(value, dict) else value) if t.dim() >= 1
        ]
        self._output = next((t.detach() for t in candidates if t.is_floating_point()), None)
        if self._output is not None:
            self._kept += self._output.numel()
            if self._kept <= MOST_KEPT:
                self._outputs.append(self._output)
            else:
                self._outputs.clear()

    def subtract(self, left: torch.Tensor, right: torch.Tensor) -> bool:
        """Whether one side is the last output, or all of them: then the difference is an error."""
        output = self._output
        if output is None or left.shape != right.shape or not left.numel():
            return False
        for answer, true in ((left, right), (right, left)):
            last = answer.numel() == output.numel() and answer.data_ptr() == output.data_ptr()
            if (last and true.data_ptr() != answer.data_ptr()) or self._are_all(answer):
                self._output = None
                self.residuals.add(true.reshape(len(true), -1) if true.dim() else true)
                self.squared = self.squared + (answer - true).float().square().sum()
                return True
        return False

    def _are_all(self, answer: torch.Tensor) -> bool:
        outputs = self._gathered(answer.numel(), [o.numel() for o in self._outputs])
        return outputs is not None and torch.equal(outputs.reshape(-1), _flat(answer))

    def _gathered(self, n: int, sizes: list[int]) -> torch.Tensor | None:
        """All outputs of several batches, if nothing was counted yet and ``sizes`` add up to n."""
        counted = self.n_compared or self.residuals.n
        if counted or len(sizes) < 2 or sum(sizes) != n or self._kept > MOST_KEPT:
            return None
        return joined(self._outputs)

    def score(self, kind: str, true: Any, given: Any) -> bool:
        """Whether a metric is taken of the outputs of this phase, all of them.

        What they say is counted once, by the first of several metrics.
        """
        if self.n_compared or self.residuals.n or self._kept > MOST_KEPT:
            return False
        outputs, truth, values = joined(self._outputs), array(true), array(given)
        if outputs is None or truth is None or values is None or not truth.size:
            return False
        if kind == "values":
            if truth.size != values.size or not follows(values, outputs):
                return False
            self.residuals.add(torch.tensor(truth).reshape(len(outputs), -1))
            self.squared = float(np.square(truth - values).sum())
            return True
        if kind == "scores":
            found = classes_behind(values, outputs)
        else:
            found = values if _predicts(outputs, torch.tensor(values)) else None
        if found is None or found.size != truth.size:
            return False
        right = found == truth
        self.n_compared, self.compared_correct = int(truth.size), int(right.sum())
        _count(self.labels, torch.tensor(truth))
        _count(self.hits, torch.tensor(truth[right]))
        return True

    def compare(self, left: Any, right: Any) -> None:
        """Count ``prediction == target`` when one side is what the last output predicts, or what
        all of them do."""
        output, self._output = self._output, None
        if output is None:
            return
        for prediction, target in ((left, right), (right, left)):
            if (
                isinstance(prediction, torch.Tensor) and isinstance(target, torch.Tensor)
                and prediction.shape == target.shape
                and (_predicts(output, prediction) or self._predict_all(prediction))
            ):  # fmt: skip
                right_ones = (prediction == target).reshape(-1)
                self.n_compared += right_ones.numel()
                self.compared_correct = self.compared_correct + right_ones.sum()
                _count(self.labels, target)
                _count(self.hits, target.reshape(-1)[right_ones])
                return
        if isinstance(left, torch.Tensor) and left.numel() > 1:
            self._output = output  # an unrelated comparison; the one we look for may follow

    def _predict_all(self, prediction: torch.Tensor) -> bool:
        rows = len(prediction) if prediction.dim() else 1
        outputs = self._gathered(rows, [len(o) for o in self._outputs])
        return outputs is not None and _predicts(outputs, prediction.cpu())

    def loss_call(self, call: LossCall, value: torch.Tensor) -> None:
        self._calls += 1
        self.losses.add(0, call, value, None, first_epoch=False, sampled=True)
        if self._calls % MOST_CALLS == 0:
            self._total()

    def _total(self) -> None:
        self.totals = self.totals + self.losses.totals()

    @property
    def empty(self) -> bool:
        return not (self._calls or self.n_compared or self.residuals.n)

    @property
    def begun(self) -> bool:
        """Whether a model was called."""
        return not self.empty or bool(self.rows or self._batches)

    def row(self) -> dict[str, float]:
        """Columns of the phase. Waits for the device."""
        self._count_rows()
        self._total()
        totals = self.totals
        accuracy = skill = rare = rare_right = math.nan
        if self.n_compared:
            accuracy = float(self.compared_correct) / self.n_compared
            skill = _skill(accuracy, self.labels)
            common = max(self.labels, key=lambda label: self.labels[label], default=math.nan)
            rare = float(sum(n for label, n in self.labels.items() if label != common))
            rare_right = float(sum(n for label, n in self.hits.items() if label != common))
        elif totals.answers:
            accuracy = totals.right / totals.answers
            priors = self.targets.facts().get("class_prior", (math.nan,))
            skill = _over(accuracy, max(priors))
            rare, rare_right = float(totals.rare), float(totals.rare_right)
        elif self.residuals.n:
            if (constant := self.residuals.error) > 0:
                skill = 1.0 - float(self.squared) / self.residuals.n / constant
        elif totals.errors:
            variance = self.targets.facts()["target_variance"]
            if variance > 0:
                skill = 1.0 - totals.error / totals.errors / variance
        return {
            "n": float(max(self.n_compared, self.residuals.n, totals.n)),
            "loss": totals.loss / totals.n if totals.n else math.nan,
            "accuracy": accuracy,
            "skill": skill,
            "fresh_share": self.fresh_rows / self.rows if self.rows else math.nan,
            "rare_n": rare,
            "rare_correct": rare_right,
        }


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(-1).float().cpu()


def _predicts(output: torch.Tensor, prediction: torch.Tensor) -> bool:
    """Is ``prediction`` the argmax of the output over a class dimension, the output cut at 0 or
    0.5, its sigmoid cut at 0.5, or the output rounded (and clamped)?
    """
    flat = prediction.reshape(-1)
    if output.numel() == flat.numel():
        values = output.reshape(-1)
        cuts = (values > 0.0, values > 0.5, values.sigmoid() > 0.5)
        return any(bool((cut == (flat > 0.5)).all()) for cut in cuts) or _rounds(values, flat)
    for dim in {output.dim() - 1, 1} if output.dim() > 1 else ():
        best = output.argmax(dim).reshape(-1)
        if best.shape == flat.shape and bool((best == flat).all()):
            return True
    return False


def _rounds(output: torch.Tensor, prediction: torch.Tensor) -> bool:
    """Is ``prediction`` the rounded output, up to a clamp that leaves half of it as it is?"""
    if not prediction.numel() or not bool(torch.isfinite(output).all()):
        return False
    rounded, given = output.double().round(), prediction.double()
    clamped = rounded.clamp(float(given.min()), float(given.max()))
    untouched = (rounded == given).double().mean()
    return bool((clamped == given).all()) and float(untouched) >= 0.5


def _count(labels: dict[float, int], target: torch.Tensor) -> None:
    values, counts = np.unique(target.detach().reshape(-1).cpu().numpy(), return_counts=True)
    if len(values) > MANY_LABELS:
        return
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        labels[float(value)] = labels.get(float(value), 0) + int(count)


def _skill(accuracy: float, labels: dict[float, int]) -> float:
    total = sum(labels.values())
    return _over(accuracy, max(labels.values()) / total if total else math.nan)


def _over(accuracy: float, prior: float) -> float:
    """Skill of an accuracy over the constant answer's."""
    return (accuracy - prior) / (1 - prior) if prior < 1 else math.nan
