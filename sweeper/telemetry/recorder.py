"""The observer that writes a run record."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.program.checkpoints import grad_wanted
from sweeper.program.models import (
    module_by_path,
    optimizer_parameters,
    parameter_paths,
    rate_of,
)
from sweeper.program.observer import Observer
from sweeper.program.session import LossCall, Session
from sweeper.telemetry.activations import ActivationSampler
from sweeper.telemetry.buffer import BLOCK, StepBuffer
from sweeper.telemetry.evaluation import Evaluation, correct_mask, mean_loss
from sweeper.telemetry.facts import Collector, GraphFacts, Tracer, build_facts
from sweeper.telemetry.layers import LayerSampler
from sweeper.telemetry.samples import Capture, SeenSamples, model_input
from sweeper.telemetry.schedule import activations_due, layers_due
from sweeper.telemetry.signals import SignalWriter
from sweeper.telemetry.targets import LossKey, Targets
from sweeper.types import Facts

HOPELESS_STEPS = 20
"""Consecutive non-finite losses after which a trial is ended: no weight recovers from NaN."""
LARGE_LOGITS = 4_000_000
"""Elements above which batch accuracy is only computed on sampled steps."""


class Recorder(Observer):
    """Records one run into its folder.

    Args:
        session: the run that is watched.
        folder: run folder; signals.jsonl, facts.json and captured.npz are written there.
        stop_when_hopeless: end the run once the loss is non-finite for good.
        swapped_to: activation that a remedy puts in place of the program's,
            for saturation and death.
        traced: take the facts from this run; by default when the session knows none.
    """

    def __init__(
        self,
        session: Session,
        folder: Path,
        *,
        stop_when_hopeless: bool = False,
        swapped_to: str = "",
        traced: bool | None = None,
    ) -> None:
        self.session = session
        self.folder = folder
        self.stop_when_hopeless = stop_when_hopeless
        self.swapped_to = swapped_to
        self.writer = SignalWriter(folder / "signals.jsonl")
        self.buffer = StepBuffer()
        self.collector = Collector()
        self.targets = Targets()
        self.tracer = Tracer() if (session.facts is None if traced is None else traced) else None
        self.graph: GraphFacts | None = None
        self.seen = SeenSamples()
        self.captures: dict[LossKey, Capture] = {}
        self.evaluation = Evaluation(self.seen)
        self.layers: LayerSampler | None = None
        self.activations: ActivationSampler | None = None
        self.ended = False
        self._rows: torch.Tensor | None = None
        self._logits: dict[LossKey, torch.Tensor] = {}
        self._checks: torch.Tensor | None = None
        self._pending: list[
            tuple[int, torch.Tensor | None, torch.Tensor | None, torch.Tensor, bool]
        ] = []
        self._step_rows: list[
            tuple[int, torch.Tensor | None, torch.Tensor | None, torch.Tensor, bool, LossKey]
        ] = []
        self._epochs: dict[int, int] = {}
        self._last_loader: int | None = None
        self._backwards = 0
        self._clip_total: Any = None
        self._clip_limit = math.inf
        self._layers_now = False
        self._stepping = False  # between the seams around a step: a closure is evaluated again
        self._non_finite = 0
        self._steps: list[int] = []

    # -- data --------------------------------------------------------------------------------------

    def epoch_started(self, index: int) -> None:
        self._epochs[index] = self._epochs.get(index, 0) + 1

    def batch_loaded(self, index: int) -> None:
        self._last_loader = index

    # -- model -------------------------------------------------------------------------------------

    def models_found(self, roots: list[nn.Module]) -> None:
        if self.tracer:
            self.tracer.start(roots, only_graph=not self.session.models.callable)
        else:
            self._watch(self.session.facts)

    def _watch(self, facts: Facts | None) -> None:
        if facts is None:
            return
        roots = self.session.roots
        if self.layers is None:
            order = {layer.name: i for i, layer in enumerate(facts.layers)}
            paths = parameter_paths(roots)
            wanted = [
                (paths[id(p)], p)
                for r in roots
                for p in r.parameters()
                if not is_lazy(p) and p.dim() >= 2 and id(p) in paths
            ]
            wanted.sort(key=lambda item: order.get(item[0].rpartition(".")[0], len(order)))
            self.layers = LayerSampler(wanted) if wanted else None
        if self.activations is None or not self.activations.running:
            sampler = ActivationSampler(facts.watch_points, module_by_path(roots), self.swapped_to)
            self.activations = None if sampler.empty else sampler

    def another_model(self) -> None:
        if self.activations and self.activations.running:
            self._close_window()
        self.layers = self.activations = None

    def function_applied(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        if self.tracer:
            self.tracer.function(name, args, result)

    def entry_forward(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if not grad_wanted():
            if self.session.step:
                self.evaluation.forward(args, kwargs)
            return
        if self._stepping or self.session.in_backward:
            return
        if module.training:
            self.collector.train_forwards += 1
        else:
            self.collector.train_forwards += 1
            self.collector.eval_mode_forwards += 1
        rows = model_input(args, kwargs)
        self._rows = rows
        self._checks = None
        if rows is not None:
            with torch.no_grad():
                self._checks = self.seen.checksum(rows)
            if not self.collector.input_dtype:
                self.collector.input_dtype = str(rows.dtype).removeprefix("torch.")
                self.collector.input_features = int(rows[0].numel())
        if (
            self.activations
            and not self.activations.running
            and activations_due(self.session.step)
            and self._last_window != self.session.step
        ):
            self._last_window = self.session.step
            self.activations.open(lambda: not grad_wanted())

    _last_window = -1

    def entry_output(self, module: nn.Module, output: Any) -> None:
        if not grad_wanted():
            self.evaluation.output(output)

    def compared(self, left: Any, right: Any) -> None:
        if self.session.step:
            self.evaluation.compare(left, right)

    def loss_computed(self, call: LossCall, value: torch.Tensor) -> None:
        if not torch.is_grad_enabled():
            if self.session.step:
                self.evaluation.loss_call(call, value)
            return
        if not value.requires_grad or self._stepping:
            return
        if self.tracer:
            self.tracer.loss(call)
        with torch.no_grad():
            self._training_loss(call, value)

    def _training_loss(self, call: LossCall, value: torch.Tensor) -> None:
        rows, checks = self._rows, self._checks
        key = self.targets.add(call, len(rows) if rows is not None else None)
        n = call.target.numel()
        large = call.input.numel() > LARGE_LOGITS and not layers_due(self.session.step)
        right = None if large else correct_mask(call)
        if checks is not None and n % len(checks):
            checks = None  # rows and targets do not match: fall back on the loader's epochs
        first_epoch = self._last_loader is not None and self._epochs.get(self._last_loader, 0) <= 1
        self._step_rows.append((n, checks, right, mean_loss(call, value), first_epoch, key))
        if (
            right is not None
            and call.function in ("cross_entropy", "nll_loss")
            and call.input.dim() > 1
        ):
            guesses = call.input.argmax(1).reshape(-1)
            self.buffer.put(majority=torch.bincount(guesses).max() / guesses.numel())
        if call.input.shape == call.target.shape and right is None:
            self.buffer.add("r2_error", (call.input.float() - call.target.float()).square().sum())
        capture = self.captures.setdefault(key, Capture())
        if rows is not None and not capture.full:
            per = n // len(rows) if n % len(rows) == 0 else 0
            if per:
                capture.add(rows, call.target.reshape(len(rows), -1).squeeze(-1), call.input)
        if self._rows is not None:
            self._logits[key] = call.input.detach()[:256]

    def backward(self, loss: torch.Tensor) -> None:
        if self._stepping:
            return
        if self.tracer and not self.tracer.done and self.session.roots:
            self.tracer.backward(loss, self.session.step)
            self.graph = GraphFacts(self.tracer, self.session.roots)
            sites = self.graph.activations()
            self._watch(
                Facts(layers=self.graph.layers(), watch_points=self.graph.watch_points(sites))
            )
        if not self._backwards:
            self._finish_evaluation()
            self._check_kept_gradients()
        self._backwards += 1
        self.buffer.add("loss", loss.detach().clone() if loss.numel() == 1 else loss.detach().sum())
        if self._last_loader is not None:
            self.collector.trained_loaders.add(self._last_loader)
        if self.activations and self.activations.running and self.activations.forward_done():
            self._close_window()

    def _check_kept_gradients(self) -> None:
        if not 1 <= self.session.step <= 12 or not self.session.primary or self.session.by_hand:
            return
        gradients = [
            p.grad.coalesce().values() if p.grad.is_sparse else p.grad
            for p in optimizer_parameters([self.session.primary])
            if p.grad is not None
        ]
        self.collector.kept_grads.append(
            any(bool(g.abs().max() > 0) for g in gradients[:4] if g.numel())
        )

    # -- steps -------------------------------------------------------------------------------------

    def program_clipped(
        self, kind: str, max_norm: float, norm_type: float, total_norm: Any
    ) -> None:
        if self._stepping:
            return
        key = (kind, max_norm, norm_type)
        self.collector.clips[key] = self.collector.clips.get(key, 0) + 1
        if kind == "norm" and norm_type == 2.0 and total_norm is not None:
            self._clip_total, self._clip_limit = total_norm, max_norm

    def gradients_ready(self, optimizer: torch.optim.Optimizer) -> None:
        if math.isnan(self.collector.first_step_at):
            self.collector.first_step_at = time.monotonic()
        self.collector.stepped(optimizer, self.session)
        if self.session.step < 20 or self.session.step % 50 == 0:
            self.collector.rates(optimizer)
        else:
            self.collector.last_rates(optimizer)
        if optimizer is not self.session.primary:
            return
        total = self._clip_total if self._clip_total is not None else _norm(optimizer)
        self.buffer.put(grad_norm=total)
        step = self.session.step
        self._layers_now = self.layers is not None and layers_due(step)
        if self._layers_now and self.layers is not None:
            factor: Any = 1.0
            if self._clip_total is not None:
                factor = (self._clip_limit / (self._clip_total + 1e-6)).clamp(max=1.0)
            self.layers.before(factor, optimizer)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        if optimizer is not self.session.primary:
            return
        clipped = (
            self._clip_total is not None
            or "clip_norm" in self.session.applied
            or self.collector.clips
        )
        norm = _norm(optimizer) if clipped else self.buffer.current["grad_norm"]
        self.buffer.put(clipped_norm=norm, lr=rate_of(optimizer.param_groups[0]))
        self._clip_total, self._clip_limit = None, math.inf
        self._stepping = True

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        if optimizer is not self.session.primary:
            return
        self._stepping = False
        step = self.session.step
        self._steps.append(step)
        if self._layers_now and self.layers is not None:
            self.writer.write(
                "layers", t=step, **self.layers.after(), **({} if step else {
                    "names": self.layers.names,
                    "sizes": [p.numel() for p in self.layers.parameters],
                })
            )  # fmt: skip
            self._layers_now = False
        self._summarise_rows()
        self.collector.backwards.append(self._backwards)
        self._backwards = 0
        self.buffer.end_step()
        if len(self.buffer.rows) >= BLOCK:
            self._flush()

    def step_skipped(self, optimizer: torch.optim.Optimizer) -> None:
        self.buffer.add("skipped", 1.0)

    def _summarise_rows(self) -> None:
        rows, self._step_rows = self._step_rows, []
        if not rows:
            return
        # Several losses of one batch: its samples count once, by the main one.
        rows = [r for r in rows if r[5] == self.targets.main] or rows
        n = sum(r[0] for r in rows)
        self.collector.batch_sizes.append(
            sum(len(r[1]) if r[1] is not None else r[0] for r in rows)
        )
        self.buffer.put(n=float(n), task_loss=sum(r[0] * r[3] for r in rows) / n)
        if all(r[2] is not None for r in rows):
            right = sum(
                (r[2].sum() for r in rows if r[2] is not None),
                torch.zeros((), device=rows[0][3].device),
            )
            self.buffer.put(
                accuracy=right / max(1, sum(r[2].numel() for r in rows if r[2] is not None))
            )
        for row in rows:
            self._pending.append((len(self.buffer.rows), *row[1:5]))

    def _fresh(self, n_rows: int) -> dict[str, list[float]]:
        """Columns over the block:
        samples not trained on before, how many were right, their mean loss.
        """
        fresh_n, right_n = [0.0] * n_rows, [math.nan] * n_rows
        loss_sum = [0.0] * n_rows
        for index, checks, right, loss, first_epoch in self._pending:
            if checks is None:
                count = float(right.numel()) if right is not None else 1.0
                share, mask = (1.0, None) if first_epoch else (0.0, None)
            else:
                fresh = self.seen.fresh(checks.double().cpu().numpy())
                share, mask = float(fresh.mean()), fresh
                count = float(right.numel() if right is not None else len(fresh)) * share
            if not share:
                continue
            fresh_n[index] += count if checks is not None or first_epoch else 0.0
            loss_sum[index] += float(loss) * count
            if right is not None:
                flags = right.cpu().numpy()
                if mask is not None and len(flags) % len(mask) == 0:
                    flags = flags[np.repeat(mask, len(flags) // len(mask))]
                right_n[index] = float(flags.sum()) + (
                    0.0 if math.isnan(right_n[index]) else right_n[index]
                )
        self._pending.clear()
        means = [s / n if n else math.nan for s, n in zip(loss_sum, fresh_n, strict=True)]
        return {"fresh_n": fresh_n, "fresh_correct": right_n, "fresh_loss": means}

    def _flush(self) -> None:
        n_rows = len(self.buffer.rows)
        if not n_rows:
            return
        columns = self.buffer.drain() | self._fresh(n_rows)
        steps, self._steps = self._steps, []
        self.writer.write("steps", t=steps, **columns)
        for value in columns.get("loss", []):
            self._non_finite = 0 if math.isfinite(value) else self._non_finite + 1
        if self.stop_when_hopeless and self._non_finite >= HOPELESS_STEPS:
            self.session.stop("hopeless")

    def _close_window(self) -> None:
        if self.activations:
            self.writer.write("activations", t=self.session.step, **self.activations.close())

    def _finish_evaluation(self) -> None:
        if not self.evaluation.empty:
            self.writer.write("eval", t=self.session.step, **self.evaluation.row())
        if not self.evaluation.empty or self.evaluation.rows:
            self.evaluation = Evaluation(self.seen)

    # -- facts -------------------------------------------------------------------------------------

    def scheduler_built(self, name: str) -> None:
        self.collector.schedulers[name] = None

    def compile_requested(self) -> None:
        self.collector.compiled = True

    def program_ended(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self.tracer:
            self.tracer.stop()
        self._flush()
        if self.activations and self.activations.running:
            self._close_window()
        self._finish_evaluation()
        if (main := self.targets.main) is not None:
            capture, logits = self.captures[main], self._logits.get(main)
            if logits is not None:
                capture.last_logits = logits.float().cpu().numpy()
            capture.save(self.folder / "captured.npz")
        finished = self.session.finished
        facts = build_facts(self.session, self.collector, self.targets, self.graph, finished)
        aside = self.folder / "facts.json.part"
        aside.write_text(json.dumps(facts.to_dict(), allow_nan=False))
        os.replace(aside, self.folder / "facts.json")
        self.writer.close()


def _norm(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """Global 2-norm of an optimizer's gradients (no synchronisation)."""
    gradients = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    gradients = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    if not gradients:
        return torch.zeros(())
    return torch.nn.utils.get_total_norm(gradients, 2.0)
