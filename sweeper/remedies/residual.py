"""A shortcut around each hidden layer that keeps its shape: output + input, before the
activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy, just_on, no_space
from sweeper.types import Cause, Facts, FixValue, LayerFact, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


def _layers(facts: Facts) -> list[LayerFact]:
    return [layer for layer in _hints.hidden_layers(facts) if layer.n_in == layer.n_out > 0]


def refusal(facts: Facts) -> str:
    return "" if _layers(facts) else "no hidden layer has as many outputs as inputs"


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import _shortcut, _surgery

    facts = session.facts
    sites = {s.site: s.function for s in facts.activations if s.kind == "call"} if facts else {}
    for site, function in sites.items():  # the seams look before the start whether any is swapped
        if site not in session.swaps:
            session.functional_swap({site}, _shortcut.function_named(function))

    def operate(roots: list[nn.Module]) -> None:
        layers = [m for m in _surgery.hidden_modules(session, roots) if _shortcut.keeps_shape(m)]
        if not layers:
            session.refuse("residual", "no hidden layer keeps the shape of its input")
        activated = facts is None or any(layer.followed_by for layer in _layers(facts))
        uses = [_shortcut.Marked() if activated else _shortcut.Added() for _ in layers]
        for layer, use in zip(layers, uses, strict=True):
            layer.register_forward_hook(use)
        if activated:
            for module in _activations(roots, facts):
                module.register_forward_hook(_shortcut.add_to_activated)
            for site in sites:  # around what another remedy may have put there
                swap = _shortcut.ActivatedCall(session.swaps[site])
                session.functional_swap({site}, swap)
        _surgery.close_fast_paths(roots, layers)
        _surgery.confirm_calls(session, "residual", uses)

    session.on_model(operate)


def _activations(roots: list[nn.Module], facts: Facts | None) -> list[nn.Module]:
    """Activation modules that may meet a marked tensor."""
    from sweeper.program.graph import ACTIVATION_MODULES
    from sweeper.program.models import module_by_path
    from sweeper.remedies import _surgery

    if facts is None:
        return [m for m in _surgery.every_module(roots) if isinstance(m, ACTIVATION_MODULES)]
    by_path = module_by_path(roots)
    sites = [s.site for s in facts.activations if s.kind == "module"]
    return list({id(by_path[s]): by_path[s] for s in sites if s in by_path}.values())


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.count_effect(record, "residual", "called", "layer's shortcut was added")


def advice(value: FixValue, facts: Facts) -> str:
    names = ", ".join(layer.name for layer in _layers(facts)[:6])
    return f"x = x + activation(layer(x))  # for {names or 'each layer that keeps the width'}"


REMEDY = Remedy(
    name="residual",
    summary="a shortcut around each hidden layer that keeps its shape",
    source="He et al. 2016, identity mappings (arXiv 1603.05027)",
    treats=(Cause.TOO_DEEP_WITHOUT_SHORTCUTS, Cause.SATURATING_ACTIVATION),
    structural=True,
    space=no_space,
    refusal=refusal,
    suggest=just_on,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=_values.flag("residual"),
)
