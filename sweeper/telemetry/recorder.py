"""The observer that writes a run record."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.program.checkpoints import grad_wanted
from sweeper.program.graph import tensors_in
from sweeper.program.models import (
    layer_of,
    module_by_path,
    optimizer_parameters,
    parameter_paths,
)
from sweeper.program.observer import Observer
from sweeper.program.session import LossCall, Session
from sweeper.telemetry.activations import ActivationSampler
from sweeper.telemetry.buffer import StepBuffer, fetch, ready
from sweeper.telemetry.capture import Captures
from sweeper.telemetry.evaluation import Evaluation
from sweeper.telemetry.facts import Collector, build_facts
from sweeper.telemetry.graph_facts import GraphFacts, Tracer
from sweeper.telemetry.layers import LayerSampler, global_norm
from sweeper.telemetry.losses import LossLog
from sweeper.telemetry.samples import Bags, Batch, SeenSamples, model_rows
from sweeper.telemetry.schedule import activations_due, block_length, details_due, layers_due
from sweeper.telemetry.signals import SignalWriter
from sweeper.telemetry.standing import Standings
from sweeper.telemetry.targets import Targets
from sweeper.types import Facts

HOPELESS_STEPS = 20
"""Consecutive non-finite losses after which a trial is ended: no weight recovers from NaN."""
KEPT_STEPS = range(1, 13)
"""Steps before whose first backward the gradients should have been cleared."""


class Recorder(Observer):
    """Records one run into its folder.

    Args:
        session: the run that is watched.
        folder: run folder; signals.jsonl, facts.json and captured.npz are written there.
        stop_when_hopeless: end the run once the loss is non-finite for good.
        standings: end the run at a rung at which it stands too low.
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
        standings: Standings | None = None,
        swapped_to: str = "",
        traced: bool | None = None,
    ) -> None:
        self.session = session
        self.folder = folder
        self.stop_when_hopeless = stop_when_hopeless
        self.standings = standings
        self.swapped_to = swapped_to
        self.writer = SignalWriter(folder / "signals.jsonl")
        self.buffer = StepBuffer()
        self.collector = Collector()
        self.targets = Targets()
        self.tracer = Tracer() if (session.facts is None if traced is None else traced) else None
        self.graph: GraphFacts | None = None
        self.seen = SeenSamples()
        self.captures = Captures(folder)
        self.losses = LossLog(self.seen, self.targets)
        self.evaluation = Evaluation(self.seen)
        self._evaluated = False  # something happened without gradients since the last backward
        self.layers: LayerSampler | None = None
        self.activations: ActivationSampler | None = None
        self.ended = False
        self._batch: Batch | None = None
        self._given: torch.Tensor | Bags | None = None  # its samples as the model got them
        self._left: list[torch.Tensor] = []
        self._samples = 0  # given to the models since the last step
        self._epochs: dict[int, int] = {}
        self._last_loader: int | None = None
        self._backwards = 0
        self._clip_total: Any = None
        self._clip_limit = math.inf
        self._details = self._sampled = True  # is this step looked at closely, are its layers
        self._norms: tuple[Any, Any] = (math.nan, math.nan)
        """Before and after clipping; steps that are not looked at closely repeat the last ones."""
        self._layers_now = False
        self._stepping = False  # between the seams around a step: a closure is evaluated again
        self._non_finite = 0
        self._steps: list[int] = []
        self._answer: torch.Tensor | None = None  # of the model in training, until its backward
        session.on_program_error(self._program_failed)

    # -- data --------------------------------------------------------------------------------------

    def epoch_started(self, index: int) -> None:
        self._epochs[index] = self._epochs.get(index, 0) + 1

    def batch_loaded(self, index: int) -> None:
        self._last_loader = index

    # -- model -------------------------------------------------------------------------------------

    def optimizer_built(self, optimizer: torch.optim.Optimizer) -> None:
        self.collector.built(optimizer)

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
            wanted.sort(key=lambda item: order.get(layer_of(item[0]), len(order)))
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
                self._evaluated = True
                self.evaluation.forward(args, kwargs)
            return
        if self._stepping or self.session.in_backward:
            return
        if module.training:
            self.collector.train_forwards += 1
        else:
            self.collector.train_forwards += 1
            self.collector.eval_mode_forwards += 1
        self._batch = self._given = self._answer = None
        if not self._details:
            return
        self._given = rows = model_rows(args, kwargs)
        if rows is not None:
            self._samples += len(rows)
            self._batch = Batch(rows, self.seen, repeated=not self.seen.due(self.session.step))
            if not self.collector.input_dtype:
                self.collector.input_of(rows)
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
        elif self._stepping or self.session.in_backward:
            return
        elif isinstance(output, torch.Tensor):
            self._answer = output.detach() if output.is_floating_point() else None
        else:
            plain = dict(output) if isinstance(output, dict) else output
            floats = (t for t in tensors_in(plain) if t.is_floating_point())
            self._answer = next((t.detach() for t in floats), None)

    def compared(self, left: Any, right: Any) -> None:
        if self.session.step:
            self._evaluated = True
            self.evaluation.compare(left, right)

    def subtracted(self, left: torch.Tensor, right: torch.Tensor) -> None:
        if self.session.step and self.evaluation.subtract(left, right):
            self._evaluated = True

    def scored(self, kind: str, true: Any, given: Any) -> None:
        if self.session.step and self.evaluation.score(kind, true, given):
            self._evaluated = True

    def loss_computed(self, call: LossCall, value: torch.Tensor) -> None:
        if not torch.is_grad_enabled():
            if self.session.step:
                self._evaluated = True
                self.evaluation.loss_call(call, value)
            return
        if not value.requires_grad or self._stepping or not self._details:
            return
        if self.tracer:
            self.tracer.loss(call)
        self._training_loss(call, value)

    def _training_loss(self, call: LossCall, value: torch.Tensor) -> None:
        loader, batch = self._last_loader, self._batch
        self.losses.add(
            len(self.buffer.rows), call, value, batch,
            first_epoch=loader is not None and self._epochs.get(loader, 0) <= 1,
            sampled=self._sampled,
        )  # fmt: skip
        if self._given is not None:
            self.captures.add(self._given, call)

    def backward(self, loss: torch.Tensor) -> None:
        if self._stepping:
            return
        self._answer = None
        if self.tracer and not self.tracer.done and self.session.roots:
            self.tracer.backward(loss, self.session.step)
            self.graph = GraphFacts(self.tracer, self.session.roots)
            sites = self.graph.activations()
            self._watch(
                Facts(layers=self.graph.layers(), watch_points=self.graph.watch_points(sites))
            )
        if not self._backwards:
            if self._evaluated:
                self._finish_evaluation()
            if self.session.step in KEPT_STEPS:
                self._check_kept_gradients()
        self._backwards += 1
        self.buffer.add("loss", ready(loss.detach().sum() if loss.dim() else loss))
        if self._last_loader is not None:
            self.collector.trained_loaders.add(self._last_loader)
        if self.activations and self.activations.running and self.activations.forward_done():
            self._close_window()

    def _check_kept_gradients(self) -> None:
        primary = self.session.primary
        if primary is None or self.session.by_hand:
            return
        gradients = [
            p.grad._values() if p.grad.is_sparse else p.grad
            for p in optimizer_parameters([primary])
            if p.grad is not None
        ]
        largest = [g.abs().max() for g in gradients[:4] if g.numel()]
        self._left.append(torch.stack(largest).amax() if largest else torch.zeros(()))

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
        self.collector.stepped(optimizer, self.session, sampled=self._sampled)
        if optimizer is not self.session.primary:
            return
        if self._details or self._clip_total is not None:
            total = self._clip_total
            total = ready(global_norm(optimizer) if total is None else total)
            self._norms = (total, self._norms[1])
        self.buffer.current["grad_norm"] = self._norms[0]
        self._layers_now = self._sampled and self.layers is not None
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
        before, norm = self._norms
        if not clipped:
            norm = before
        elif self._details:
            norm = ready(global_norm(optimizer))
        self._norms = (before, norm)
        rate = optimizer.param_groups[0].get("lr")
        if isinstance(rate, torch.Tensor):
            rate = rate.detach().clone().reshape(())
        self.buffer.current["clipped_norm"] = norm
        self.buffer.current["lr"] = math.nan if rate is None else rate
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
        self._given = None
        samples, self._samples = self._samples, 0
        self._sampled = layers_due(step + 1)
        sizes = self.losses.batch_sizes
        self._details = self._sampled or details_due(step + 1, sizes[-1] if sizes else 0)
        self.session.unobserved = not self._details
        if samples and not self.losses.heard(len(self.buffer.rows)):  # a loss of the program's own
            self.losses.batch_sizes.append(samples)
            self.buffer.put(n=float(samples))
        self.collector.backwards.append(self._backwards)
        self._backwards = 0
        self.buffer.end_step()
        if len(self.buffer.rows) >= block_length(step):
            self._flush()

    def step_skipped(self, optimizer: torch.optim.Optimizer) -> None:
        self.buffer.add("skipped", 1.0)

    def _flush(self) -> None:
        self.captures.drain()
        self.collector.kept_grads.extend(value > 0 for value in fetch(self._left))
        self._left.clear()
        n_rows = len(self.buffer.rows)
        if not n_rows:
            return
        columns = self.buffer.drain() | self.losses.columns(n_rows)
        steps, self._steps = self._steps, []
        self.writer.write("steps", t=steps, **columns)
        if not self.collector.first_losses:
            self.collector.first_losses = columns.get("loss", [])[:3]
        for value in columns.get("loss", []):
            self._non_finite = 0 if math.isfinite(value) else self._non_finite + 1
        if self.stop_when_hopeless and self._non_finite >= HOPELESS_STEPS:
            self.session.stop("hopeless")
        if self.standings is not None and not self.standings.add(steps, columns):
            self.session.stop("behind")

    def _program_failed(self, error: Exception) -> None:
        """A program that ends with an error between a forward and its backward is often stopped by
        the NaN of that forward (a loss of probabilities refuses it): that step counts, with a loss
        that is NaN, and inputs that are not finite themselves are kept."""
        answer, self._answer = self._answer, None
        if self.ended or answer is None or not bool(answer.isnan().any()):
            return
        given = self._given
        if isinstance(given, torch.Tensor) and not bool(given.isfinite().all()):
            self.captures.add_unlabelled(given)
        self.buffer.put(loss=math.nan, grad_norm=math.nan)
        self._steps.append(self.session.step)
        self.buffer.end_step()

    def _close_window(self) -> None:
        if self.activations:
            self.writer.write("activations", t=self.session.step, **self.activations.close())

    def _finish_evaluation(self) -> None:
        self._evaluated = False
        if not self.evaluation.empty:
            self.writer.write("eval", t=self.session.step, **self.evaluation.row())
        if self.evaluation.begun:
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
        self.captures.save(self.targets.main, self.folder / "captured.npz")
        finished = self.session.finished
        self.collector.batch_sizes = self.losses.batch_sizes
        facts = build_facts(self.session, self.collector, self.targets, self.graph, finished)
        aside = self.folder / "facts.json.part"
        aside.write_text(json.dumps(facts.to_dict(), allow_nan=False))
        os.replace(aside, self.folder / "facts.json")
        self.writer.close()
