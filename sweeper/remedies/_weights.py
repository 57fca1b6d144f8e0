"""Drawing weights by scheme. Imports torch: child only."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from sweeper.program.models import is_transposed_linear, module_paths
from sweeper.remedies._layers import CONVS, NORMS, every_module
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
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Place:
    """A matrix that a module holds, as a parameter or composed of several by a parametrization."""

    module: nn.Module
    name: str
    path: str
    embedding: bool
    """Looked up somewhere, so that its rows have no fan: only scaled."""

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The parameters behind it."""
        parts = self.module._modules.get("parametrizations")
        if parts is not None and hasattr(parts, self.name):
            return list(getattr(parts, self.name).parameters(recurse=False))
        own = self.module._parameters
        names = (self.name, f"{self.name}_v", f"{self.name}_g")
        return [p for n in names if (p := own.get(n)) is not None]

    @property
    def value(self) -> torch.Tensor:
        """[out, in, ...] as the module uses it, but for transposed layers; detached."""
        composed: torch.Tensor = getattr(self.module, self.name)
        return composed.detach()

    def write(self, value: torch.Tensor) -> bool:
        """Whether its parametrization could take the value."""
        own = self.module._parameters
        direction, size = own.get(f"{self.name}_v"), own.get(f"{self.name}_g")
        if direction is not None and size is not None:  # torch.nn.utils.weight_norm
            direction.copy_(value)
            over = [d for d in range(value.dim()) if size.shape[d] == 1]
            size.copy_(value.norm(dim=over, keepdim=True))
        elif self.name in own:
            own[self.name].copy_(value)  # type: ignore[union-attr]
        else:
            before = [t.clone() for t in self.tensors]
            try:
                setattr(self.module, self.name, value)
            except (NotImplementedError, ValueError, RuntimeError):  # no way back through it
                for tensor, old in zip(self.tensors, before, strict=True):
                    tensor.copy_(old)
                return False
        return True


def places(
    roots: list[nn.Module], untouched: Callable[[torch.Tensor], bool] = lambda parameter: False
) -> list[Place]:
    """Every matrix that may be drawn or scaled, a tied one once.

    Norm layers have none, and unknown modules those of a telling name.
    """
    paths = module_paths(roots)
    looked_up = {
        id(m.weight) for m in every_module(roots) if isinstance(m, (nn.Embedding, nn.EmbeddingBag))
    }
    found: list[Place] = []
    seen: set[int] = set()
    for module in every_module(roots):
        if isinstance(module, (*NORMS, parametrize.ParametrizationList)):
            continue
        for name in dict.fromkeys(_matrices(module)):
            place = Place(module, name, paths[id(module)], False)
            ids = {id(t) for t in place.tensors}
            if ids & seen or any(untouched(t) for t in place.tensors):
                continue
            seen |= ids
            found.append(Place(module, name, place.path, bool(ids & looked_up)))
    return found


def _matrices(module: nn.Module) -> Iterator[str]:
    for name, parameter in module.named_parameters(recurse=False):
        base = re.sub(r"_[gv]$", "", name) if f"{name[:-1]}g" in module._parameters else name
        usable = parameter.is_floating_point() and not is_lazy(parameter) and parameter.dim() > 1
        if usable and "bias" not in name and (_is_known(module) or PLAIN_WEIGHT.fullmatch(base)):
            yield base
    if parametrize.is_parametrized(module) and _is_known(module):
        yield from (n for n in module.parametrizations if "weight" in n)  # type: ignore[union-attr]


def zero_branches(found: Iterable[Place], facts: Facts | None) -> list[Place]:
    """Matrices that start at zero on purpose: the ends of residual branches, adapters, a head.

    A minority, at most half of those before the head: where most are zero, nothing learns and that
    is the fault to be cured.
    """
    heads = {la.name for la in facts.layers if la.is_output} if facts else set()
    matrices = [p for p in found if not p.embedding]
    zero = [p for p in matrices if not bool(p.value.any())]
    hidden = [p for p in matrices if p.path not in heads]
    n_zero = sum(p.path not in heads for p in zero)
    return zero if 2 * n_zero <= len(hidden) and len(zero) < len(matrices) else []


