"""Another activation function in every hidden place. Gates, attention and the output are left
alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import ActivationSite, Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sweeper.program.session import Session

KINDS = ("relu", "leaky_relu", "gelu", "silu", "elu", "selu", "tanh", "mish")
RECURRENT = ("relu", "tanh")
"""What torch.nn.RNN can compute."""
MODULES = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "silu": "SiLU", "elu": "ELU",
    "selu": "SELU", "tanh": "Tanh", "mish": "Mish",
}  # fmt: skip


def validate(value: FixValue) -> FixValue:
    full = _values.fields("activation", value, "activation", {})
    return _values.choice("activation", full["activation"], KINDS)


def space(facts: Facts) -> Mapping[str, Dimension]:
    recurrent = _recurrent_layers(facts)
    others = [s for s in facts.activations if s.swappable and s.site not in recurrent]
    return {"activation": Dimension(kind="choice", choices=KINDS if others else RECURRENT)}


def _recurrent_layers(facts: Facts) -> set[str]:
    return {layer.name for layer in facts.layers if layer.kind in ("RNN", "RNNCell")}


def refusal(facts: Facts) -> str:
    if any(site.swappable for site in facts.activations) or _recurrent_layers(facts):
        return ""
    if not facts.activations:
        return "the model applies no activation function that could be swapped"
    reasons = sorted({site.reason or site.function for site in facts.activations})
    return f"no activation of the model may be swapped: {', '.join(reasons)}"


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    """Against saturation ReLU (Glorot et al. 2011), against dead units a leak (Maas et al. 2013) or
    GELU.

    Against a growing recurrence tanh, which is bounded.
    """
    counts = Counter(site.function for site in facts.activations if site.swappable)
    own = counts.most_common(1)[0][0] if counts else ""
    if own in ("relu", "relu6"):
        growing = _hints.belief(diagnosis, Cause.UNBOUNDED_GRADIENT)
        dead = _hints.belief(diagnosis, Cause.DEAD_ACTIVATION)
        order = ["tanh", "leaky_relu"] if growing > dead else ["leaky_relu", "gelu"]
    elif own in ("sigmoid", "tanh", "softsign", "hardtanh", "hardsigmoid"):
        order = ["relu", "gelu"]
    else:
        order = ["relu", "tanh"]
    if not counts:  # only torch.nn.RNN
        order = ["tanh", "relu"]
    choices = space(facts)["activation"].choices
    return tuple(kind for kind in order if kind != own and kind in choices)


def apply(session: Session, value: FixValue) -> None:
    from torch import nn

    from sweeper.program.models import module_by_path
    from sweeper.remedies import _surgery

    kind, facts = str(value), session.facts
    function = functions()[kind]
    calls = _sites(facts, "call", kind) if facts is not None else []
    swaps = {site.site: _surgery.CountedFunction(function) for site in calls}
    table = session.functions.swaps
    table.update(swaps)  # before the start the seams look whether there are any

    def surgery(operation: _surgery.Operation) -> None:
        by_path = module_by_path(operation.roots)
        trained = _surgery.trained(operation.roots)
        layers = {p: m for p, m in _transformer_layers(by_path, calls, facts) if trained(m)}
        modules = [m for m in _modules(operation.roots, facts, kind) if trained(m)]
        for module in modules:
            operation.become(module, _module_of(kind, in_place=getattr(module, "inplace", False)))
            operation.count(module)
        for layer in layers.values():
            operation.set(layer, "activation", function)
            operation.count(layer)
        for site, swap in swaps.items():
            caller = by_path.get(path := site.split("|")[0])
            del table[site]
            if path not in layers and (caller is None or trained(caller)):
                operation.function(table, site, swap, caller)
                operation.uses.append(swap.use)
        recurrent = [m for m in _recurrent(operation.roots, kind) if trained(m)]
        for module in recurrent:
            operation.set(module, "nonlinearity", kind)
            operation.count(module)
            if isinstance(module, nn.RNN):
                operation.set(module, "mode", f"RNN_{kind.upper()}")
        if not operation.uses:
            operation.refuse(f"every activation that may be swapped is {kind} already, or frozen")
        _surgery.finish(
            operation, [*modules, *layers.values()], function=kind, recurrent=len(recurrent)
        )

    _surgery.operate(session, "activation", surgery)


def _sites(facts: Facts, kind: str, value: str) -> list[ActivationSite]:
    """The sites of a kind that do not compute ``value`` already."""
    return [s for s in facts.activations if s.kind == kind and s.swappable and s.function != value]


def functions() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Canonical name -> function of one tensor, torch's default arguments; picklable."""
    import torch
    import torch.nn.functional as F

    return {
        "relu": torch.relu, "leaky_relu": F.leaky_relu, "gelu": F.gelu, "silu": F.silu,
        "elu": F.elu, "selu": F.selu, "tanh": torch.tanh, "mish": F.mish,
    }  # fmt: skip


