"""Facts: what the run showed the program to be, collected while it runs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.program.models import (
    left_out,
    module_paths,
    optimizer_parameters,
    rate_of,
)
from sweeper.program.session import Session
from sweeper.telemetry.graph_facts import GraphFacts
from sweeper.telemetry.samples import Bags
from sweeper.telemetry.targets import Targets
from sweeper.types import (
    ClipFact,
    Facts,
    LoaderFact,
    OptimizerFact,
)

NORM_MODULES = (
    nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm,
)  # fmt: skip


def _dropout_of(module: nn.Module) -> float:
    """The rate that a module of torch holds; attention and stacked recurrence have one of their
    own."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return float(module.p)
    if isinstance(module, nn.MultiheadAttention):
        return float(module.dropout)
    if isinstance(module, nn.RNNBase) and module.num_layers > 1:
        return float(module.dropout)
    return 0.0


@dataclass
class Collector:
    """Everything else that becomes a fact."""

    schedulers: dict[str, None] = field(default_factory=dict)
    clips: dict[tuple[str, float, float], int] = field(default_factory=dict)
    peak_lr: dict[int, list[float]] = field(default_factory=dict)
    first_lr: dict[int, float] = field(default_factory=dict)
    last_lr: dict[int, float] = field(default_factory=dict)
    lr_changes: int = 0
    built_lr: dict[int, Any] = field(default_factory=dict)
    """id of an optimizer -> the very object that it was built with"""
    lr_replaced: bool = False
    """The loop put a rate into a group, be it an equal one."""
    own_steps: dict[int, int] = field(default_factory=dict)
    """id of an optimizer -> its steps"""
    sparse: set[int] = field(default_factory=set)
    """ids of optimizers that had a sparse gradient"""
    with_closure: bool = False
    in_backward: bool = False
    ever_grad: set[int] = field(default_factory=set)
    kept_grads: list[bool] = field(default_factory=list)
    eval_mode_forwards: int = 0
    train_forwards: int = 0
    compiled: bool = False
    trained_loaders: set[int] = field(default_factory=set)
    batch_sizes: list[int] = field(default_factory=list)
    backwards: list[int] = field(default_factory=list)
    first_losses: list[float] = field(default_factory=list)
    input_features: int = 0
    input_dtype: str = ""
    first_step_at: float = math.nan
    started: float = field(default_factory=time.monotonic)

    def rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Before a step: the program's own rates, and which parameters have gradients."""
        key = id(optimizer)
        rates = [rate_of(g) for g in optimizer.param_groups]
        peaks = self.peak_lr.setdefault(key, [0.0] * len(rates))
        peaks.extend([0.0] * (len(rates) - len(peaks)))
        self.peak_lr[key] = [max(a, b) for a, b in zip(peaks, rates, strict=True)]
        self.first_lr.setdefault(key, rates[0])
        if key in self.last_lr and self.last_lr[key] != rates[0]:
            self.lr_changes += 1
        self.last_lr[key] = rates[0]
        rate = optimizer.param_groups[0].get("lr")
        self.lr_replaced |= rate is not self.built_lr.get(key, rate)
        for parameter in optimizer_parameters([optimizer]):
            if parameter.grad is not None:
                self.ever_grad.add(id(parameter))
                if parameter.grad.is_sparse:
                    self.sparse.add(key)

    def built(self, optimizer: torch.optim.Optimizer) -> None:
        """A new optimizer; the rate in its first group is kept to be recognised."""
        if optimizer.param_groups:
            self.built_lr[id(optimizer)] = optimizer.param_groups[0].get("lr")

    def stepped(self, optimizer: torch.optim.Optimizer, session: Session, *, sampled: bool) -> None:
        """Before a step: what is cheap enough to be looked at every time.

        Rates and gradients are where the step is ``sampled`` or the first rate has changed; a rate
        in a tensor is not looked at for that.
        """
        if not self.own_steps:
            self.first_step_at = time.monotonic()
        key, rate = id(optimizer), optimizer.param_groups[0].get("lr")
        self.own_steps[key] = self.own_steps.get(key, 0) + 1
        self.with_closure |= session.with_closure
        self.in_backward |= session.in_backward
        if sampled or not (isinstance(rate, torch.Tensor) or rate == self.last_lr.get(key)):
            self.rates(optimizer)

    def input_of(self, rows: torch.Tensor | Bags) -> None:
        """Type and number of the features of a sample."""
        data = rows if isinstance(rows, torch.Tensor) else rows.padded()
        if data is not None:
            self.input_dtype = str(data.dtype).removeprefix("torch.")
            self.input_features = int(data[0].numel())

    def peaks(self, optimizer: torch.optim.Optimizer, finished: bool) -> tuple[float, ...]:
        """Largest rate of each group. What the groups promise (initial_lr, max_lr) counts only for
        a run that was cut while its rate had not begun to fall: a schedule may never reach it."""
        key = id(optimizer)
        groups = optimizer.param_groups
        seen = self.peak_lr.get(key, [rate_of(g) for g in groups])
        falling = seen and self.last_lr.get(key, 0.0) < seen[0]
        if finished or falling:
            return tuple(seen)
        promised = [max(float(g.get(k) or 0.0) for k in ("initial_lr", "max_lr")) for g in groups]
        return tuple(max(a, b) for a, b in zip(seen, promised, strict=False))

    def optimizers(self, session: Session) -> tuple[OptimizerFact, ...]:
        owned = {id(p) for p in optimizer_parameters(session.optimizers)}
        missing = sum(
            p.numel()
            for r in session.roots
            for p in r.parameters()
            if p.requires_grad and id(p) not in owned
        )
        if not session.given_roots:  # in a notebook other models live on from earlier cells
            missing += left_out(session.optimizers, session.roots)
        out = []
        for optimizer in session.optimizers:
            key, groups = id(optimizer), optimizer.param_groups
            parameters = optimizer_parameters([optimizer])
            out.append(
                OptimizerFact(
                    name=type(optimizer).__name__,
                    peak_lr=self.peaks(optimizer, finished=session.finished),
                    first_lr=self.first_lr.get(key, math.nan),
                    last_lr=self.last_lr.get(key, math.nan),
                    weight_decay=max(float(g.get("weight_decay") or 0.0) for g in groups),
                    momentum=float(groups[0].get("momentum") or 0.0),
                    has_weight_decay=any("weight_decay" in g for g in groups),
                    sparse=key in self.sparse,
                    steps=self.own_steps.get(key, 0),
                    n_parameters=sum(p.numel() for p in parameters),
                    n_frozen=sum(p.numel() for p in parameters if not p.requires_grad),
                    n_without_grad=sum(
                        p.numel()
                        for p in parameters
                        if p.requires_grad and id(p) not in self.ever_grad
                    ),
                    n_missing=missing,
                )
            )
        return tuple(out)

    def first_loss(self, session: Session) -> float:
        if session.facts is not None:  # a trial is held against the unchanged program
            return session.facts.first_loss
        known = [loss for loss in self.first_losses if math.isfinite(loss)]
        return min(known, default=math.nan)

    def loaders(self, session: Session) -> tuple[LoaderFact, ...]:
        from torch.utils.data import IterableDataset, RandomSampler

        trained = set(self.trained_loaders)
        # A re-wrapped loader (accelerate) inherits from its source.
        for index in sorted(trained, reverse=True):
            mine = session.loaders[index]
            trained |= {
                i for i, other in enumerate(session.loaders[:index])
                if other.dataset is mine.dataset and other.batch_sampler is mine.batch_sampler
                and other.batch_sampler is not None
            }  # fmt: skip
        out = []
        for index, loader in enumerate(session.loaders):
            reason = (
                "" if loader.batch_size else "it was built with a batch_sampler or without batching"
            )
            iterable = isinstance(loader.dataset, IterableDataset)
            try:
                n_samples, n_batches = (
                    (None, None) if iterable else (len(loader.dataset), len(loader))
                )
            except (TypeError, NotImplementedError):
                n_samples = n_batches = None
            out.append(
                LoaderFact(
                    index=index, batch_size=loader.batch_size, n_samples=n_samples,
                    n_batches=n_batches, trained=index in trained, reason=reason,
                    drop_last=bool(loader.drop_last),
                    shuffled=isinstance(getattr(loader, "sampler", None), RandomSampler),
                )
            )  # fmt: skip
        return tuple(out)

    def facts(self, session: Session) -> dict[str, Any]:
        roots = session.roots
        modules = [m for r in roots for m in r.modules()]
        paths = module_paths(roots)
        every = {id(p): p for r in roots for p in r.parameters()}
        any_grad = bool(self.ever_grad) or session.step == 0
        n_loaded = sum(p.numel() for p in every.values() if p in session.states)
        elapsed = time.monotonic() - self.first_step_at
        return {
            "optimizers": self.optimizers(session),
            "loaders": self.loaders(session),
            "norms": tuple(
                paths[id(m)] for m in modules if isinstance(m, NORM_MODULES) and paths[id(m)]
            ),
            "dropout": tuple(rate for m in modules if (rate := _dropout_of(m)) > 0),
            "schedulers": tuple(self.schedulers),
            "lr_written_by_program": (
                (self.lr_changes > 0 or self.lr_replaced) and not self.schedulers
            ),
            "clips": tuple(
                ClipFact(kind=k[0], max_norm=k[1], norm_type=k[2], calls=n)  # type: ignore[arg-type]
                for k, n in self.clips.items()
            ),
            "grads_zeroed": not (len(self.kept_grads) >= 2 and all(self.kept_grads)),
            "trained_in_eval_mode": (
                self.train_forwards > 0 and self.eval_mode_forwards > 0.9 * self.train_forwards
            ),
            "detached": not any_grad,
            "pretrained": n_loaded > 0,
            "n_loaded": n_loaded,
            "compiled": self.compiled,
            "with_closure": self.with_closure,
            "steps_in_backward": self.in_backward,
            "trains_again": session.trains_again,
            "batch_size": int(np.median(self.batch_sizes)) if self.batch_sizes else 0,
            "backwards_per_step": int(np.median(self.backwards)) if self.backwards else 1,
            "n_parameters": sum(p.numel() for p in every.values()),
            "n_frozen": sum(p.numel() for p in every.values() if not p.requires_grad),
            "n_roots": len(roots),
            "steps": session.step,
            "first_loss": self.first_loss(session),
            "seconds_per_step": elapsed / session.step if session.step else math.nan,
            "start_seconds": self.first_step_at - self.started,
            "input_features": self.input_features,
            "input_dtype": self.input_dtype,
        }  # fmt: skip


def build_facts(
    session: Session,
    collector: Collector,
    targets: Targets,
    graph: GraphFacts | None,
    finished: bool,
) -> Facts:
    """Put the parts together; in a trial the traced parts come from the baseline's facts."""
    known: dict[str, Any] = collector.facts(session) | targets.facts()
    if graph is not None:
        sites = graph.activations()
        known |= {
            "layers": graph.layers(), "activations": sites,
            "watch_points": graph.watch_points(sites),
            "dropout": (*known["dropout"], *(called := graph.dropout())),
            "n_dropout_calls": len(called),
            "output_activation": graph.graph.output_activation(str(known["loss_function"])),
        }  # fmt: skip
    elif session.facts is not None:
        for name in ("layers", "activations", "watch_points", "output_activation"):
            known[name] = getattr(session.facts, name)
    return Facts(finished=finished, **known)
