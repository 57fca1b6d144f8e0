"""What a cause rule is, and the evidence it reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.detectors._stats import median, nanmedian, trend
from sweeper.detectors._view import n_steps, owner, sound_steps, typical_ratio, update_ratio
from sweeper.detectors.skill import Skill, learned, memorised, skill_of
from sweeper.diagnosis._probe import Probe, simple_models
from sweeper.diagnosis._shift import Shift, shifted_targets
from sweeper.types import Cause, Facts, Finding, Hypothesis, OptimizerFact, RunRecord, Symptom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweeper.telemetry.record import Captured
    from sweeper.types import Floats

ADAPTIVE = frozenset(
    (
        "Adam",
        "AdamW",
        "Adamax",
        "NAdam",
        "RAdam",
        "SparseAdam",
        "RMSprop",
        "Adagrad",
        "Adadelta",
        "Adafactor",
        "Lion",
        "Muon",
    )
)
"""Optimizers that divide by a running gradient size: their step is about the learning rate
itself."""
RECTIFIERS = frozenset({"relu", "relu6"})
SATURATING = frozenset({"sigmoid", "tanh", "hardtanh", "hardsigmoid", "softsign"})
HOT = 1e-1
"""Update-to-weight ratio of a rate that destroys weights (torchmortem, TheDeepChecker)."""
SLOW = 1e-5
"""Update-to-weight ratio of a rate that leaves weights as they are (torchmortem)."""
FROM_NOTHING = 0.02
"""First norm over the largest of the run under which a weight was drawn as good as zero
(design)."""
RECURRENT = frozenset({"RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"})


@dataclass(frozen=True)
class Evidence:
    """One run with its findings; derived numbers are computed once."""

    record: RunRecord
    findings: tuple[Finding, ...]
    captured: Captured | None = None

    def finding(self, symptom: Symptom) -> Finding | None:
        return next((f for f in self.findings if f.symptom is symptom), None)

    def critical(self, *symptoms: Symptom) -> bool:
        """Whether any of the symptoms was found and is critical."""
        return any(f.critical and f.symptom in symptoms for f in self.findings)

    def has(self, *symptoms: Symptom) -> bool:
        return any(f.symptom in symptoms for f in self.findings)

    @property
    def facts(self) -> Facts:
        return self.record.facts

    @cached_property
    def n_steps(self) -> int:
        return n_steps(self.record)

    @cached_property
    def skill(self) -> Skill:
        return skill_of(self.record)

    @cached_property
    def learned(self) -> bool | None:
        return learned(self.record)

    @cached_property
    def memorised(self) -> bool:
        return memorised(self.record)

    @cached_property
    def stuck(self) -> bool:
        """At chance or with a loss that does not move, and finite."""
        return self.critical(Symptom.FLAT_LOSS, Symptom.CHANCE_LEVEL) and not self.has(
            Symptom.NON_FINITE
        )

    @cached_property
    def blew_up(self) -> bool:
        return self.critical(
            Symptom.NON_FINITE, Symptom.DIVERGENCE, Symptom.LOSS_SPIKE, Symptom.OSCILLATION
        )

    @property
    def optimizer(self) -> OptimizerFact | None:
        return self.facts.optimizers[0] if self.facts.optimizers else None

    @property
    def adaptive(self) -> bool:
        return self.optimizer is not None and self.optimizer.name in ADAPTIVE

    @property
    def peak_lr(self) -> float:
        """Largest rate of the main optimizer; NaN when unknown."""
        return max(self.optimizer.peak_lr, default=math.nan) if self.optimizer else math.nan

    @cached_property
    def attention(self) -> bool:
        """A transformer: attention between weights."""
        return any(layer.in_attention for layer in self.facts.layers)

    @cached_property
    def width(self) -> float:
        """Median inputs of the weights in attention; NaN without any."""
        inputs = [layer.n_in for layer in self.facts.layers if layer.in_attention and layer.n_in]
        return float(np.median(inputs)) if inputs else math.nan

    @cached_property
    def recurrent(self) -> bool:
        """Recurrent modules, or weights that a token model reads as a plain chain of hidden
        states."""
        kinds = ("RNN", "LSTM", "GRU")
        return any(any(kind in layer.kind for kind in kinds) for layer in self.facts.layers)

    @cached_property
    def depth(self) -> int:
        """Weight layers on the way to the loss, embeddings left out."""
        return sum("mbedding" not in layer.kind for layer in self.facts.layers)

    @cached_property
    def hidden_functions(self) -> tuple[str, ...]:
        """Canonical names of the hidden activations (outputs and gates left out)."""
        return tuple(
            s.function for s in self.facts.activations if s.swappable or s.reason == "in attention"
        )

    @cached_property
    def ratio(self) -> float:
        """Median over layers of the typical update-to-weight ratio; NaN when unknown."""
        return median(typical_ratio(self.record))

    @cached_property
    def early_ratio(self) -> float:
        """Largest update-to-weight ratio among the sampled steps before step 30, median over
        layers."""
        layers = self.record.layers
        if layers is None:
            return math.nan
        rows = layers.step < 30
        # A weight that begins next to zero has no size to be compared with.
        most = np.nanmax(np.nan_to_num(layers.weight_norm), axis=0, initial=0.0)
        sized = (layers.weight_norm > 0) & (layers.weight_norm[0] > FROM_NOTHING * most)
        inside = nanmedian(np.where(sized, update_ratio(layers), np.nan)[rows], axis=1)
        known = inside[np.isfinite(inside)]
        return float(known.max()) if known.size else math.nan

    @cached_property
    def weight_scale(self) -> dict[str, float]:
        """First weight's root mean square times sqrt(fan-in) of each dense, convolutional or
        recurrent layer.

        1.41 for He, about 1 for Xavier and LeCun, 0.58 for torch's default (of recurrent layers
        over the hidden size).
        """
        layers = self.record.layers
        if layers is None or not len(layers.step):
            return {}
        kinds = {fact.name: fact for fact in self.facts.layers}
        out: dict[str, float] = {}
        for i, (name, size) in enumerate(zip(layers.names, layers.sizes, strict=True)):
            fact = kinds.get(owner(name))
            if fact is None or not fact.n_out:
                continue
            rms = float(layers.weight_norm[0, i]) / math.sqrt(size)
            if not math.isfinite(rms):
                continue
            if "Linear" in fact.kind or "Conv" in fact.kind:
                out[name] = rms * math.sqrt(max(1.0, size / fact.n_out))
            elif fact.kind in RECURRENT:  # torch draws all of their weights by the hidden size
                out[name] = rms * math.sqrt(fact.n_out)
        return out

    @cached_property
    def hot(self) -> bool:
        """Early updates that destroy weights."""
        return self.early_ratio >= HOT

    @cached_property
    def died(self) -> bool:
        """Hidden units died or froze after a start in which they lived."""
        finding = self.finding(Symptom.DEAD_UNITS)
        return (
            finding is not None
            and float(finding.evidence.get("value", 0.0)) > 0.5
            and float(finding.evidence.get("at_start", 1.0)) < 0.5
        )

    @cached_property
    def gradient_seen(self) -> bool:
        """Some gradient arrived, or a log does not speak of gradients."""
        norm = self.record.series("grad_norm")
        if self.record.foreign and "grad_norm" not in self.record.steps:
            return True
        return bool((np.nan_to_num(norm, posinf=1.0) > 0).any())

    @cached_property
    def repeated_weights(self) -> bool:
        """A hand-written recurrent cell: a square layer without a recurrent kind, fed by tokens or
        sequences."""
        if self.attention or self.facts.task != "language_model":
            return False
        square = [x for x in self.facts.layers if x.n_in == x.n_out > 0 and x.kind == "Linear"]
        return bool(square) and self.depth <= 6

    @cached_property
    def batch_statistics(self) -> bool:
        """Normalisation over the batch (layer normalisation does not mind its size)."""
        return bool(self.facts.norms) and not self.attention

    @cached_property
    def gradients_sound(self) -> bool:
        return not self.critical(
            Symptom.VANISHING_GRADIENT, Symptom.EXPLODING_GRADIENT, Symptom.DEAD_UNITS
        )

    @cached_property
    def features(self) -> Floats | None:
        """Finite captured inputs as [N, D] with D at most 2,000; None for token ids or nothing
        captured."""
        if self.captured is None or self.captured.ids or not self.captured.inputs.size:
            return None
        rows = self.captured.inputs.reshape(len(self.captured.inputs), -1)
        rows = rows[:, :: max(1, rows.shape[1] // 2000)].astype(np.float64)
        known: Floats = rows[np.isfinite(rows).all(axis=1)]
        return known

    @cached_property
    def constant_inputs(self) -> bool:
        """Every captured input equals the first, to float precision."""
        if self.captured is None or len(self.captured.inputs) < 8:
            return False
        rows = self.captured.inputs.reshape(len(self.captured.inputs), -1)
        if not np.issubdtype(rows.dtype, np.floating):
            return bool((rows == rows[:1]).all()) or _one_id(rows)
        known = rows[np.isfinite(rows).all(axis=1)]
        if len(known) < 8:
            return False
        return bool((np.ptp(known, axis=0) <= 1e-6 * np.abs(known).max(axis=0)).all())

    @cached_property
    def probe(self) -> Probe | None:
        """Simple models on the captured samples (seconds); None when nothing was captured."""
        return simple_models(self.captured, self.facts) if self.captured is not None else None

    @cached_property
    def shift(self) -> Shift | None:
        """Rows between inputs and the targets that belong to them, where labels look unrelated."""
        if self.captured is None or not self.labels_suspect:
            return None
        return shifted_targets(self.captured, self.facts)

    @cached_property
    def unlearnt(self) -> bool:
        """Held-out samples are understood a little and the training samples are not."""
        found = self.finding(Symptom.CHANCE_LEVEL)
        return found is not None and found.critical and "held_out" in found.evidence

    @cached_property
    def labels_suspect(self) -> bool:
        """At chance or memorising, so that the labels themselves may be at fault."""
        suspect = self.stuck or self.memorised or self.has(Symptom.OVERFITTING)
        return self.unlearnt or (suspect and not self.learned)

    @cached_property
    def shrunk_lr(self) -> bool:
        """The rate fell to a hundredth of its peak somewhere."""
        lr = self.lr
        return bool(lr.size and lr[int(np.argmax(lr)) :].min() < 0.01 * lr.max())

    @cached_property
    def still_falling(self) -> bool:
        """The loss falls significantly over the second half (of fewer than 16 steps, over all)."""
        loss = self.record.series("loss")[: sound_steps(self.record)]
        slope, p_value = trend(loss[len(loss) // 2 :] if len(loss) >= 16 else loss)
        return slope < 0 and p_value < 0.01

    @cached_property
    def jumped_early(self) -> float:
        """Largest loss among the first 5 % over the very first one."""
        loss = self.record.series("loss")
        early = loss[: max(10, len(loss) // 20)]
        known = early[np.isfinite(early)]
        return float(known.max() / abs(known[0])) if known.size and known[0] else 1.0

    @cached_property
    def planned(self) -> int:
        """Steps of the whole program as far as known."""
        return max(self.facts.steps if self.facts.finished else 0, self.n_steps, 1)

    @cached_property
    def lr(self) -> Floats:
        """Known rates [T] before the run broke."""
        values = self.record.series("lr")[: max(1, sound_steps(self.record))]
        return values[np.isfinite(values)]


def _one_id(rows: NDArray[Any]) -> bool:
    """Whether token ids [N, T] are all the same but for padding at the end of rows."""
    first = rows[:, :1]
    values = np.unique(rows)
    if len(values) != 2 or not (first == first[0]).all():
        return False
    same = rows == first[0]
    return bool((np.diff(same.astype(np.int8), axis=1) <= 0).all())


def hypothesis(cause: Cause, belief: float, reason: str, **evidence: Any) -> Hypothesis:
    """A hypothesis without remedies; its rule adds them."""
    return Hypothesis(
        cause=cause, belief=min(max(belief, 0.0), 0.99), reason=reason, evidence=evidence
    )


@dataclass(frozen=True, kw_only=True)
class CauseRule:
    """One cause: how it is told, what treats it, and what it accounts for."""

    cause: Cause
    definition: str
    source: str
    remedies: tuple[str, ...]
    """Names, most direct first; empty for causes that nothing cures."""
    explain: Callable[[Evidence], Hypothesis | None]
    explains: tuple[Cause, ...] = ()
    """Causes whose signs this one produces by itself: they are believed less beside it."""
    evident: bool = False
    """Facts alone tell it, whatever the findings: with a belief of EVIDENT it makes a run of half
    the skill a failing one."""
    probe: bool = False
    """It trains models on the captured batches: asked last, and only when nothing certain is
    known."""

    def ask(self, evidence: Evidence) -> Hypothesis | None:
        found = self.explain(evidence)
        return found and (found if found.remedies else replace(found, remedies=self.remedies))
