"""Facts: what the run showed the program to be, collected while it runs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.program.checkpoints import grad_wanted
from sweeper.program.finding import holders_of
from sweeper.program.graph import (
    ACTIVATION_MODULES,
    ACTIVATIONS,
    NORM_OPERATIONS,
    Graph,
    ModuleStack,
    Node,
    TraceMode,
    enter_below,
    leave,
)
from sweeper.program.loose import Held
from sweeper.program.models import (
    is_transposed_linear,
    left_out,
    module_paths,
    optimizer_parameters,
    path_outside,
    rate_of,
)
from sweeper.program.session import LossCall, Session
from sweeper.telemetry.samples import Bags
from sweeper.telemetry.targets import Targets
from sweeper.types import (
    ActivationSite,
    ClipFact,
    Facts,
    LayerFact,
    LoaderFact,
    OptimizerFact,
    WatchPoint,
)

NORM_MODULES = (
    nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm,
)  # fmt: skip


@dataclass
class Tracer:
    """Traces the first training forwards of the baseline, until every model has been seen."""

    stack: ModuleStack = field(default_factory=ModuleStack)
    mode: TraceMode | None = None
    losses: list[tuple[str, int]] = field(default_factory=list)
    """(name of the loss function or nothing, node that it is given)"""
    done: bool = False
    _waiting: list[set[int]] = field(default_factory=list)  # ids of the modules of each root
    _since_backward: int = 0

    def start(self, roots: list[nn.Module], only_graph: bool) -> None:
        if self.mode is None and not self.done:
            self._waiting = [{id(m) for m in root.modules()} for root in roots]
            self.stack.__enter__()
            self.mode = TraceMode(self.stack, holders_of(roots), grad_wanted, only_graph)
            enter_below(self.mode)

    def loss(self, call: LossCall) -> None:
        if self.mode is not None and not self.done and torch.is_grad_enabled():
            self.losses.append((call.function, self.mode.producer.get(id(call.input), -1)))
            self._since_backward += 1

    def function(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        if self.mode is not None and self.mode.active:
            self.mode.record(name, args, {}, result, own_function=True)

    def backward(self, loss: torch.Tensor, step: int) -> None:
        """A backward begins; further models may still be called, up to the second step's."""
        if self.mode is None or self.done:
            return
        if not self._since_backward:
            self.losses.append(("", self.mode.producer.get(id(loss), -1)))
        self._since_backward = 0
        seen = set(self.mode.modules)
        if step or all(root & seen for root in self._waiting):
            self.stop()

    def stop(self) -> None:
        if self.mode is not None and not self.done:
            self.done = True
            leave(self.mode)
            self.mode.close()
            self.stack.__exit__()


