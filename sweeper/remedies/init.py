"""Start from other weights: a scheme for Linear, conv and recurrent matrices, and a factor on
them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord, Scalar

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session

SCHEMES = ("keep", "default", "kaiming", "xavier", "orthogonal", "lecun")
DEFAULTS: dict[str, Scalar] = {"scheme": "keep", "scale": 1.0}
HARD_SCALE = (1e-4, 1e4)
TOLERANCE = 0.05
"""Relative, between the norm of the weights made here and that at the first step."""


def validate(value: FixValue) -> FixValue:
    full = _values.fields("init", value, "scheme", DEFAULTS)
    scheme = _values.choice("scheme of init", full["scheme"], SCHEMES)
    scale = _values.number("scale of init", full["scale"], *HARD_SCALE)
    return _values.short({"scheme": scheme, "scale": scale}, "scheme", DEFAULTS)


def _spelled(value: FixValue) -> tuple[str, float]:
    full = _values.fields("init", value, "scheme", DEFAULTS)
    return str(full["scheme"]), float(full["scale"])


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {
        "scheme": Dimension(kind="choice", choices=SCHEMES),
        "scale": Dimension(
            kind="float",
            low=0.05,
            high=20.0,
            log=True,
            hard_low=HARD_SCALE[0],
            hard_high=HARD_SCALE[1],
        ),
    }


def refusal(facts: Facts) -> str:
    if facts.pretrained and not 0 < facts.n_loaded < facts.n_parameters:
        return "the weights are pretrained: the program loaded them before training"
    if facts.layers and not any("Embedding" not in layer.kind for layer in facts.layers):
        return "the model has only embeddings"
    return ""


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    """The scheme made for the activation in use (He et al. 2015; Glorot and Bengio 2010), then
    orthogonal."""
    names = {layer.followed_by for layer in facts.layers}
    recurrent = any(layer.kind in ("RNN", "RNNCell", "LSTM", "GRU") for layer in facts.layers)
    if _hints.belief(diagnosis, Cause.UNBOUNDED_GRADIENT) > _hints.belief(
        diagnosis, Cause.BAD_INITIALISATION
    ):
        return ("orthogonal", {"scheme": "keep", "scale": 0.1})
    if names & {"tanh", "sigmoid", "softsign"}:
        return ("xavier", "orthogonal", {"scheme": "keep", "scale": 0.1})
    if "selu" in names:
        return ("lecun", "default")
    return ("orthogonal", "xavier") if recurrent else ("kaiming", "default", "orthogonal")


def apply(session: Session, value: FixValue) -> None:
    from sweeper.remedies import _surgery, _weights

    scheme, scale = _spelled(value)
    made: dict[int, tuple[torch.Tensor, float]] = {}

    def untouched(parameter: torch.Tensor) -> bool:
        return not parameter.requires_grad or parameter in session.states

    def surgery(operation: _surgery.Operation) -> None:
        roots = operation.roots
        modules = list(_surgery.every_module(roots))
        operation.refuse_lazy(modules)
        operation.remember(modules)
        zero = _weights.zero_branches(_weights.places(roots, untouched), session.facts)
        before = _weights.total_norm(roots)
        changed = _weights.initialise(roots, session.facts, scheme, scale, untouched)
        if not changed:
            operation.refuse("every weight that it could draw is pretrained, frozen or looked up")
        operation.spread(modules)
        made.update({id(p): (p, float(p.detach().norm())) for p in changed})
        session.confirm(
            "init", tensors=len(changed), norm_before=before,
            norm_after=_weights.total_norm(roots), held=0, parameters=0,
            left_at_zero=[f"{p.path}.{p.name}" for p in zero if scheme != "keep"],
        )  # fmt: skip

    def check(optimizer: torch.optim.Optimizer) -> None:
        if session.step == 0 and made:
            close = [
                abs(float(p.detach().norm()) - n) <= TOLERANCE * n + 1e-8 for p, n in made.values()
            ]
            session.confirm("init", held=sum(close))

    _surgery.operate(session, "init", surgery)
    session.before_step(check)


def effect(value: FixValue, record: RunRecord) -> str:
    seen = _hints.evidence(record, "init")
    tensors, held = int(seen.get("tensors", 0)), int(seen.get("held", 0))
    if tensors and held == tensors:
        return ""
    return (
        f"{tensors - held} of {tensors} initialised weights were overwritten before the first step"
    )


def advice(value: FixValue, facts: Facts) -> str:
    scheme, scale = _spelled(value)
    line = {
        "keep": "",
        "default": "m.reset_parameters()",
        "kaiming": "nn.init.kaiming_normal_(m.weight, nonlinearity='relu'); nn.init.zeros_(m.bias)",
        "xavier": "nn.init.xavier_uniform_(m.weight); nn.init.zeros_(m.bias)",
        "orthogonal": "nn.init.orthogonal_(m.weight); nn.init.zeros_(m.bias)",
        "lecun": "nn.init.kaiming_normal_(m.weight, nonlinearity='linear'); nn.init.zeros_(m.bias)",
    }[scheme]
    factor = f"m.weight.data.mul_({scale:g})" if scale != 1.0 else ""
    which = "isinstance(m, (nn.Linear, nn.Conv2d))"
    body = "; ".join(filter(None, [line, factor])) or "pass"
    return f"for m in filter(lambda m: {which}, model.modules()): {body}"


def toward_baseline(value: FixValue, facts: Facts) -> tuple[FixValue, ...]:
    scheme, scale = _spelled(value)
    milder = _values.between(scale, 1.0)
    if scheme != "keep" and scale != 1.0:
        return (scheme, {"scheme": "keep", "scale": scale})
    return tuple({"scheme": scheme, "scale": s} for s in milder)


REMEDY = Remedy(
    name="init",
    summary="start from other weights: Kaiming, Xavier, orthogonal, LeCun or torch's own; scaled",
    source="Glorot and Bengio 2010; He et al. 2015; Saxe et al. 2014; LeCun et al. 1998",
    treats=(
        Cause.BAD_INITIALISATION, Cause.DEAD_ACTIVATION, Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        Cause.UNBOUNDED_GRADIENT, Cause.SATURATING_ACTIVATION,
    ),
    structural=False,
    space=space, refusal=refusal, suggest=suggest, apply=apply, effect=effect, advice=advice,
    validate=validate, toward_baseline=toward_baseline,
)  # fmt: skip
