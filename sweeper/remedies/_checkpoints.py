"""Checkpoints that a program wrote under a fix and reads before the surgery is done again.

They hold more than the model and its optimizer can take yet: the parts that surgery adds, and their
optimizer state. Both are put aside until then. Imports torch: child only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sweeper.remedies._copies import ADDED

if TYPE_CHECKING:
    from sweeper.program.session import Session


class Checkpoints:
    """What was put aside, until surgery asks for it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._states: list[tuple[nn.Module, dict[str, torch.Tensor]]] = []
        self._kept: dict[tuple[int, int], list[dict[str, Any]]] = {}
        """(id of an optimizer, index of its group) -> state of the parameters to come."""
        session.on_optimizer(self._watch)

    def put_aside(self, module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state without the parts that surgery adds."""
        added = {k: v for k, v in state.items() if _is_added(k)}
        if not added:
            return state
        self._states.append((module, added))
        rest = OrderedDict((k, v) for k, v in state.items() if k not in added)
        rest.__dict__.update(getattr(state, "__dict__", {}))  # torch's versions of the modules
        return rest

    def completed(self, module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state of a plain program with the present values of what surgery added."""
        own = module.state_dict()
        added = {k: v for k, v in own.items() if _is_added(k) and k not in state}
        if not added:
            return state
        whole = OrderedDict({**state, **added})
        whole.__dict__.update(getattr(state, "__dict__", {}))
        return whole

    def fill(self, layer: nn.Module, name: str, part: nn.Module) -> None:
        """Load what was put aside for this part of a layer."""
        for module, added in self._states:
            for path, candidate in module.named_modules():
                if candidate is layer:
                    prefix = f"{path}.{name}." if path else f"{name}."
                    own = {
                        k.removeprefix(prefix): v for k, v in added.items() if k.startswith(prefix)
                    }
                    if own:
                        part.load_state_dict(own)

    def fill_optimizers(self, new: list[nn.Parameter]) -> None:
        """Give parameters that just joined their optimizer the state that was put aside."""
        ids = {id(p) for p in new}
        for optimizer in self._session.optimizers:
            for index, group in enumerate(optimizer.param_groups):
                kept = self._kept.get((id(optimizer), index), [])
                for parameter in group["params"]:
                    if kept and id(parameter) in ids:
                        optimizer.state[parameter] = {
                            key: _like(value, parameter) for key, value in kept.pop(0).items()
                        }

    def _watch(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.register_load_state_dict_pre_hook(self._optimizer_loading)

    def _optimizer_loading(
        self, optimizer: torch.optim.Optimizer, state: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Groups that hold more than the optimizer's lose their last parameters: there surgery puts
        new ones. Only beside a model's state that held such parts."""
        saved, own = state["param_groups"], optimizer.param_groups
        if not self._states or len(saved) != len(own):
            return None
        groups, dropped = [], set()
        for index, (group, size) in enumerate(
            zip(saved, [len(g["params"]) for g in own], strict=True)
        ):
            extra = group["params"][size:]
            self._kept[id(optimizer), index] = [state["state"].get(i, {}) for i in extra]
            dropped.update(extra)
            groups.append({**group, "params": group["params"][:size]})
        rest = {k: v for k, v in state["state"].items() if k not in dropped}
        return {**state, "state": rest, "param_groups": groups}


def _is_added(key: str) -> bool:
    return any(part.startswith(ADDED) for part in key.split("."))


def _like(value: Any, parameter: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
        return value.detach().clone().to(parameter)
    return value
