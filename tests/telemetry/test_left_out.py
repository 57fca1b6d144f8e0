"""Models that take part in the training and that no optimizer was given."""

from __future__ import annotations

import torch
from torch import nn

from sweeper.program.models import find_roots, left_out


def parts() -> tuple[nn.Sequential, nn.Linear]:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2)


def test_an_encoder_in_the_graph_of_the_heads_input_is_a_root() -> None:
    encoder, head = parts()
    assert find_roots(head.parameters()) == [head]
    given = encoder(torch.randn(5, 3))
    assert find_roots(head.parameters()) == [encoder, head]
    del given
    assert find_roots(head.parameters()) == [head]


def test_an_encoder_without_gradients_is_not() -> None:
    encoder, head = parts()
    with torch.no_grad():
        given = encoder(torch.randn(5, 3))
    assert find_roots(head.parameters()) == [head]
    encoder.requires_grad_(False)
    given = encoder(torch.randn(5, 3))
    assert find_roots(head.parameters()) == [head]
    assert not given.requires_grad


def test_no_optimizer_no_roots() -> None:
    encoder, _ = parts()
    given = encoder(torch.randn(5, 3))
    assert given.requires_grad
    assert find_roots([]) == []


def test_a_head_behind_the_trained_part_is_counted_by_its_gradients() -> None:
    encoder, head = parts()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    assert left_out([optimizer], [encoder]) == 0
    head(encoder(torch.randn(5, 3))).sum().backward()
    assert left_out([optimizer], [encoder]) == 10
    assert left_out([optimizer], [encoder, head]) == 0  # counted inside the roots already
    both = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
    assert left_out([both], [encoder]) == 0