def _module_of(kind: str, *, in_place: bool) -> nn.Module:
    """torch's module; in place where the program's is and torch can (not gelu, not tanh)."""
    from torch import nn

    module: nn.Module = getattr(nn, MODULES[kind])()
    if hasattr(module, "inplace"):
        module.__dict__["inplace"] = in_place
    return module


def _modules(roots: list[nn.Module], facts: Facts | None, value: str) -> list[nn.Module]:
    """The activation modules to replace, each once."""
    from torch import nn

    from sweeper.program.models import module_by_path
    from sweeper.remedies import _surgery

    if facts is not None:
        by_path = module_by_path(roots)
        found = [by_path[s.site] for s in _sites(facts, "module", value) if s.site in by_path]
        recurrent = (nn.RNN, nn.RNNCell)  # their function is a setting (_recurrent)
        return list({id(m): m for m in found if not isinstance(m, recurrent)}.values())
    order = [
        m
        for m in _surgery.every_module(roots)
        if _is_activation(m) or next(m.parameters(recurse=False), None) is not None
    ]
    while order and _is_activation(order[-1]):
        order.pop()
    return [m for m in order if _is_activation(m) and type(m).__name__ != MODULES[value]]


def _is_activation(module: nn.Module) -> bool:
    from torch.nn.modules import activation

    excluded = (activation.MultiheadAttention, activation.GLU)
    named = type(module).__module__ == activation.__name__ and not isinstance(module, excluded)
    return named and "Soft" not in type(module).__name__


def _transformer_layers(
    by_path: Mapping[str, nn.Module], calls: list[ActivationSite], facts: Facts | None
) -> list[tuple[str, nn.Module]]:
    """torch's transformer layers keep a function in an attribute; their fused path reads it."""
    from torch import nn

    paths = {site.site.split("|")[0] for site in calls}
    kinds = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    return [
        (path, module)
        for path, module in by_path.items()
        if isinstance(module, kinds)
        and not isinstance(module.activation, nn.Module)
        and (facts is None or path in paths)
    ]


def _recurrent(roots: list[nn.Module], value: str) -> list[nn.Module]:
    """The torch.nn.RNN and RNNCell modules that compute the other of their two functions."""
    from torch import nn

    from sweeper.remedies import _surgery

    kinds = (nn.RNN, nn.RNNCell)
    return [
        m
        for m in _surgery.every_module(roots)
        if value in RECURRENT and isinstance(m, kinds) and m.nonlinearity != value
    ]


def effect(value: FixValue, record: RunRecord) -> str:
    return _hints.places_effect(record, "activation", "replaced activations")


def advice(value: FixValue, facts: Facts) -> str:
    kind = str(value)
    own = sorted({s.function for s in facts.activations if s.swappable and s.function != kind})
    instead = " and ".join(own) or "the present activation"
    return f"nn.{MODULES[kind]}()  # instead of {instead}, in every hidden layer"


REMEDY = Remedy(
    name="activation",
    summary="another activation function in every hidden place",
    source="Glorot et al. 2011, Maas et al. 2013, Hendrycks and Gimpel 2016; AUTOTRAINER's repairs",
    treats=(
        Cause.SATURATING_ACTIVATION, Cause.DEAD_ACTIVATION, Cause.UNBOUNDED_GRADIENT,
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
    ),
    structural=True,
    space=space, refusal=refusal, suggest=suggest, apply=apply, effect=effect, advice=advice,
    validate=validate,
)  # fmt: skip
