"""Models that take part in the training and that no optimizer was given."""

from __future__ import annotations

import gc

import torch
from torch import nn

from sweeper.program.models import find_roots, left_out


def parts() -> tuple[nn.Sequential, nn.Linear]:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2)


def test_an_encoder_in_the_graph_of_the_heads_input_is_a_root() -> None:
    encoder, head = parts()
    assert find_roots(head.parameters()) == [head]
    given = encoder(torch.randn(5, 3))
    assert find_roots(head.parameters(), [given]) == [encoder, head]
    assert find_roots(head.parameters(), [given.detach()]) == [head]


def test_an_encoder_without_gradients_is_not() -> None:
    encoder, head = parts()
    with torch.no_grad():
        given = encoder(torch.randn(5, 3))
    assert find_roots(head.parameters(), [given]) == [head]
    encoder.requires_grad_(False)
    assert find_roots(head.parameters(), [encoder(torch.randn(5, 3))]) == [head]


def test_no_optimizer_no_roots() -> None:
    encoder, _ = parts()
    assert find_roots([], [encoder(torch.randn(5, 3))]) == []


def test_a_head_behind_the_trained_part_is_counted_by_its_gradients() -> None:
    encoder, head = parts()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    gc.collect()
    others = left_out([optimizer], [encoder])  # models of other tests in this process
    head(encoder(torch.randn(5, 3))).sum().backward()
    assert left_out([optimizer], [encoder]) == others + 10
    assert left_out([optimizer], [encoder, head]) == others  # counted inside the roots already
    both = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
    assert left_out([both], [encoder]) == others
