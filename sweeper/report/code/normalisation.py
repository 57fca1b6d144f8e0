"""A normalisation behind each hidden layer: in the sequence that holds it, or beside the attribute
that it is; or none in the place of the present ones."""

from __future__ import annotations

import ast
from collections import defaultdict

from sweeper.remedies._hints import hidden_layers, operable
from sweeper.remedies.activation import MODULES as ACTIVATIONS
from sweeper.report.code._base import CodeEdit, Placed
from sweeper.report.code._calls import argument, check_plain
from sweeper.report.code._names import KNOWN
from sweeper.report.code._places import check_whole
from sweeper.report.code._script import Piece, Script, Unsure
from sweeper.types import Facts, Fix, LayerFact

SPATIAL = {"Linear": 0, "Conv1d": 1, "Conv2d": 2, "Conv3d": 3}
LAYERS = tuple(f"torch.nn.{name}" for name in SPATIAL)
BATCH_NORMS = tuple(f"torch.nn.BatchNorm{n}d" for n in (1, 2, 3))
NORMS = (*BATCH_NORMS, *(f"torch.nn.{n}" for n in ("LayerNorm", "GroupNorm", "RMSNorm",
         "SyncBatchNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")))  # fmt: skip
APPLIED = {f"torch.nn.{name}" for name in (*KNOWN.values(), *ACTIVATIONS.values(), "PReLU")}
KEPT = ("eps", "affine")
"""Settings of a batch normalisation that a group normalisation has too."""
ROUNDING = "the norm of all gradients sums its layers in another order (rounding)"


def edit(script: Script, fix: Fix, facts: Facts) -> Placed:
    value = fix.changes["normalisation"]
    if isinstance(value, dict):
        raise Unsure("normalised inputs have no one place in the code")
    if value == "none":
        return Placed(pieces=_without(script, facts))
    if facts.n_frozen:
        raise Unsure("the program freezes parts of the model, and what is put there with them")
    pieces: list[Piece] = []
    if value == "layer" and any(operable(x) and x.followed_by == "norm" for x in facts.layers):
        pieces += _converted(script)
    hidden = hidden_layers(facts)
    if value == "batch":
        _check_rows(facts)
    numbered = [x for x in hidden if _last(x).isdigit()]
    named = [x for x in hidden if not _last(x).isdigit()]
    if numbered:
        pieces += _in_sequences(script, facts, numbered, str(value))
    for name in sorted({_last(x) for x in named}):
        pieces += _beside_attribute(script, name, str(value))
    if not pieces:
        raise Unsure("no hidden layer was seen")
    return Placed(pieces=tuple(pieces), note=ROUNDING if facts.clips else "")


def _last(layer: LayerFact) -> str:
    return layer.name.rpartition(".")[2]


def _check_rows(facts: Facts) -> None:
    """Batch normalisation takes rows of features, more than one of them."""
    odd = [x.kind for x in facts.layers if x.in_attention or x.kind in SEQUENCES]
    if odd or facts.task == "language_model":
        raise Unsure("the layers may see sequences, which BatchNorm1d takes in another order")
    for loader in facts.loaders:
        size, samples = loader.batch_size or 0, loader.n_samples or 0
        if loader.trained and size > 1 and samples % size == 1 and not loader.drop_last:
            raise Unsure("the last batch has one sample, which BatchNorm1d cannot train on")


SEQUENCES = ("Embedding", "LSTM", "GRU", "RNN", "MultiheadAttention")


def _in_sequences(
    script: Script, facts: Facts, numbered: list[LayerFact], kind: str
) -> list[Piece]:
    """Behind every layer that stands in front of an activation in a list or nn.Sequential."""
    places: list[ast.Call] = []
    literal: list[frozenset[int]] = []
    grown = False
    for holder, elements in _sequences(script):
        own = [i for i, e in enumerate(elements[:-1]) if _is_layer(script, e)
               and _is_activation(script, elements[i + 1])]  # fmt: skip
        places += [c for i in own if isinstance(c := elements[i], ast.Call)]
        if isinstance(holder, ast.Call) and not any(isinstance(e, ast.Starred) for e in elements):
            literal += [frozenset(own)] if own else []
        else:
            grown |= bool(own)
    groups: dict[str, set[int]] = defaultdict(set)
    for layer in numbered:
        groups[layer.name.rpartition(".")[0]].add(int(_last(layer)))
    seen = {frozenset(g) for g in groups.values()}
    if grown:
        others = [
            x for x in facts.layers if x.name.rpartition(".")[0] in groups and x.kind == "Linear"
        ]
        whole = all(x.is_output or x in numbered for x in others)
        if literal or len(groups) != 1 or not whole:
            raise Unsure("which elements of the lists are hidden layers is not certain")
    elif seen != set(literal):
        raise Unsure("the layers of the file are not those that the run saw")
    pieces = []
    for call in places:
        name, imports = _norm(script, call, kind)
        end = script.span(call)[1]
        pieces += [Piece(end, end, f", {name}"), *imports]
    return pieces


