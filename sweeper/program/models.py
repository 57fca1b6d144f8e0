"""Find the models that own an optimizer's parameters among the modules that are alive."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.program.lazy import elements
from sweeper.program.loose import LooseParameters


def optimizer_parameters(optimizers: Iterable[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """Parameters of all groups, each once, in order."""
    seen: dict[int, torch.Tensor] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                seen.setdefault(id(parameter), parameter)
    return list(seen.values())


def rate_of(group: Mapping[str, Any]) -> float:
    """Learning rate of a parameter group; NaN where it has none (a relative step, say)."""
    rate = group.get("lr")
    return math.nan if rate is None else float(rate)


MAX_NODES = 200_000
"""Autograd nodes after which the search for parameters in them ends."""


def find_roots(
    parameters: Iterable[torch.Tensor], given: Iterable[torch.Tensor] = ()
) -> list[nn.Module]:
    """Outermost living modules that own at least one of ``parameters``, most parameters first.

    A model called before the trained one, an encoder before its head, belongs to the training too
    even when no optimizer has its parameters: they are in the autograd graph of the tensors that
    the trained one is ``given``.

    The garbage collector knows every module however it was made (unpickled, built by a library);
    a registry of constructors would miss those.
    """
    order = {id(p): i for i, p in enumerate(parameters)}
    wanted = set(order)
    modules = living_modules()
    if not any(_owns(module, wanted) for module in modules):
        return []
    wanted |= _in_graphs(given)
    owners = [module for module in modules if _owns(module, wanted)]
    parents = _parents(modules)
    roots: dict[int, nn.Module] = {}
    for owner in owners:
        top, visited = owner, {id(owner)}
        while (parent := parents.get(id(top))) is not None and id(parent) not in visited:
            visited.add(id(parent))
            top = parent
        roots.setdefault(id(top), top)
    # Between equals the optimizer's order decides: paths must be the same in every run.
    return sorted(
        roots.values(),
        key=lambda m: (
            -elements(m),
            min((order.get(id(p), len(order)) for p in m.parameters()), default=len(order)),
        ),
    )


def shapes_of(module: nn.Module) -> tuple[Any, ...]:
    """What tells a model from one of another kind: its class and its parameters."""
    named = module.named_parameters()
    shapes = tuple((name, () if is_lazy(p) else tuple(p.shape)) for name, p in named)
    return type(module).__name__, shapes


def copies_of(root: nn.Module, roots: Iterable[nn.Module]) -> list[nn.Module]:
    """Living modules of the same kind that are no part of ``roots``: an averaged copy, a target
    network."""
    parts = {id(part) for r in roots for part in r.modules()}
    shapes = shapes_of(root)
    return [
        module
        for module in living_modules()
        if type(module) is type(root) and id(module) not in parts and shapes_of(module) == shapes
    ]


def left_out(optimizers: Iterable[torch.optim.Optimizer], roots: list[nn.Module]) -> int:
    """Elements of parameters outside ``roots`` that hold a gradient and belong to no optimizer: of
    models that are called after the trained ones."""
    known = {id(p) for p in optimizer_parameters(optimizers)}
    known |= {id(p) for root in roots for p in root.parameters()}
    count = 0
    for module in living_modules():
        for parameter in (module.__dict__.get("_parameters") or {}).values():
            if parameter is None or id(parameter) in known or not parameter.requires_grad:
                continue
            if parameter.grad is not None:
                known.add(id(parameter))
                count += parameter.numel()
    return count


def living_modules() -> list[nn.Module]:
    """Every module that the garbage collector knows."""
    # A list: a generator would be among the objects that it holds, and keep them all alive.
    # type() first: isinstance would trigger __class__ properties of lazy proxies.
    return [found for found in gc.get_objects() if issubclass(type(found), nn.Module)]


def _owns(module: nn.Module, wanted: set[int]) -> bool:
    own = module.__dict__.get("_parameters") or {}
    return any(id(p) in wanted for p in own.values() if p is not None)


def _in_graphs(given: Iterable[torch.Tensor]) -> set[int]:
    """id of each parameter that the tensors were computed from with gradients."""
    todo = [node for tensor in given if (node := tensor.grad_fn) is not None]
    seen, found = set(todo), set()
    while todo and len(seen) < MAX_NODES:
        node = todo.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                todo.append(below)
    return found


def _parents(modules: Iterable[nn.Module]) -> dict[int, nn.Module]:
    parents: dict[int, nn.Module] = {}
    for module in modules:
        for child in (module.__dict__.get("_modules") or {}).values():
            if child is not None:
                parents.setdefault(id(child), module)
    return parents


def is_transposed_linear(module: nn.Module) -> bool:
    """A Linear whose weight is [in, out], as GPT-2's Conv1D (transformers and its many copies)."""
    weight, n_out = getattr(module, "weight", None), getattr(module, "nf", None)
    return (
        type(module).__name__ == "Conv1D"
        and isinstance(weight, torch.Tensor)
        and weight.dim() == 2
        and weight.shape[1] == n_out
    )


def _prefixes(roots: list[nn.Module]) -> list[str]:
    """What the paths of each root begin with: nothing for a single one, else its position (``1:``).

    Loose parameters have the names of the program's own variables.
    """
    modules = [root for root in roots if not isinstance(root, LooseParameters)]
    many = len(modules) > 1
    return [
        f"{position}:" if many and not isinstance(root, LooseParameters) else ""
        for position, root in enumerate(roots)
    ]


def path_outside(module: nn.Module) -> str:
    """What stands for the path of a module that is part of no root (it keeps its layers in a plain
    list)."""
    return f"?{type(module).__name__}"


def module_paths(roots: list[nn.Module]) -> dict[int, str]:
    """id(module) -> path; with several roots a path begins with the root's position (``1:fc``)."""
    paths: dict[int, str] = {}
    for prefix, root in zip(_prefixes(roots), roots, strict=True):
        for name, module in root.named_modules():
            paths.setdefault(id(module), prefix + name)
    return paths


def module_by_path(roots: list[nn.Module]) -> dict[str, nn.Module]:
    """The inverse of `module_paths`."""
    found: dict[str, nn.Module] = {}
    for prefix, root in zip(_prefixes(roots), roots, strict=True):
        for name, module in root.named_modules():
            found.setdefault(prefix + name, module)
    return found


PARAMETRIZED = ".parametrizations."
"""In paths of parameters from which torch computes a weight."""


def layer_of(path: str) -> str:
    """Path of the module that computes with the parameter of a path: ``0:a.weight`` -> ``0:a``."""
    if PARAMETRIZED in path:
        return path.partition(PARAMETRIZED)[0]
    module, dot, _ = path.rpartition(".")
    return module if dot else path[: path.find(":") + 1]


def parameter_paths(roots: list[nn.Module]) -> dict[int, str]:
    """id(parameter) -> path, as `module_paths`; a tied parameter keeps its first name."""
    paths: dict[int, str] = {}
    for prefix, root in zip(_prefixes(roots), roots, strict=True):
        for name, parameter in root.named_parameters():
            paths.setdefault(id(parameter), prefix + name)
    return paths
