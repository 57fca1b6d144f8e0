"""Normalise behind each hidden layer, or the inputs; or switch the model's own normalisation off.

Layers that have a normalisation behind them keep it, except that ``layer`` turns batch
normalisations into layer normalisations (with their own weights), because that is what a person
would do about batches that are too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
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
    from sweeper.program.session import Session
    from sweeper.remedies._operation import Operation

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
    from sweeper.remedies import _surgery

    kind, where = _spelled(value)
    reason = _cannot(kind, where, session.facts) if session.facts is not None else ""
    if reason:
        session.refuse("normalisation", reason)
    if where == "inputs":
        _normalise_inputs(session)
    elif kind == "none":
        _surgery.operate(session, "normalisation", _switch_off)
    else:
        _surgery.operate(session, "normalisation", partial(_insert, kind=kind))


def _insert(operation: Operation, kind: str) -> None:
    from sweeper.remedies import _norms, _surgery

    trained = _surgery.trained(operation.roots)
    own = _norms.batch_norms(operation.roots) if kind == "layer" else []
    batch_norms = list(filter(trained, own))
    layers = _surgery.hidden_modules(operation, _hints.hidden_layers)
    if not (layers or batch_norms):
        operation.refuse("the model has no layer that could be normalised so, or it is frozen")
    for layer in layers:
        norm = _norms.norm_for(layer, kind)
        new = list(norm.parameters())
        like = _surgery.group_like(operation.session, new, layer, operation.roots)
        if like is None:
            operation.refuse("no optimizer that holds the model takes its vectors")
        operation.attach(layer, _norms.NAME, norm)
        operation.hook(layer, _norms.NormBehind(layer))
        operation.join(new, like)
        operation.count(norm)
    for module in batch_norms:
        operation.become(module, _norms.layer_norm_like(module))
        operation.count(module)
    _surgery.finish(
        operation, [*layers, *batch_norms], kind=kind, layers=len(layers),
        converted=len(batch_norms),
    )  # fmt: skip


def _switch_off(operation: Operation) -> None:
    from torch import nn

    from sweeper.program.models import module_by_path
    from sweeper.remedies import _surgery

    by_path, facts = module_by_path(operation.roots), operation.session.facts
    paths = facts.norms if facts is not None else list(by_path)
    norms = [by_path[p] for p in paths if isinstance(by_path.get(p), _surgery.NORMS)]
    if not norms:
        operation.refuse("the model has no normalisation of torch.nn to switch off")
    modules = list(filter(_surgery.trained(operation.roots), norms))
    if not modules:
        operation.refuse("every normalisation of the model is frozen")
    for module in modules:
        operation.become(module, nn.Identity())
        operation.count(module)
    _surgery.finish(operation, modules, kind="none", layers=len(modules))


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
    first = layers[0].kind if layers else ""
    conv = next((n for n in "123" if first.endswith(f"{n}d")), "")
    if kind == "batch":
        module = f"nn.BatchNorm{conv or 1}d({width})"
    else:
        module = f"nn.GroupNorm(1, {width})" if conv else f"nn.LayerNorm({width})"
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
    space=space, refusal=refusal, suggest=suggest, apply=apply, effect=effect, advice=advice,
    validate=validate,
)  # fmt: skip
