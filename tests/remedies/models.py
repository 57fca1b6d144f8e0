"""Models of many shapes, drawn as nested descriptions; their classes can be pickled."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

WIDTH = 6
"""Features between blocks: all keep it, so that they nest in any order."""
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}
FUNCTIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "gelu": F.gelu}
Description = tuple[Any, ...]


class Called(nn.Module):
    """A layer whose activation and dropout are called as functions."""

    def __init__(self, kind: str, rate: float) -> None:
        super().__init__()
        self.layer, self.kind, self.rate = nn.Linear(WIDTH, WIDTH), kind, rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = FUNCTIONS[self.kind](self.layer(x))
        return F.dropout(x, self.rate, self.training)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x))


class Around(nn.Module):
    """A residual block."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Twice(nn.Module):
    """One module in two places."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = self.again = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.body(x))


class Container(nn.Module):
    """Parts in a ModuleList and a ModuleDict."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.listed = nn.ModuleList(parts[:-1])
        self.named = nn.ModuleDict({"last": parts[-1]})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.listed:
            x = part(x)
        return self.named["last"](x)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = kind(WIDTH, WIDTH, num_layers=2, dropout=0.1, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0]


class Attended(nn.Module):
    """torch's attention, with a rate of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, dropout=0.1, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)[0]


class Convolved(nn.Module):
    """A convolution over the positions, channels first inside."""

    def __init__(self, norm: bool, transposed: bool) -> None:
        super().__init__()
        make = nn.ConvTranspose1d if transposed else nn.Conv1d
        self.conv = make(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm1d(WIDTH) if norm else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x.transpose(1, 2)))).transpose(1, 2)


class Model(nn.Module):
    """Token ids [batch, positions] to logits [batch, tokens]; the head may be tied."""

    def __init__(self, body: nn.Module, tied: bool, frozen: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, WIDTH)
        self.first = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.body = body
        self.head = nn.Linear(WIDTH, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        if frozen:
            self.first.requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.first(self.embedding(ids))).mean(1))


def built(what: Description) -> nn.Module:
    """The module that a description stands for."""
    kind, *rest = what
    if kind == "dense":
        act, rate = rest
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), ACTIVATIONS[act](), nn.Dropout(rate))
    if kind == "called":
        return Called(*rest)
    if kind == "gated":
        return Gated()
    if kind == "conv":
        return Convolved(*rest)
    if kind == "recurrent":
        return Recurrent(getattr(nn, rest[0]))
    if kind == "attention":
        return Attended()
    if kind == "transformer":
        layer = nn.TransformerEncoderLayer(
            WIDTH, 2, 8, dropout=0.1, batch_first=True, activation=rest[0], norm_first=rest[1]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # norm_first has no fused path
            return nn.TransformerEncoder(layer, 1)
    if kind == "parametrised":
        layer = nn.Linear(WIDTH, WIDTH)
        return nn.Sequential(getattr(parametrizations, rest[0])(layer), nn.Tanh())
    if kind == "normed":
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.SiLU())
    parts = [built(part) for part in rest]
    if kind == "sequence":
        return nn.Sequential(*parts)
    if kind == "container":
        return Container(parts)
    return Around(parts[0]) if kind == "around" else Twice(parts[0])


def descriptions() -> st.SearchStrategy[Description]:
    """Nested descriptions of modules from [batch, positions, WIDTH] to the same shape."""
    acts, rates = st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from([0.0, 0.3])
    flags = st.booleans()
    leaves = st.one_of(
        st.tuples(st.just("dense"), acts, rates),
        st.tuples(st.just("called"), acts, rates),
        st.tuples(st.just("gated")),
        st.tuples(st.just("conv"), flags, flags),
        st.tuples(st.just("recurrent"), st.sampled_from(["LSTM", "GRU", "RNN"])),
        st.tuples(st.just("attention")),
        st.tuples(st.just("transformer"), st.sampled_from(["relu", "gelu"]), flags),
        st.tuples(st.just("parametrised"), st.sampled_from(["weight_norm", "spectral_norm"])),
        st.tuples(st.just("normed")),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.just("sequence"), inner, inner),
            st.tuples(st.just("container"), inner, inner),
            st.tuples(st.just("around"), inner),
            st.tuples(st.just("twice"), inner),
        ),
        max_leaves=4,
    )
