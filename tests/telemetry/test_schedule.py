"""What of a long run is looked at less often, and what never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sweeper.telemetry.samples import Batch, SeenSamples, sum_up
from sweeper.telemetry.schedule import block_length, details_due, layers_due
from tests.conftest import Runner

LONG = """
import torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(64, 3)
y = (x[:, 0] > 0).long()
model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(2200):
    batch = slice(step % 8 * 8, step % 8 * 8 + 8)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
    loss.backward()
    optimizer.step()
"""


def test_a_long_run_keeps_every_loss_and_thins_the_rest(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text(LONG)
    record = run(path).record
    assert len(record.series("loss")) == 2200
    assert np.isfinite(record.series("loss")).all()
    assert (record.series("lr") == 0.1).all()
    looked = np.array([details_due(step) for step in range(2200)])
    assert (np.isfinite(record.series("accuracy")) == looked).all()
    assert looked[:1000].all() and 250 <= looked[1000:2000].sum() <= 270
    assert 25 <= looked[2000:].sum() <= 30
    # A gradient norm that was not taken is the last that was: never missing, never non-finite.
    norm = record.series("grad_norm")
    last = np.maximum.accumulate(np.where(looked, np.arange(2200), 0))
    assert np.isfinite(norm).all() and (norm == norm[last]).all()
    assert len(set(norm[2000:].tolist())) > 20
    assert record.facts.batch_size == 8


def test_few_samples_are_looked_at_more_often() -> None:
    small, large = (
        [step for step in range(4000, 6000) if details_due(step, batch)] for batch in (8, 128)
    )
    assert set(large) < set(small)
    assert 250 <= len(small) <= 270 and 125 <= len(large) <= 150
    both = [[details_due(step, batch) for step in range(2000)] for batch in (8, 128)]
    assert both[0] == both[1]


def test_layers_are_sampled_at_steps_that_are_looked_at() -> None:
    assert all(details_due(step, 64) for step in range(20_000) if layers_due(step))


def rows(batch: Batch, seen: SeenSamples) -> np.ndarray:
    sum_up([batch], seen)
    sums = batch.known_sums(seen)
    assert sums is not None
    return seen.fresh(sums.numpy())


def test_samples_are_looked_at_less_often_once_a_whole_pass_was_known() -> None:
    seen, data = SeenSamples(), torch.randn(6, 4)
    assert rows(Batch(data, seen), seen).all()
    for part in (data[:3], data[3:]):
        assert seen.due(9)
        assert not rows(Batch(part, seen), seen).any()
    assert seen.due(9)  # six known in a row, as many as there are
    rows(Batch(data[:1], seen), seen)
    assert [step for step in range(17) if seen.due(step)] == [0, 8, 16]
    assert [step for step in range(2000, 2070) if seen.due(step)] == [2016, 2048]
    assert rows(Batch(torch.randn(2, 4), seen), seen).all()
    assert seen.due(9)  # something fresh has come


def test_a_repeated_batch_is_not_looked_at() -> None:
    batch = Batch(torch.randn(5, 4), SeenSamples(), repeated=True)
    assert (batch.n, batch.held, batch.kept, batch.sums) == (5, 0, None, None)


def test_a_record_is_never_behind_by_more_than_a_tenth_of_a_run_or_fifty_steps() -> None:
    for start in (0, 200, 999, 1000, 2000, 50_000):
        assert 1 <= block_length(start) <= max(50, start // 10)
    assert block_length(0) == 20
