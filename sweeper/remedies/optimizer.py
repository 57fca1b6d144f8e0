"""Another update rule. The program's optimizer object stays; its class, and what its groups hold,
change."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweeper.remedies import _hints, _values
from sweeper.remedies._base import Remedy
from sweeper.remedies._rates import ADAM_LIKE, customary_rate
from sweeper.types import Cause, Diagnosis, Dimension, Facts, FixValue, RunRecord

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from sweeper.program.session import Session

CLASSES = {
    "sgd": "SGD",
    "sgd_momentum": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "nadam": "NAdam",
    "radam": "RAdam",
}
ADAM_FAMILY = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")
IMPOSSIBLE = {
    "LBFGS": "LBFGS evaluates a closure several times per step; the program is written around that",
    "SparseAdam": "SparseAdam is there for sparse gradients, which the other classes cannot take",
}
MOMENTUM = 0.9
"""Of ``sgd_momentum`` (Sutskever et al. 2013; torch's examples); ``sgd`` has torch's default,
none."""


def validate(value: FixValue) -> FixValue:
    full = _values.fields("optimizer", value, "optimizer", {})
    return _values.choice("optimizer", full["optimizer"], tuple(CLASSES))


def space(facts: Facts) -> Mapping[str, Dimension]:
    return {"optimizer": Dimension(kind="choice", choices=tuple(CLASSES))}


def refusal(facts: Facts) -> str:
    if not facts.optimizers:
        return "the program built no optimizer"
    reason = next((IMPOSSIBLE[o.name] for o in facts.optimizers if o.name in IMPOSSIBLE), "")
    if not reason and any(o.sparse for o in facts.optimizers):
        return "some gradients are sparse (embeddings), which most of the classes cannot take"
    return reason


def suggest(facts: Facts, diagnosis: Diagnosis) -> tuple[FixValue, ...]:
    """The other family first, at the kind whose customary rate is nearest to the program's own."""
    own = _hints.optimizer_name(facts)
    decay = facts.optimizers[0].weight_decay if facts.optimizers else 0.0
    if own != "adamw" and decay > 0 and _hints.belief(diagnosis, Cause.WEIGHT_DECAY_TOO_STRONG):
        return ("adamw",)  # decoupled decay is scaled by the rate (Loshchilov and Hutter 2019)
    sgd, adaptive = ["sgd", "sgd_momentum"], ["adam", "adamw", "rmsprop"]
    if own in ADAM_LIKE:
        peak = _hints.peak_rate(facts)
        distance = {k: abs(math.log(peak / customary_rate(k, facts))) for k in sgd}
        return (
            min(distance, key=lambda k: (distance[k], k)),
            "radam" if own != "radam" else "adam",
        )
    return tuple(kind for kind in adaptive if kind != own)[:2]


def apply(session: Session, value: FixValue) -> None:
    kind = str(value)
    seen: set[tuple[str, float]] = set()

    def swap(optimizer: Optimizer) -> None:
        reason = IMPOSSIBLE.get(type(optimizer).__name__) or _wrapper(optimizer)
        if reason:
            session.refuse("optimizer", reason)
        replace_class(optimizer, kind)

    def watch(optimizer: Optimizer) -> None:
        group = optimizer.param_groups[0]
        found = type(optimizer).__name__, float(group.get("momentum") or 0.0)
        if found not in seen:
            seen.add(found)
            session.confirm(
                "optimizer", steps_by=[[*s] for s in sorted(seen)], lr=float(group["lr"])
            )

    session.on_optimizer(swap)
    session.before_step(watch)


def _wrapper(optimizer: Optimizer) -> str:
    from torch.optim import Optimizer

    held = [type(v).__name__ for v in vars(optimizer).values() if isinstance(v, Optimizer)]
    return f"{type(optimizer).__name__} is wrapped around {held[0]}" if held else ""


def replace_class(optimizer: Optimizer, kind: str) -> None:
    """Turn an optimizer into another class in place: parameters, rate, weight decay and identity
    stay."""
    import torch

    old, new = type(optimizer), getattr(torch.optim, CLASSES[kind])
    keep = {"lr", "weight_decay", "maximize"}
    if old.__name__ in ADAM_FAMILY and new.__name__ in ADAM_FAMILY:
        keep |= {"betas", "eps", "capturable"}
    fresh = class_defaults(new)
    if kind == "sgd_momentum":
        fresh["momentum"] = MOMENTUM
    optimizer.defaults = {
        k: optimizer.defaults.get(k, v) if k in keep else v for k, v in fresh.items()
    }
    for group in optimizer.param_groups:
        # The program may still read a key of its own class (group["betas"]), so old keys stay in
        # the groups; schedulers look at the defaults to learn what the class has, so there they go.
        kept = {k: group[k] for k in keep if k in group}
        group.update(fresh)
        group.update({k: v for k, v in kept.items() if k in fresh})
        if group["lr"] is None:  # Adafactor's relative step
            group["lr"] = fresh["lr"]
    optimizer.state.clear()
    # Set by fused=True: GradScaler would leave the unscaling to a step that no longer does it.
    vars(optimizer).pop("_step_supports_amp_scaling", None)
    optimizer.__class__ = new
    optimizer._patch_step_function()


def class_defaults(cls: type[Optimizer]) -> dict[str, Any]:
    """The constructor's defaults, read from its signature: an instance would pass the optimizer
    seam."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]
    defaults = {p.name: p.default for p in parameters}
    if cls.__name__ == "AdamW":
        defaults["decoupled_weight_decay"] = True
    if defaults["lr"] is inspect.Parameter.empty:
        defaults["lr"] = 1e-3
    return defaults


def effect(value: FixValue, record: RunRecord) -> str:
    promised = CLASSES[str(value)]
    seen = _hints.evidence(record, "optimizer").get("steps_by", [])
    if not seen or any(name != promised for name, _ in seen):
        return f"steps were made by {seen or 'nothing'}, not {promised}"
    with_momentum = [momentum > 0 for _, momentum in seen]
    if promised == "SGD" and with_momentum != [value == "sgd_momentum"] * len(seen):
        return f"SGD stepped with momentum {seen[0][1]:g}, which {value} has not"
    return ""


def advice(value: FixValue, facts: Facts) -> str:
    kind = str(value)
    rate = _hints.peak_rate(facts)
    extra = f", momentum={MOMENTUM:g}" if kind == "sgd_momentum" else ""
    if facts.optimizers and facts.optimizers[0].weight_decay > 0:
        extra += f", weight_decay={facts.optimizers[0].weight_decay:g}"
    return f"optimizer = torch.optim.{CLASSES[kind]}(model.parameters(), lr={rate:g}{extra})"


REMEDY = Remedy(
    name="optimizer",
    summary="another update rule at the program's own rate",
    source="Keskar and Socher 2017 (SGD against Adam); AUTOTRAINER repairs oscillation so",
    treats=(
        Cause.OPTIMIZER_MISMATCH, Cause.LEARNING_RATE_TOO_LOW, Cause.LEARNING_RATE_TOO_HIGH,
        Cause.WEIGHT_DECAY_TOO_STRONG, Cause.UNBOUNDED_GRADIENT,
    ),
    structural=False,
    space=space,
    refusal=refusal,
    suggest=suggest,
    apply=apply,
    effect=effect,
    advice=advice,
    validate=validate,
)  # fmt: skip
