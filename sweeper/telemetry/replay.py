"""What a model makes of its first training batches once the program is over.

Two questions that watching alone cannot answer. What can the model do without its dropout, and in
eval mode? A program without an evaluation of its own shows training batches only, which dropout
disturbs. And can model and loss learn one batch by heart from fresh weights under a usual optimizer
(TheDeepChecker and Karpathy's recipe ask the same)? If not, no hyperparameter will do.

The batches are kept as the model and the loss got them; no data are loaded again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from sweeper.program.graph import tensors_in
from sweeper.program.observer import Observer
from sweeper.program.session import LossCall, Session
from sweeper.telemetry.answers import correct_mask, mean_loss
from sweeper.telemetry.samples import model_input
from sweeper.telemetry.targets import MANY_TARGETS, ConstantAnswer
from sweeper.types import Replay, jsonable

FILE = "replay.json"
MOST_ROWS = 1024
MOST_BYTES = 16 * 2**20
MOST_SECONDS = 2.0
"""For each of the two questions."""
BATCH = 32
"""Samples to be learnt by heart (TheDeepChecker takes 16)."""
MOST_STEPS = 200
RATES = (3e-3, 3e-4, 3e-2)
"""Of Adam, tried in turn: around its default."""
BY_HEART = 0.9
"""Skill from which the batch counts as learnt (TheDeepChecker: 95 % of it right)."""
ILL, ILL_TOKENS = 0.5, 0.1
"""Skill on training batches under which the question is asked at all; of token models in nats."""


@dataclass(frozen=True)
class Kept:
    """One training batch, and how the loss's input follows from the model's output."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rows: int
    call: LossCall
    index: int
    transposed: bool

    def run(self) -> LossCall | None:
        """The loss call that the model as it is now leads to."""
        tensors = list(tensors_in(_plain(self.module(*self.args, **self.kwargs))))
        if self.index >= len(tensors):
            return None
        given = tensors[self.index].transpose(1, 2) if self.transposed else tensors[self.index]
        wanted = self.call.input.shape
        given = given.reshape(-1, *wanted[1:]) if wanted else given.reshape(())
        return replace(self.call, input=given)

    def loss(self, call: LossCall) -> torch.Tensor:
        value: torch.Tensor = F.__dict__[call.function](call.input, call.target, **call.options)
        return value

    @property
    def varied(self) -> bool:
        """Its targets differ, so that there is something to learn by heart."""
        flat = self.call.target.reshape(-1)
        return bool(flat.numel()) and bool((flat != flat[0]).any())

    def first(self, n: int) -> Kept:
        """The first ``n`` samples, where every tensor says which of its rows are whose."""
        tensors = list(tensors_in([self.args, self.kwargs]))
        if self.rows <= n or any(len(t) != self.rows for t in tensors if t.dim()):
            return self
        per, rest = divmod(len(self.call.target), self.rows) if self.call.target.dim() else (0, 1)
        if rest:
            return self
        return replace(
            self, args=_cut(self.args, n), kwargs=_cut(self.kwargs, n), rows=n,
            call=replace(self.call, target=self.call.target[: n * per]),
        )  # fmt: skip