def _sequences(script: Script) -> list[tuple[ast.expr, list[ast.expr]]]:
    """Lists, tuples and the arguments of nn.Sequential."""
    found: list[tuple[ast.expr, list[ast.expr]]] = []
    for node in ast.walk(script.tree):
        if isinstance(node, (ast.List, ast.Tuple)):
            found.append((node, node.elts))
        elif isinstance(node, ast.Call) and script.dotted(node.func) == "torch.nn.Sequential":
            found.append((node, node.args))
    return found


def _is_layer(script: Script, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and script.dotted(node.func) in LAYERS


def _is_activation(script: Script, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and script.dotted(node.func) in APPLIED


def _norm(script: Script, layer: ast.Call, kind: str) -> tuple[str, list[Piece]]:
    """The constructor of the normalisation that fits a layer's output."""
    check_plain(layer)
    spatial = SPATIAL[script.dotted(layer.func).rpartition(".")[2]]
    width = argument(layer, "out_channels" if spatial else "out_features", 1)
    if width is None:
        raise Unsure(f"the width of the layer in line {layer.lineno} is not written there")
    if kind == "batch":
        module, given = f"BatchNorm{max(spatial, 1)}d", script.source(width)
    elif spatial:
        module, given = "GroupNorm", f"1, {script.source(width)}"
    else:
        module, given = "LayerNorm", script.source(width)
    name, imports = script.spelled(f"torch.nn.{module}", layer.func)
    return f"{name}({given})", imports


def _beside_attribute(script: Script, name: str, kind: str) -> list[Piece]:
    """``self.NAME_norm`` behind ``self.NAME``, and around its one use."""
    built = [
        n for n in ast.walk(script.tree)
        if isinstance(n, ast.Assign) and len(n.targets) == 1
        and _is_own(n.targets[0], name) and _is_layer(script, n.value)
    ]  # fmt: skip
    used = [n for n in ast.walk(script.tree) if isinstance(n, ast.Call) and _is_own(n.func, name)]
    mentions = [n for n in ast.walk(script.tree) if isinstance(n, ast.expr) and _is_own(n, name)]
    if len(built) != 1 or len(used) != 1 or len(mentions) != 2:
        raise Unsure(f"the layer {name} is not built and used once in the file")
    layer = built[0].value
    assert isinstance(layer, ast.Call)
    text, imports = _norm(script, layer, kind)
    start, end = script.span(used[0])
    return [
        script.after(built[0], f"self.{name}_norm = {text}"),
        Piece(start, start, f"self.{name}_norm("),
        Piece(end, end, ")"),
        *imports,
    ]


def _is_own(node: ast.expr, name: str) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def _converted(script: Script) -> list[Piece]:
    """Batch normalisations as layer normalisations over channels and positions: one group."""
    pieces: list[Piece] = []
    calls = script.calls(*BATCH_NORMS)
    if not calls:
        raise Unsure("no place in the file builds a batch normalisation")
    for call in calls:
        width = argument(call, "num_features", 0)
        if width is None:
            raise Unsure(f"the width of line {call.lineno} is not written there")
        if len(call.args) > 1:
            raise Unsure(f"line {call.lineno} gives the normalisation positional options")
        kept = [f"{k.arg}={script.source(k.value)}" for k in call.keywords if k.arg in KEPT]
        name, imports = script.spelled("torch.nn.GroupNorm", call.func)
        words = ", ".join(["1", script.source(width), *kept])
        pieces += [Piece(*script.span(call), f"{name}({words})"), *imports]
    return pieces


def _without(script: Script, facts: Facts) -> tuple[Piece, ...]:
    """nn.Identity takes any arguments and does nothing."""
    pieces: list[Piece] = []
    found = script.calls(*NORMS)
    if not found or not facts.norms:
        raise Unsure("no place in the file builds a normalisation")
    check_whole(script, len(facts.norms), len(found), "normalisations")
    for call in found:
        name, imports = script.spelled("torch.nn.Identity", call.func)
        pieces += [Piece(*script.span(call), f"{name}()"), *imports]
    return tuple(pieces)


EDIT = CodeEdit(remedy="normalisation", edit=edit)
