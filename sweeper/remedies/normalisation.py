"""Normalise behind each hidden layer, or the inputs; or switch the model's own normalisation off.

Layers that have a normalisation behind them keep it, except that ``layer`` turns batch
normalisations into layer normalisations (with their own weights), because that is what a person
would do about batches that are too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.types import (
    Cause,
    Diagnosis,
    Dimension,
    Facts,
    FixValue,
    RunRecord,
    Scalar,
    UsageError,
)

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session

KINDS = ("batch", "layer", "none")
PLACES = ("hidden", "inputs")
DEFAULTS: dict[str, Scalar] = {"where": "hidden"}


def validate(value: FixValue) -> FixValue:
    full = _values.fields("normalisation", value, "kind", DEFAULTS)
    kind = _values.choice("kind of normalisation", full["kind"], KINDS)
    where = _values.choice("where of normalisation", full["where"], PLACES)
    if where == "inputs" and kind != "batch":
        raise UsageError(f"normalisation of inputs is by batch (per feature), got {kind!r}")
    return _values.short({"kind": kind, "where": where}, "kind", DEFAULTS)


def _spelled(value: FixValue) -> tuple[str, str]:
    full = _values.fields("normalisation", value, "kind", DEFAULTS)
    return str(full["kind"]), str(full["where"])


def space(facts: Facts) -> Mapping[str, Dimension]:
    """Kinds behind hidden layers; the inputs have a remedy of their own (standardise_inputs)."""
    kinds = [k for k in KINDS if not _cannot(k, "hidden", facts)]
    return {"kind": Dimension(kind="choice", choices=tuple(kinds) or ("batch",))}


def _cannot(kind: str, where: str, facts: Facts) -> str:
    """Why this program cannot take this value, or empty."""
    if where == "inputs":
        return _hints.integer_inputs(facts)
    if kind == "none":
        return "" if facts.norms else "the model has no normalisation to switch off"
    layers = _hints.hidden_layers(facts)
    if kind == "layer" and any(
        _hints.operable(x) and x.followed_by == "norm" for x in facts.layers
    ):
        return ""  # batch normalisations turn into layer normalisations
    if not layers:
        return "the model has no hidden Linear or conv layer without a normalisation behind it"
    if kind == "batch" and facts.batch_size == 1 and all(la.kind == "Linear" for la in layers):
        return "batch normalisation needs more than one sample per batch"
    return ""


def refusal(facts: Facts) -> str:
    reasons = [_cannot(kind, "hidden", facts) for kind in KINDS]
    return reasons[0] if all(reasons) else ""


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    wanted = ["batch", "layer", "none"]
    if _hints.belief(diagnosis, Cause.BATCH_TOO_SMALL) or (
        facts.batch_size and facts.batch_size < 8
    ):
        wanted = ["layer", "none", "batch"]  # batch statistics of few rows are noise
    possible = [kind for kind in wanted if not _cannot(kind, "hidden", facts)]
    return tuple(possible or ["batch"])[:2]


def apply(session: Session, value: FixValue) -> None:
    kind, where = _spelled(value)
    reason = _cannot(kind, where, session.facts) if session.facts is not None else ""
    if reason:
        session.refuse("normalisation", reason)
    if where == "inputs":
        _normalise_inputs(session)
    elif kind == "none":
        session.on_model(lambda roots: _switch_off(session, roots))
    else:
        session.on_model(lambda roots: _insert(session, roots, kind))


def _insert(session: Session, roots: list[nn.Module], kind: str) -> None:
    from sweeper.remedies import _norms, _surgery

    layers = _surgery.hidden_modules(session, roots)
    batch_norms = _norms.batch_norms(roots) if kind == "layer" else []
    if not (layers or batch_norms):
        session.refuse("normalisation", "the model has no layer that could be normalised so")
    uses: list[_surgery.Counted] = []
    added = 0
    for layer in layers:
        norm = _norms.norm_for(layer, kind)
        layer.add_module(_norms.NAME, norm)
        norm.train(layer.training)
        hook = _norms.NormBehind(layer)
        layer.register_forward_hook(hook)
        uses.append(hook)
        _surgery.join(session, "normalisation", list(norm.parameters()), layer, roots)
        added += sum(p.numel() for p in norm.parameters())
    for module in batch_norms:
        uses.append(_norms.LayerInstead(module))
        module.__dict__["forward"] = uses[-1]
    _surgery.close_fast_paths(roots, [*layers, *batch_norms])
    session.confirm("normalisation", kind=kind, layers=len(layers), parameters=added)
    _surgery.confirm_calls(session, "normalisation", uses, converted=len(batch_norms))


def _switch_off(session: Session, roots: list[nn.Module]) -> None:
    from sweeper.program.models import module_by_path
    from sweeper.remedies import _surgery

    by_path = module_by_path(roots)
    paths = session.facts.norms if session.facts is not None else list(by_path)
    found = [by_path[p] for p in paths if isinstance(by_path.get(p), _surgery.NORMS)]
    modules = list({id(m): m for m in found}.values())
    if not modules:
        session.refuse("normalisation", "the model has no normalisation of torch.nn to switch off")
    uses = [_surgery.override_forward(module, _surgery.identity) for module in modules]
    _surgery.close_fast_paths(roots, modules)
    _surgery.confirm_calls(session, "normalisation", uses, kind="none", layers=len(modules))


def _normalise_inputs(session: Session) -> None:
    from sweeper.remedies import _inputs, _norms

    _inputs.on_raw_input(session, "normalisation", _norms.InputNorm)


def effect(value: FixValue, record: RunRecord) -> str:
    if _spelled(value)[1] == "inputs":
        return _hints.count_effect(
            record, "normalisation", "train_calls", "training input was normalised"
        )
    return _hints.places_effect(record, "normalisation", "changed places")


def advice(value: FixValue, facts: Facts) -> str:
    kind, where = _spelled(value)
    if where == "inputs":
        width = facts.input_features or "n_features"
        return f"nn.BatchNorm1d({width}, affine=False)  # in front of the model"
    if kind == "none":
        return f"nn.Identity()  # in place of {', '.join(facts.norms[:4])}"
    layers = _hints.hidden_layers(facts)
    names = ", ".join(layer.name for layer in layers[:4]) + (", ..." if len(layers) > 4 else "")
    width = layers[0].n_out if layers else 0
    conv = any("Conv" in layer.kind for layer in layers[:1])
    module = {
        ("batch", False): f"nn.BatchNorm1d({width})",
        ("batch", True): f"nn.BatchNorm2d({width})",
        ("layer", False): f"nn.LayerNorm({width})",
        ("layer", True): f"nn.GroupNorm(1, {width})",
    }[kind, conv]
    return f"{module}  # between each of {names} and its activation, with that layer's width"


REMEDY = Remedy(
    name="normalisation",
    summary="batch or layer normalisation behind each hidden layer, or none",
    source="Ioffe and Szegedy 2015; Ba et al. 2016; Wu and He 2018 (one group, for convs)",
    treats=(
        Cause.MISSING_NORMALISATION, Cause.SATURATING_ACTIVATION, Cause.DEAD_ACTIVATION,
        Cause.BAD_INITIALISATION, Cause.TOO_DEEP_WITHOUT_SHORTCUTS, Cause.INPUTS_NOT_STANDARDISED,
        Cause.BATCH_TOO_SMALL,
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
