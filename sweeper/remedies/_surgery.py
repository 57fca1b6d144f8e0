"""What several surgeries share: the layers they operate on, the optimizer's right group, torch's
fused paths, and the proof of use. Imports torch: child only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sweeper.program.models import module_by_path, optimizer_parameters
from sweeper.remedies._guard import operate
from sweeper.remedies._layers import (
    CONVS,
    NORMS,
    every_module,
    frozen_ids,
    inside_attention,
    is_layer,
)
from sweeper.remedies._operation import CountedFunction, Operation, join_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeper.program.session import Session
    from sweeper.types import Facts, LayerFact

__all__ = [
    "CONVS", "NORMS", "CountedFunction", "Operation", "close_fast_paths", "every_module", "finish",
    "group_like", "held", "hidden_modules", "inside_attention", "join", "operate", "trained",
]  # fmt: skip
ONLY_MATRICES = ("Muon",)
"""Optimizers that take no vectors, so that no normalisation can join them."""


def hidden_modules(
    operation: Operation, layers_of: Callable[[Facts], Iterable[LayerFact]]
) -> list[nn.Module]:
    """The Linear and conv modules that ``layers_of(facts)`` names, each once; frozen ones are left
    alone.

    Without facts: all but the last of those outside attention.
    """
    facts, roots = operation.session.facts, operation.roots
    found: list[nn.Module]
    if facts is not None:
        by_path = module_by_path(roots)
        found = [by_path[la.name] for la in layers_of(facts) if la.name in by_path]
    else:
        skipped = inside_attention(roots)
        found = [m for m in every_module(roots) if id(m) not in skipped and is_layer(m)][:-1]
    is_trained = trained(roots)
    usable = [m for m in {id(m): m for m in found}.values() if is_layer(m) and is_trained(m)]
    operation.refuse_lazy(usable)
    return usable


def trained(roots: list[nn.Module]) -> Callable[[nn.Module], bool]:
    """Whether a module of ``roots`` is not frozen."""
    frozen = frozen_ids(roots)
    return lambda module: id(module) not in frozen


def held(session: Session) -> set[int]:
    """Ids of the parameters that an optimizer holds."""
    return {id(p) for p in optimizer_parameters(session.optimizers)}


def join(
    session: Session,
    remedy: str,
    new: list[nn.Parameter],
    beside: nn.Module,
    roots: list[nn.Module],
) -> None:
    """Hand parameters to the optimizer that holds ``beside``, or else any part of its model."""
    like = group_like(session, new, beside, roots)
    if like is None:
        session.refuse(remedy, "no optimizer holds a parameter of the model")
    join_group(session, new, like)


def group_like(
    session: Session, new: list[nn.Parameter], beside: nn.Module, roots: list[nn.Module]
) -> torch.Tensor | None:
    """A parameter whose group is the right one for ``new``; None when no optimizer takes them.

    It is the group of ``beside``, or else of any part of its model. Vectors go where vectors of the
    same rate are: programs decay matrices and nothing else by putting them into two groups.
    """
    vectors = all(p.dim() < 2 for p in new)
    groups = [
        (group, optimizer)
        for optimizer in session.optimizers
        for group in optimizer.param_groups
        if not (vectors and type(optimizer).__name__ in ONLY_MATRICES)
    ]
    holder = {id(p): group for group, _ in groups for p in group["params"]}
    around = [r for r in roots if any(m is beside for m in r.modules())]
    candidates = [p for m in (beside, *around, *roots) for p in m.parameters() if id(p) in holder]
    if not candidates:
        return None
    first = candidates[0]
    if vectors and first.dim() > 1:
        rate = holder[id(first)].get("lr")
        same = (p for p in candidates if p.dim() < 2 and holder[id(p)].get("lr") == rate)
        return next(same, first)
    return first


def close_fast_paths(roots: list[nn.Module], touched: Iterable[nn.Module]) -> None:
    """Make torch's transformer run its parts one by one in eval mode too.

    Its fused inference path reads weights directly and would pass by what was put into ``touched``.
    """
    for module, name, value in fast_paths(roots, touched):
        setattr(module, name, value)


def fast_paths(
    roots: list[nn.Module], touched: Iterable[nn.Module]
) -> Iterator[tuple[nn.Module, str, Any]]:
    """(module, attribute, value) by which each fused path around ``touched`` is closed."""
    ids = {id(m) for m in touched}
    for module in every_module(roots):
        if not isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer)):
            continue
        if any(id(part) in ids for part in module.modules()):
            if isinstance(module, nn.TransformerEncoder):
                yield module, "use_nested_tensor", False
            else:
                yield module, "activation_relu_or_gelu", 0


def finish(operation: Operation, touched: Iterable[nn.Module], **evidence: Any) -> None:
    """Close the fused paths around ``touched`` and confirm, after each step, how many of the
    changed places were called; where the first step calls none of them, the remedy is refused."""
    session, remedy, uses = operation.session, operation.remedy, operation.uses
    for module, name, value in fast_paths(operation.roots, touched):
        operation.set(module, name, value)

    def report(optimizer: torch.optim.Optimizer) -> None:
        called = sum(1 for use in uses if use.calls)
        if not called and uses and session.step == 0:
            operation.refuse("none of the changed places is called before the first step")
        if session.applied.get(remedy, {}).get("called") != called:
            session.confirm(remedy, called=called)

    session.confirm(remedy, **evidence, places=len(uses), called=0, parameters=operation.n_added)
    session.before_step(report)
