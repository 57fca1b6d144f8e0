"""Changing a built model in place, so that object identities, names and parent links all stay.
Imports torch: child only.

Whatever is put into a module can be pickled, because programs save whole models with torch.save.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.program.models import module_by_path, optimizer_parameters
from sweeper.remedies._hints import hidden_layers

if TYPE_CHECKING:
    from sweeper.program.session import Session

CONVS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
)  # fmt: skip
NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.GroupNorm,
    nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


class Counted:
    """A picklable callable that counts its calls (the count is not pickled)."""

    calls = 0

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "calls"}


class Function(Counted):
    """Stands in for a module's ``forward``, or for an activation called as a function: one tensor
    to one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.function = function

    def __call__(self, input: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.calls += 1
        return self.function(input)


def identity(input: torch.Tensor) -> torch.Tensor:
    return input


def override_forward(
    module: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]
) -> Function:
    """Replace what a module computes; the module object stays where it is."""
    replacement = Function(function)
    module.forward = replacement  # an instance attribute goes before the class's method
    return replacement


def every_module(roots: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """All modules of all roots, each once."""
    seen: set[int] = set()
    for root in roots:
        for module in root.modules():
            if id(module) not in seen:
                seen.add(id(module))
                yield module


def inside_attention(roots: Iterable[nn.Module]) -> set[int]:
    """Ids of the modules within torch's attention, which reads weights without calling its
    parts."""
    return {
        id(part)
        for module in every_module(roots)
        if isinstance(module, nn.MultiheadAttention)
        for part in module.modules()
    }


def hidden_modules(session: Session, roots: list[nn.Module]) -> list[nn.Module]:
    """The Linear and conv modules that may take a normalisation or a shortcut
    (`_hints.hidden_layers`).

    Without facts: all but the last of those outside attention.
    """
    found: Iterable[nn.Module | None]
    if session.facts is not None:
        by_path = module_by_path(roots)
        found = [by_path.get(layer.name) for layer in hidden_layers(session.facts)]
    else:
        skipped = inside_attention(roots)
        found = [m for m in every_module(roots) if id(m) not in skipped and _is_layer(m)][:-1]
    unique = {id(m): m for m in found if m is not None and _is_layer(m)}
    return [m for m in unique.values() if not any(is_lazy(p) for p in m.parameters(recurse=False))]


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, *CONVS))


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
    """Hand new parameters to the optimizer that holds ``beside``, or else any part of its model."""
    known = held(session)
    candidates = [beside, *(r for r in roots if any(m is beside for m in r.modules())), *roots]
    like = next((p for module in candidates for p in module.parameters() if id(p) in known), None)
    if like is None:
        session.refuse(remedy, "no optimizer holds a parameter of the model")
        return
    session.join_optimizer(new, like)
    for optimizer in session.optimizers:
        if isinstance(optimizer, torch.optim.Adagrad):
            _fill_adagrad(optimizer)


def _fill_adagrad(optimizer: torch.optim.Adagrad) -> None:
    """The one class whose state is made by its constructor, so that newcomers have none."""
    start = optimizer.defaults.get("initial_accumulator_value", 0)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter not in optimizer.state:
                total = torch.full_like(parameter.data, start)
                optimizer.state[parameter] = {"step": torch.tensor(0.0), "sum": total}


def close_fast_paths(roots: list[nn.Module], touched: Iterable[nn.Module]) -> None:
    """Make torch's transformer run its parts one by one in eval mode too.

    Its fused inference path reads weights directly and would pass by what was put into ``touched``.
    """
    ids = {id(m) for m in touched}
    for module in every_module(roots):
        if not isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer)):
            continue
        if any(id(part) in ids for part in module.modules()):
            if isinstance(module, nn.TransformerEncoder):
                module.use_nested_tensor = False
            else:
                module.activation_relu_or_gelu = 0


def confirm_calls(session: Session, remedy: str, uses: list[Any], **evidence: Any) -> None:
    """After the first step, confirm how many of the counted ``uses`` were really called."""

    def report(optimizer: torch.optim.Optimizer) -> None:
        called = sum(1 for use in uses if use.calls)
        if session.applied.get(remedy, {}).get("called") != called:
            session.confirm(remedy, called=called)

    session.confirm(remedy, **evidence, places=len(uses), called=0)
    session.before_step(report)