class Replayer(Observer):
    """Keeps the first batches of a baseline run and answers when the program is over."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session, self.folder = session, folder
        self.kept: list[Kept] = []
        self.rows = self.bytes = 0
        self._given: tuple[nn.Module, tuple[Any, ...], dict[str, Any]] | None = None
        self._output: list[torch.Tensor] = []
        self._inside: LossCall | None = None

    @property
    def full(self) -> bool:
        return self.rows >= MOST_ROWS or self.bytes >= MOST_BYTES or len(self.kept) >= 64

    def entry_forward(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if torch.is_grad_enabled() and not self.full:
            self._given, self._output, self._inside = (module, args, kwargs), [], None

    def entry_output(self, module: nn.Module, output: Any) -> None:
        if self._given is None or self._given[0] is not module:
            return
        self._output = list(tensors_in(_plain(output)))
        if self._inside is not None:  # the model computes its loss itself
            self._keep(self._inside)

    def loss_computed(self, call: LossCall, value: torch.Tensor) -> None:
        if self._given is None or not value.requires_grad:
            return
        if self._output:
            self._keep(call)
        else:
            self._inside = call

    def _keep(self, call: LossCall) -> None:
        given, self._given, self._inside = self._given, None, None
        if given is None:
            return
        module, args, kwargs = given
        rows = model_input(args, kwargs)
        tensors = list(tensors_in([args, kwargs]))
        if rows is None or any(t.requires_grad for t in tensors):
            return  # what another model made cannot be made again
        where = _where(call.input, self._output)
        size = sum(t.numel() * t.element_size() for t in tensors)
        if where is None or size > MOST_BYTES:
            return
        still = replace(call, input=call.input.detach()[:0], target=_copy(call.target))
        if call.input.dim() < 1:
            return
        self.kept.append(Kept(module, _copy(args), _copy(kwargs), len(rows), still, *where))
        self.rows += len(rows)
        self.bytes += size
        if self.full and self in self.session.observers:
            self.session.observers.remove(self)  # nothing more to hear

    def program_ended(self) -> None:
        """Write ``replay.json``."""
        self._given, self._output, self._inside = None, [], None
        if not self.kept or not self.session.step:
            return
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        with (
            self.session.unwatched(),
            torch.random.fork_rng(devices=devices),
            warnings.catch_warnings(action="ignore"),  # of passes that the program did not make
        ):
            found = self._answers()
        path = self.folder / FILE
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(jsonable(asdict(found)), allow_nan=False))
        os.replace(aside, path)

    def _answers(self) -> Replay:
        roots = self.session.roots
        with torch.no_grad(), _modes(roots):
            _set(roots, lambda m: not isinstance(m, _DropoutNd))
            train = _measure(self.kept)
            _set(roots, lambda m: False)
            evaluated = _measure(self.kept)
        found = Replay(
            n=train.n, skill=train.skill, loss=train.loss, eval_skill=evaluated.skill,
            eval_loss=evaluated.loss, recall=evaluated.recall, class_counts=evaluated.counts,
        )  # fmt: skip
        if train.skill >= (ILL_TOKENS if train.tokens else ILL):
            return found
        with _modes(roots):
            _set(roots, lambda m: not isinstance(m, _DropoutNd))
            batch = next((b for k in self.kept if (b := k.first(BATCH)).varied), None)
            return _by_heart(found, batch, roots) if batch is not None else found


@dataclass
class _Sums:
    """Measures of some batches."""

    n: int = 0
    tokens: bool = False
    loss_sum: float = 0.0
    losses: float = 0.0
    error: float = 0.0
    constant: ConstantAnswer = field(default_factory=ConstantAnswer)
    skill: float = math.nan
    right: float = math.nan
    """Skill by the share of right answers, of token models too; R squared in a regression."""
    loss: float = math.nan
    recall: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


def _measure(batches: list[Kept], seconds: float = MOST_SECONDS) -> _Sums:
    """Skill over the constant answer of these batches, their loss, and the recall of each class."""
    until = time.monotonic() + seconds
    sums, targets, hits = _Sums(), [], []
    for batch in batches:
        call = batch.run()
        if call is None or time.monotonic() > until:
            break
        sums.loss_sum += float(mean_loss(call, batch.loss(call)))
        sums.losses += 1
        right = correct_mask(call)
        labels = call.target.reshape(-1)
        if right is not None and len(right) == len(labels) and labels.dim() == 1:
            hits.append(right.cpu())
            targets.append(labels.cpu())
        elif call.input.numel() == call.target.numel():
            error = call.input.reshape(-1).double() - labels.double()
            sums.error += float(error.square().sum())
            sums.constant.add(call.target)
            targets.append(labels.cpu())
        sums.n += len(labels)
        sums.tokens = len(labels) >= MANY_TARGETS * batch.rows
    sums.loss = sums.loss_sum / sums.losses if sums.losses else math.nan
    if targets:
        _skill(sums, torch.cat(targets), torch.cat(hits) if hits else None)
    return sums


def _tokens(sums: _Sums, counts: torch.Tensor) -> None:
    """Of token models the skill in nats over the unigram entropy."""
    shares = counts.double() / counts.sum()
    entropy = float(-(shares * shares.log()).sum())
    if sums.tokens and entropy > 0:
        sums.skill = (entropy - sums.loss) / entropy


def _skill(sums: _Sums, targets: torch.Tensor, hits: torch.Tensor | None) -> None:
    if hits is None:
        spread = sums.constant.error
        error = sums.error / max(1, sums.constant.n)
        sums.skill = sums.right = 1 - error / spread if spread > 0 else math.nan
        return
    if targets.is_floating_point():
        targets = (targets > 0.5).long()
    classes, inverse, counts = torch.unique(targets, return_inverse=True, return_counts=True)
    prior = float(counts.max()) / len(targets)
    accuracy = float(hits.double().mean())
    sums.skill = sums.right = (accuracy - prior) / (1 - prior) if prior < 1 else math.nan
    _tokens(sums, counts)
    if len(classes) <= 1000:
        right = torch.zeros(len(classes), dtype=torch.double)
        right.index_add_(0, inverse, hits.double())
        sums.recall = tuple((right / counts).tolist())
        sums.counts = tuple(int(c) for c in counts)


def _by_heart(found: Replay, batch: Kept, roots: list[nn.Module]) -> Replay:
    """Train the model anew on one batch, in place: the program is over."""
    torch.manual_seed(0)
    parameters = [p for root in roots for p in root.parameters() if p.requires_grad]
    until = time.monotonic() + MOST_SECONDS
    best, steps = -math.inf, 0
    for rate in RATES:
        _reset(roots)
        with contextlib.suppress(RuntimeError):  # no graph to the parameters, or none at all
            made, skill = _train(batch, torch.optim.Adam(parameters, lr=rate), until)
            best, steps = max(best, skill), steps + made
        if best >= BY_HEART or time.monotonic() > until:
            break
    if not steps:
        return found
    # Worse than guessing all the time, or never finite.
    skill = max(best, -1.0)
    return replace(found, batch=batch.rows, batch_skill=skill, batch_steps=steps)


def _train(batch: Kept, optimizer: torch.optim.Optimizer, until: float) -> tuple[int, float]:
    """(steps made, best skill on the batch)."""
    best = -math.inf
    for step in range(MOST_STEPS):
        optimizer.zero_grad()
        call = batch.run()
        if call is None:
            return step, best
        value = batch.loss(call)
        value = value if value.dim() == 0 else value.mean()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        late = time.monotonic() > until
        if step % 20 == 19 or late:
            with torch.no_grad():
                skill = _measure([batch]).right
            best = max(best, skill) if math.isfinite(skill) else best
            if best >= BY_HEART or late:
                return step + 1, best
    return MOST_STEPS, best


def _reset(roots: list[nn.Module]) -> None:
    """torch's own first weights; a parameter that its module cannot draw keeps its value if that is
    finite."""
    for module in (m for root in roots for m in root.modules()):
        for name in ("reset_parameters", "_reset_parameters"):
            reset = getattr(module, name, None)
            if callable(reset):
                with contextlib.suppress(Exception):
                    reset()
                break
    with torch.no_grad():
        for parameter in (p for root in roots for p in root.parameters()):
            if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
                parameter.normal_(0.0, 0.02)


def _where(wanted: torch.Tensor, outputs: list[torch.Tensor]) -> tuple[int, bool] | None:
    """(place among the outputs, transposed) of the tensor that the loss was given a view of."""
    for index, output in enumerate(outputs):
        if output.data_ptr() != wanted.data_ptr() or output.numel() != wanted.numel():
            continue
        if output is wanted or (output.is_contiguous() and wanted.is_contiguous()):
            return index, False
        if output.dim() >= 3 and wanted.shape == output.transpose(1, 2).shape:
            return index, True
        return (index, False) if wanted.shape == output.shape else None
    return None


def _plain(output: Any) -> Any:
    return dict(output) if isinstance(output, dict) else output


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return _mapped(value, _copy)


def _cut(value: Any, n: int) -> Any:
    if isinstance(value, torch.Tensor):
        return value[:n] if value.dim() else value
    return _mapped(value, lambda item: _cut(item, n))


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """``function`` of everything in plain lists, tuples and dicts; other objects as they are."""
    if type(value) in (list, tuple):
        return type(value)(function(item) for item in value)
    if type(value) is dict:
        return {key: function(item) for key, item in value.items()}
    return value


def _set(roots: list[nn.Module], training: Callable[[nn.Module], bool]) -> None:
    for module in (m for root in roots for m in root.modules()):
        module.training = training(module)


@contextlib.contextmanager
def _modes(roots: list[nn.Module]) -> Iterator[None]:
    """Modes and buffers (running statistics) as they were, afterwards."""
    modes = [(m, m.training) for root in roots for m in root.modules()]
    buffers = [(b, b.detach().clone()) for root in roots for b in root.buffers()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
