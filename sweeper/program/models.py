"""Find the models that own an optimizer's parameters among the modules that are alive."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import torch
from torch import nn


def optimizer_parameters(optimizers: Iterable[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """Parameters of all groups, each once, in order."""
    seen: dict[int, torch.Tensor] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                seen.setdefault(id(parameter), parameter)
    return list(seen.values())


def find_roots(parameters: Iterable[torch.Tensor]) -> list[nn.Module]:
    """Outermost living modules that own at least one of ``parameters``, most parameters first.

    The garbage collector knows every module however it was made (unpickled, built by a library);
    a registry of constructors would miss those.
    """
    wanted = {id(p) for p in parameters}
    owners = []
    for candidate in gc.get_objects():
        # type() first: isinstance would trigger __class__ properties of lazy proxies.
        if not issubclass(type(candidate), nn.Module):
            continue
        own = candidate.__dict__.get("_parameters")
        if own and any(id(p) in wanted for p in own.values() if p is not None):
            owners.append(candidate)
    if not owners:
        return []
    parents = _parents()
    roots: dict[int, nn.Module] = {}
    for owner in owners:
        top, visited = owner, {id(owner)}
        while (parent := parents.get(id(top))) is not None and id(parent) not in visited:
            visited.add(id(parent))
            top = parent
        roots.setdefault(id(top), top)
    return sorted(roots.values(), key=lambda m: -sum(p.numel() for p in m.parameters()))


def _parents() -> dict[int, nn.Module]:
    parents: dict[int, nn.Module] = {}
    for candidate in gc.get_objects():
        if not issubclass(type(candidate), nn.Module):
            continue
        for child in (candidate.__dict__.get("_modules") or {}).values():
            if child is not None:
                parents.setdefault(id(child), candidate)
    return parents


def module_paths(roots: list[nn.Module]) -> dict[int, str]:
    """id(module) -> path; with several roots a path begins with the root's position (``1:fc``)."""
    paths: dict[int, str] = {}
    for position, root in enumerate(roots):
        prefix = f"{position}:" if len(roots) > 1 else ""
        for name, module in root.named_modules():
            paths.setdefault(id(module), prefix + name)
    return paths


def module_by_path(roots: list[nn.Module]) -> dict[str, nn.Module]:
    """The inverse of `module_paths`."""
    found: dict[str, nn.Module] = {}
    for position, root in enumerate(roots):
        prefix = f"{position}:" if len(roots) > 1 else ""
        for name, module in root.named_modules():
            found[prefix + name] = module
    return found


def parameter_paths(roots: list[nn.Module]) -> dict[int, str]:
    """id(parameter) -> path, as `module_paths`; a tied parameter keeps its first name."""
    paths: dict[int, str] = {}
    for position, root in enumerate(roots):
        prefix = f"{position}:" if len(roots) > 1 else ""
        for name, parameter in root.named_parameters():
            paths.setdefault(id(parameter), prefix + name)
    return paths
