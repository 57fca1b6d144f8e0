"""Facts of one traced forward: layers, activation sites, and where activations are watched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
from sweeper.program.models import is_transposed_linear, module_paths, path_outside
from sweeper.program.session import LossCall
from sweeper.types import ActivationSite, LayerFact, WatchPoint


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
