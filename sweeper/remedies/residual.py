"""A shortcut around each hidden layer that keeps its shape, and its activation: input +
activation(layer(input)).

Each shortcut without normalisation makes its output larger than its input, about by half where the
activation is relu: what many of them add is divided by the root of their number, which keeps size
and gradient bounded at any depth (stable ResNet, Hayou et al. 2021, arXiv 2010.12859).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, LayerFact, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


MOST_PLAIN = 10
"""Shortcuts up to which each adds all of its layer: fewer learn alike with and without the
division, or faster without; with relu, more of them outgrow an ordinary rate."""


def _layers(facts: Facts) -> list[LayerFact]:
    """Also those with a normalisation behind them: the shortcut spans that too."""
    layers = [
        layer
        for layer in facts.layers
        if _hints.operable(layer) and not layer.is_output and layer.n_in == layer.n_out > 0
    ]
    return [layer for layer in layers if layer.followed_by] or layers


def _sites(facts: Facts, kind: str) -> list[str]:
    """Activations that may meet a shortcut; a gate must stay between 0 and 1."""
    return [s.site for s in facts.activations if s.kind == kind and s.swappable]


def share(n_layers: int) -> float:
    """What each of so many layers adds to its input; 1 for few."""
    return 1.0 if n_layers <= MOST_PLAIN else n_layers**-0.5


def refusal(facts: Facts) -> str:
    return "" if _layers(facts) else "no hidden layer has as many outputs as inputs"


def apply(session: Session, value: FixValue) -> None:
    from sweeper.program._dropout_calls import DROPOUT_CALLS
    from sweeper.program.models import module_by_path
    from sweeper.remedies import _shortcut, _surgery

    facts, table = session.facts, session.functions.followers
    calls = _sites(facts, "call") if facts else []
    # Before the start the seams look whether there are any.
    table.update(dict.fromkeys(calls, _shortcut.add_shortcut))
    if facts and facts.n_dropout_calls:
        session.functions.wrap(DROPOUT_CALLS, _shortcut.carry_through)

    def surgery(operation: _surgery.Operation) -> None:
        by_path = module_by_path(operation.roots)
        hidden = _surgery.hidden_modules(operation, _layers)
        layers = list(filter(_shortcut.keeps_shape, hidden))
        if not layers:
            operation.refuse("no hidden layer keeps the shape of its input, or it is frozen")
        activated = facts is None or any(layer.followed_by for layer in _layers(facts))
        for layer in layers:
            mark = (_shortcut.Marked if activated else _shortcut.Added)(share(len(layers)))
            operation.hook(layer, mark)
            operation.uses.append(mark.use)
        if activated:
            for module in _surgery.every_module(operation.roots):
                if isinstance(module, _shortcut.CARRIERS):
                    operation.hook(module, _shortcut.carry_behind)
            for module in _activations(operation.roots, facts):
                operation.hook(module, _shortcut.add_behind)
        for site in calls:
            caller = by_path.get(site.split("|")[0])
            operation.function(table, site, _shortcut.add_shortcut, caller)
        _surgery.finish(operation, layers)

    _surgery.operate(session, "residual", surgery)


def _activations(roots: list[nn.Module], facts: Facts | None) -> list[nn.Module]:
    """Activation modules that may meet a shortcut."""
    from sweeper.program.graph import ACTIVATION_MODULES
    from sweeper.program.models import module_by_path
    from sweeper.remedies import _surgery

    if facts is None:
        return [m for m in _surgery.every_module(roots) if isinstance(m, ACTIVATION_MODULES)]
    by_path = module_by_path(roots)
    found = [by_path[site] for site in _sites(facts, "module") if site in by_path]
    return list({id(m): m for m in found}.values())


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(record, "residual", "called", "layer's shortcut was added")


def advice(value: FixValue, facts: Facts) -> str:
    layers = _layers(facts)
    names = ", ".join(layer.name for layer in layers[:6]) + (", ..." if len(layers) > 6 else "")
    divided = "" if share(len(layers)) == 1.0 else f" / {len(layers)} ** 0.5"
    where = names or "each layer that keeps the width"
    return f"x = x + activation(layer(x)){divided}  # for {where}"


REMEDY = Remedy(
    name="residual",
    summary="a shortcut around each hidden layer that keeps its shape",
    source="He et al. 2016, identity mappings (arXiv 1603.05027); Hayou et al. 2021 for many",
    treats=(Cause.TOO_DEEP_WITHOUT_SHORTCUTS, Cause.SATURATING_ACTIVATION),
    structural=True,
    space=no_space, refusal=refusal, suggest=just_on, apply=apply, effect=effect, advice=advice,
    validate=_values.flag("residual"),
)  # fmt: skip
