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
    return {"activation": Dimension(kind="choice", choices=KINDS)}


def _recurrent(facts: Facts) -> bool:
    return any(layer.kind in ("RNN", "RNNCell") for layer in facts.layers)


def refusal(facts: Facts) -> str:
    if any(site.swappable for site in facts.activations) or _recurrent(facts):
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
    return tuple(kind for kind in order if kind != own)


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import _surgery

    kind, function = str(value), functions()[str(value)]
    facts = session.facts
    calls = _sites(facts, "call", kind) if facts is not None else []
    swaps = {site.site: _surgery.Function(function) for site in calls}
    for site, swap in swaps.items():
        session.functional_swap({site}, swap)

    def operate(roots: list[nn.Module]) -> None:
        layers = _transformer_layers(roots, calls, facts)
        modules = _modules(roots, facts, kind)
        inside = {path for path, _ in layers}
        uses = [swap for site, swap in swaps.items() if site.split("|")[0] not in inside]
        uses += [_surgery.override_forward(module, function) for module in modules]
        for _, layer in layers:
            uses.append(_surgery.Function(function))
            layer.__dict__["activation"] = uses[-1]
        _surgery.close_fast_paths(roots, [*modules, *(layer for _, layer in layers)])
        recurrent = swap_recurrent(roots, kind) if kind in RECURRENT else 0
        if not (uses or recurrent):
            session.refuse("activation", f"every activation that may be swapped is {kind} already")
        session.confirm("activation", function=kind, recurrent=recurrent)
        _surgery.confirm_calls(session, "activation", uses)

    session.on_model(operate)


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


def _modules(roots: list[nn.Module], facts: Facts | None, value: str) -> list[nn.Module]:
    """The activation modules to replace, each once."""
    from torch import nn

    from sweeper.program.models import module_by_path
    from sweeper.remedies import _surgery

    if facts is not None:
        by_path = module_by_path(roots)
        found = [by_path[s.site] for s in _sites(facts, "module", value) if s.site in by_path]
        recurrent = (nn.RNN, nn.RNNCell)  # their function is a setting (swap_recurrent)
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
    roots: list[nn.Module], calls: list[ActivationSite], facts: Facts | None
) -> list[tuple[str, nn.Module]]:
    """torch's transformer layers keep a function in an attribute; their fused path reads it."""
    from torch import nn

    from sweeper.program.models import module_by_path

    paths = {site.site.split("|")[0] for site in calls}
    kinds = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    return [
        (path, module)
        for path, module in module_by_path(roots).items()
        if isinstance(module, kinds)
        and not isinstance(module.activation, nn.Module)
        and (facts is None or path in paths)
    ]


def swap_recurrent(roots: list[nn.Module], value: str) -> int:
    """Set the function of torch.nn.RNN and RNNCell modules; how many changed."""
    from torch import nn

    changed = 0
    for root in roots:
        for module in root.modules():
            if isinstance(module, (nn.RNN, nn.RNNCell)) and module.nonlinearity != value:
                module.nonlinearity = value
                if isinstance(module, nn.RNN):
                    module.mode = f"RNN_{value.upper()}"
                changed += 1
    return changed


def effect(value: FixValue, record: RunRecord) -> str:
    seen = _hints.evidence(record, "activation")
    if int(seen.get("recurrent", 0)) and not seen.get("places"):
        return ""
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
    space=space,
    refusal=refusal,
    suggest=suggest,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=validate,
)  # fmt: skip
