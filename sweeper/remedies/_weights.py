"""Drawing weights by scheme. Imports torch: child only."""

from __future__ import annotations

import math
import re

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sweeper.program.models import module_paths
from sweeper.remedies._surgery import CONVS, NORMS, every_module
from sweeper.types import Facts

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "LSTMCell": 4, "GRUCell": 3, "RNNCell": 1}
GAINS = {
    "relu": math.sqrt(2.0), "leaky_relu": math.sqrt(2.0), "elu": math.sqrt(2.0),
    "gelu": math.sqrt(2.0), "silu": math.sqrt(2.0), "mish": math.sqrt(2.0),
    "tanh": 5.0 / 3.0, "selu": 0.75,
}  # fmt: skip
"""Of Kaiming, by the activation that follows (torch.nn.init.calculate_gain; the smooth relatives of
ReLU take its gain); 1 for others."""

PLAIN_WEIGHT = re.compile(r"weight.*|[wu][a-z_]{0,4}", re.IGNORECASE)
"""Names of matrices that modules of the program's own hold (weight, W, W_hh); a position table is
none."""


def initialise(
    roots: list[nn.Module], facts: Facts | None, scheme: str, scale: float
) -> list[torch.Tensor]:
    """Draw the weight matrices anew, biases to zero (not for ``keep``), then multiply; the changed
    tensors.

    Norm layers are never touched; embeddings only by ``scale``; unknown modules' own matrices (HF's
    Conv1D, hand-written cells), whose orientation is not known, get the symmetric schemes (Xavier's
    fan average).
    """
    changed: dict[int, torch.Tensor] = {}
    paths = module_paths(roots)
    follow = {la.name: la.followed_by for la in facts.layers if not la.is_output} if facts else {}
    tied = {
        id(m.weight) for m in every_module(roots) if isinstance(m, (nn.Embedding, nn.EmbeddingBag))
    }
    with torch.no_grad():
        for module in every_module(roots):
            if isinstance(module, NORMS):
                continue
            gain = GAINS.get(follow.get(paths[id(module)], ""), 1.0) if facts else math.sqrt(2.0)
            for name, parameter in module.named_parameters(recurse=False):
                usable = parameter.is_floating_point() and not _lazy(parameter)
                if not usable or id(parameter) in changed:
                    continue
                if not _takes_bias(module) and not PLAIN_WEIGHT.fullmatch(name):
                    continue
                embedding = id(parameter) in tied
                if parameter.dim() < 2:
                    if scheme not in ("keep", "default") and _takes_bias(module) and "bias" in name:
                        parameter.zero_()
                    continue
                if not embedding and scheme not in ("keep", "default"):
                    _draw(module, parameter, scheme, gain)
                if not embedding or scale != 1.0:
                    changed[id(parameter)] = parameter
        if scheme == "default":
            _reset(roots, tied, changed)
        for matrix in changed.values():
            if scale != 1.0:
                matrix.mul_(scale)
    return list(changed.values())


def total_norm(roots: list[nn.Module]) -> float:
    """Euclidean norm of all matrices together."""
    squares = [
        float(p.detach().norm()) ** 2
        for root in roots
        for p in root.parameters()
        if not _lazy(p) and p.dim() >= 2 and p.is_floating_point()
    ]
    return math.sqrt(sum(squares))


def _lazy(parameter: torch.Tensor) -> bool:
    """Whether its shape is not known before the first forward."""
    return bool(is_lazy(parameter))


def _takes_bias(module: nn.Module) -> bool:
    return isinstance(
        module, (nn.Linear, *CONVS, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
    )


def _reset(roots: list[nn.Module], tied: set[int], changed: dict[int, torch.Tensor]) -> None:
    """torch's own first values; what cannot be drawn that way does not count as changed."""
    drawn: set[int] = set()
    for module in every_module(roots):
        own = list(module.parameters(recurse=False))
        layer = isinstance(module, (nn.Linear, *CONVS, nn.RNNBase, nn.RNNCellBase))
        if layer and own and not any(id(p) in tied or _lazy(p) for p in own):
            module.reset_parameters()  # type: ignore[operator]
            drawn.update(id(p) for p in own)
    for key in [k for k in changed if k not in drawn and k not in tied]:
        del changed[key]


def _draw(module: nn.Module, parameter: torch.Tensor, scheme: str, gain: float) -> None:
    """Draw one matrix, gate by gate for recurrent cells."""
    gates = GATES.get(type(module).__name__, 1)
    known = _takes_bias(module)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        gain = 1.0  # a recurrence multiplies by itself many times
    blocks: tuple[torch.Tensor, ...] = parameter.chunk(gates) if gates > 1 else (parameter,)
    for block in blocks:
        fan_in, _ = nn.init._calculate_fan_in_and_fan_out(block)
        if scheme == "orthogonal":
            nn.init.orthogonal_(block)
        elif scheme == "xavier" or not known:
            nn.init.xavier_uniform_(block)
        elif scheme == "kaiming":
            block.normal_(0.0, gain / math.sqrt(max(1, fan_in)))
        else:
            block.normal_(0.0, 1.0 / math.sqrt(max(1, fan_in)))