class GraphFacts:
    """Layers, activation sites and watch points of a traced forward."""

    def __init__(self, tracer: Tracer, roots: list[nn.Module]) -> None:
        self.paths = module_paths(roots)
        mode = tracer.mode
        self.modules = mode.modules if mode else {}
        nodes = mode.nodes if mode else []
        self._name_composed(nodes)
        self.graph = Graph(nodes, tracer.losses)

    def _name_composed(self, nodes: list[Node]) -> None:
        """An activation module that is written out in several operations (a GELU by tanh) counts as
        one: its last operation takes the name, the others none."""
        for node, after in zip(nodes, [*nodes[1:], None], strict=True):
            module = self.modules.get(node.module)
            if module is None or isinstance(module, ACTIVATION_MODULES):
                continue
            if name := _composed_activation(module):
                last = after is None or after.module != node.module
                node.operation = name if last else "inside"

    def layers(self) -> tuple[LayerFact, ...]:
        head = self.graph.head()
        out: dict[str, LayerFact] = {}
        for node in self.graph.nodes:
            path = self.paths.get(node.module)
            if path is None or path in out or not self.graph.is_weight(node):
                continue
            module = self.modules[node.module]
            if not any(p.dim() >= 2 for p in _own_parameters(module)):
                continue
            n_in, n_out = _widths(module)
            kind = "Parameter" if isinstance(module, Held) else type(module).__name__
            out[path] = LayerFact(
                name=path, kind=kind, n_in=n_in, n_out=n_out,
                is_output=node.index in head, followed_by=self.graph.followed_by(node),
                in_attention=(
                    self._in_attention(node) or node.operation == "multi_head_attention_forward"
                ),
            )  # fmt: skip
        return tuple(out.values())

    def _in_attention(self, node: Node) -> bool:
        """Query, key, value or output projection:
        its neighbour among weight operations has no weight of its own.
        """
        upstream = [n for n in self.graph.upstream(node) if self.graph.is_weight(n)]
        if any(not n.parameter for n in upstream):
            return True
        seen, todo = {node.index}, [node.index]
        while todo:
            for index in self.graph.nodes[todo.pop()].consumers:
                consumer = self.graph.nodes[index]
                if index in seen:
                    continue
                seen.add(index)
                if self.graph.is_weight(consumer):
                    if not consumer.parameter:
                        return True
                elif consumer.operation not in NORM_OPERATIONS:
                    todo.append(index)
        return False

    def activations(self) -> tuple[ActivationSite, ...]:
        found: dict[str, ActivationSite] = {}
        for node in self.graph.nodes:
            function = ACTIVATIONS.get(node.operation)
            if function is None or node.index not in self.graph.live:
                continue
            module = self.modules.get(node.module)
            path = self._path(module)
            as_module = module is not None and (
                isinstance(module, ACTIVATION_MODULES) or bool(_composed_activation(module))
            )
            site = path if as_module else f"{path}|{function}|{node.site}"
            fate = self.graph.fate(node)
            reason = {
                "gate": "its output gates another tensor",
                "output": "its output leaves the model",
            }.get(fate, "")
            known = found.get(site)
            if known is not None and (known.reason or not reason):
                continue
            found[site] = ActivationSite(
                site=site, kind="module" if as_module else "call", function=function,
                swappable=not reason, reason=reason,
            )  # fmt: skip
        found.update(self._recurrent())
        return tuple(found.values())

    def _path(self, module: nn.Module | None) -> str:
        if module is None:
            return ""
        return self.paths.get(id(module), path_outside(module))

    def _recurrent(self) -> dict[str, ActivationSite]:
        return {
            path: ActivationSite(
                site=path, kind="module", function=module.nonlinearity, swappable=True
            )
            for key, module in self.modules.items()
            if isinstance(module, (nn.RNN, nn.RNNCell))
            and (path := self.paths.get(key)) is not None
        }

    def dropout(self) -> tuple[float, ...]:
        """Rates of dropout that is called as a function, each place once."""
        found = {
            (node.module, node.site): node.dropout
            for node in self.graph.nodes
            if node.dropout > 0
            and not isinstance(self.modules.get(node.module), nn.modules.dropout._DropoutNd)
        }
        return tuple(found.values())

    def watch_points(self, sites: tuple[ActivationSite, ...]) -> tuple[WatchPoint, ...]:
        swappable = {s.site for s in sites if s.swappable}
        head = self.graph.head()
        out: dict[str, WatchPoint] = {}
        for node in self.graph.nodes:
            path = self.paths.get(node.module)
            if path is None or path in out or not self.graph.is_weight(node):
                continue
            if isinstance(self.modules[node.module], Held):
                continue  # never called, so that nothing can be hooked
            upstream = list(self.graph.upstream(node))
            weights = [n for n in upstream if self.graph.is_weight(n)]
            if not weights or node.operation in ("multi_head_attention_forward", "embedding"):
                continue  # reads the data itself, or is called with several inputs
            hook, function, can_swap = path, "", False
            for n in upstream:
                module = self.modules.get(n.module)
                if isinstance(module, nn.modules.dropout._DropoutNd) and hook == path:
                    hook = self.paths.get(n.module, path)
                if n.operation in ACTIVATIONS:
                    function = ACTIVATIONS[n.operation]
                    where = self._path(module)
                    can_swap = where in swappable or f"{where}|{function}|{n.site}" in swappable
                    break
                if self.graph.is_weight(n) or n.operation in NORM_OPERATIONS:
                    break
            out[path] = WatchPoint(
                layer=path,
                hook=hook,
                function=function,
                pooled=node.index in head,
                swappable=can_swap,
            )
        return tuple(out.values())


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


def _composed_activation(module: nn.Module) -> str:
    """Name of the activation that a module of another library is, or nothing: no weights, no
    parts."""
    if any(True for _ in module.parameters()) or any(True for _ in module.children()):
        return ""
    name = type(module).__name__.lower()
    words = {"gelu": "gelu", "silu": "silu", "swish": "silu", "mish": "mish", "relu": "relu"}
    return next((known for word, known in words.items() if word in name), "")


def _own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that a module computes with: its own, and those that make up a parametrised
    weight (weight and spectral normalisation)."""
    parts = getattr(module, "parametrizations", None)
    more = list(parts.parameters()) if isinstance(parts, nn.Module) else []
    return [*module.parameters(recurse=False), *more]


def _widths(module: nn.Module) -> tuple[int, int]:
    if isinstance(module, Held):  # rows @ matrix
        shape = module.tensor.shape
        return (int(shape[0]), int(shape[1])) if len(shape) > 1 else (0, 0)
    for a, b in (
        ("in_features", "out_features"), ("in_channels", "out_channels"),
        ("input_size", "hidden_size"), ("num_embeddings", "embedding_dim"),
    ):  # fmt: skip
        if hasattr(module, a) and hasattr(module, b):
            return int(getattr(module, a)), int(getattr(module, b))
    transposed = is_transposed_linear(module)
    for parameter in module.parameters(recurse=False):
        if parameter.dim() >= 2:
            shape = parameter.shape[::-1] if transposed else parameter.shape
            return int(shape[1]), int(shape[0])
    return 0, 0


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

    def stepped(self, optimizer: torch.optim.Optimizer, session: Session) -> None:
        """Before a step: what is cheap enough to be looked at every time."""
        self.own_steps[id(optimizer)] = self.own_steps.get(id(optimizer), 0) + 1
        self.with_closure |= session.with_closure
        self.in_backward |= session.in_backward

    def last_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """The cheap part of `rates`, at every step; a rate in a tensor is not looked at."""
        rate = optimizer.param_groups[0].get("lr")
        if isinstance(rate, torch.Tensor):
            return
        if self.last_lr.get(id(optimizer)) != rate_of(optimizer.param_groups[0]):
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
        ) + left_out(session.optimizers, session.roots)
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
