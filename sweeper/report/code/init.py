"""Draw the weights anew right before the optimizer is built."""

from __future__ import annotations

import math
from collections import Counter

from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import literal
from sweeper.report.code._places import model_name, optimizer_call
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts, Fix, FixValue

PLAIN = ("Linear", "Conv1d", "Conv2d", "Conv3d")
DRAWS = {
    "xavier": "init.xavier_uniform_(module.weight)",
    "orthogonal": "init.orthogonal_(module.weight)",
    "lecun": "init.kaiming_normal_(module.weight, nonlinearity='linear')",
}

GAINS = {"tanh": 5 / 3, "selu": 0.75} | dict.fromkeys(
    ("relu", "leaky_relu", "elu", "gelu", "silu", "mish"), math.sqrt(2.0)
)
"""Activation -> gain, as the remedy has it; a test holds the two together."""
WORDS = {math.sqrt(2.0): "relu", 5 / 3: "tanh", 0.75: "selu", 1.0: "linear"}
"""Gain -> its name in torch.nn.init.calculate_gain."""


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    scheme, scale = _spelled(fix.changes["init"])
    odd = sorted({x.kind for x in facts.layers} - {*PLAIN})
    if odd or not facts.layers:
        raise Unsure(f"how to draw a {odd[0]} is not one line" if odd else "no layer was seen")
    place = script.statement(optimizer_call(script, facts))
    model = model_name(script, facts, place)
    torch_nn, imports = script.spelled("torch.nn")
    kinds = ", ".join(f"{torch_nn}.{k}" for k in PLAIN if any(x.kind == k for x in facts.layers))
    if "module" in script.assigned | set(script.aliases):
        raise Unsure("the name module is taken")
    kinds = f"({kinds})" if "," in kinds else kinds
    head, draw = f"for module in {model}.modules():", DRAWS.get(scheme, "")
    if scheme == "kaiming":
        gain, by_name = _gain(facts)
        head = f"for name, module in {model}.named_modules():" if by_name else head
        draw = f"init.kaiming_normal_(module.weight, nonlinearity={gain})"
    lines = [head, f"    if isinstance(module, {kinds}):"]
    inner: list[str] = []
    if draw:
        inner.append(f"{torch_nn}.{draw}")
        inner += ["if module.bias is not None:", f"    {torch_nn}.init.zeros_(module.bias)"]
    elif scheme == "default":
        inner.append("module.reset_parameters()")
    if scale != 1.0:
        inner.append(f"module.weight.data.mul_({literal(scale)})")
    if not inner:
        raise Unsure("the fix keeps the weights as they are")
    lines += [f"        {line}" for line in inner]
    note = "" if scheme == "keep" else "other random numbers are drawn than under the fix file"
    return Placed(pieces=(script.block_before(place, lines), *imports), note=note)


def _gain(facts: Facts) -> tuple[str, bool]:
    """The nonlinearity of each layer as an expression, and whether it depends on the layer's name:
    what follows it decides, and the head is linear, as in the remedy."""
    words = {
        x.name: "linear" if x.is_output else WORDS.get(GAINS.get(x.followed_by, 1.0), "")
        for x in facts.layers
    }
    kinds = Counter(words.values())
    if "" in kinds or len(kinds) > 2:
        raise Unsure("the layers need different gains")
    usual = kinds.most_common(1)[0][0]
    odd = sorted(name for name, word in words.items() if word != usual)
    if not odd:
        return repr(usual), False
    other = words[odd[0]]
    test = f"name == {odd[0]!r}" if len(odd) == 1 else f"name in {tuple(odd)!r}"
    return f"{other!r} if {test} else {usual!r}", True


def _spelled(value: FixValue) -> tuple[str, float]:
    if isinstance(value, dict):
        return str(value.get("scheme", "keep")), float(value.get("scale", 1.0))
    return str(value), 1.0


EDIT = CodeEdit(remedy="init", edit=edit)