def initialise(
    roots: list[nn.Module],
    facts: Facts | None,
    scheme: str,
    scale: float,
    untouched: Callable[[torch.Tensor], bool] = lambda parameter: False,
) -> list[torch.Tensor]:
    """Draw the weight matrices anew, biases to zero (not for ``keep``), then multiply; the changed
    tensors.

    Norm layers and what is ``untouched`` stay as they are, also what starts at zero on purpose;
    embeddings are only scaled. Modules whose orientation is not known, such as hand-written cells,
    get the symmetric schemes (Xavier's fan average), and nothing for torch's ``default``.
    """
    follow = {la.name: la.followed_by for la in facts.layers if not la.is_output} if facts else {}
    every = places(roots, untouched)
    kept = {id(p) for p in zero_branches(every, facts)} if scheme != "keep" else set()
    changed: list[torch.Tensor] = []
    with torch.no_grad():
        for place in every:
            unknown = scheme == "default" and not _is_known(place.module)
            drawn = scheme != "keep" and not (place.embedding or unknown)
            if id(place) in kept or not (drawn or scale != 1.0):
                continue
            value = place.value.clone()
            if drawn:
                gain = GAINS.get(follow.get(place.path, ""), 1.0) if facts else math.sqrt(2.0)
                _draw(place, value, scheme, gain)
            if place.write(value.mul_(scale)):
                changed += [t for t in place.tensors if t.dim() > 1]
                if drawn:
                    _draw_biases(place, scheme, untouched)
    return changed


def total_norm(roots: list[nn.Module]) -> float:
    """Euclidean norm of all matrices together."""
    squares = [
        float(p.detach().norm()) ** 2
        for root in roots
        for p in root.parameters()
        if not is_lazy(p) and p.dim() >= 2 and p.is_floating_point()
    ]
    return math.sqrt(sum(squares))


def _is_known(module: nn.Module) -> bool:
    """Its matrices are [out, in, ...], or transposed in a known way."""
    kinds = (nn.Linear, *CONVS, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
    return isinstance(module, kinds) or is_transposed_linear(module)


def _bound(place: Place, value: torch.Tensor) -> float:
    """Of torch's own uniform first values."""
    if isinstance(place.module, (nn.RNNBase, nn.RNNCellBase)):
        return 1.0 / math.sqrt(max(1, int(place.module.hidden_size)))
    if is_transposed_linear(place.module):
        return 1.0 / math.sqrt(max(1, value.shape[0]))
    return 1.0 / math.sqrt(max(1, nn.init._calculate_fan_in_and_fan_out(value)[0]))


def _draw_biases(place: Place, scheme: str, untouched: Callable[[torch.Tensor], bool]) -> None:
    if not _is_known(place.module):
        return
    zero = scheme != "default" or isinstance(place.module, nn.MultiheadAttention)
    bound = _bound(place, place.value)
    for name, bias in place.module.named_parameters(recurse=False):
        if "bias" in name and bias.dim() == 1 and bias.is_floating_point() and not untouched(bias):
            bias.zero_() if zero else bias.uniform_(-bound, bound)


def _fan_in(place: Place, block: torch.Tensor) -> float:
    """Inputs that one output adds up."""
    module = place.module
    if is_transposed_linear(module):
        return float(block.shape[0])
    if isinstance(module, _TRANSPOSED):  # [in, out / groups, ...]; a stride spreads the inputs out
        taps = block[0, 0].numel() / math.prod(module.stride)
        return max(1.0, block.shape[0] / module.groups * taps)
    return float(nn.init._calculate_fan_in_and_fan_out(block)[0])


def _draw(place: Place, value: torch.Tensor, scheme: str, gain: float) -> None:
    """Draw one matrix, gate by gate for recurrent cells and for the joint projection of
    attention."""
    module, blocks = place.module, 1
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        gain = 1.0  # a recurrence multiplies by itself many times
        if place.name.startswith(("weight_ih", "weight_hh")):
            blocks = GATES.get(type(module).__name__, 1)
    elif place.name == "in_proj_weight" and scheme != "default":
        blocks = 3
    for block in value.chunk(blocks):
        if scheme == "orthogonal":
            nn.init.orthogonal_(block)
        elif scheme == "default" and not isinstance(module, nn.MultiheadAttention):
            bound = _bound(place, value)
            block.uniform_(-bound, bound)
        elif scheme in ("xavier", "default") or not _is_known(module):
            nn.init.xavier_uniform_(block)
        else:
            size = gain if scheme == "kaiming" else 1.0
            block.normal_(0.0, size / math.sqrt(max(1.0, _fan_in(place, block))))
