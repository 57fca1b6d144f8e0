"""Ordinary programs, run unmodified in a real child process."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sweeper.remedies import all_remedies
from tests.conftest import PROGRAMS, Runner


def bare(name: str, *argv: str, cwd: Path | None = None) -> str:
    """What the program prints without us."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONHASHSEED="0")
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / f"{name}.py"), *argv],
        capture_output=True, text=True, env=environment, cwd=cwd, check=False,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("name", ["loop_rate", "functional", "scaler"])
def test_watching_does_not_change_what_a_program_prints(run: Runner, name: str) -> None:
    assert run(name).output == bare(name)


@pytest.mark.parametrize("name", ["loop_rate", "functional"])
def test_equal_jobs_leave_equal_signals_warm_or_fresh(run: Runner, name: str) -> None:
    first, second, fresh = run(name), run(name), run(name, fresh=True)
    for key, series in first.record.steps.items():
        np.testing.assert_array_equal(series, second.record.steps[key], err_msg=key)
        np.testing.assert_array_equal(series, fresh.record.steps[key], err_msg=key)
    assert first.output == second.output == fresh.output


def test_fresh_seeds_differ_in_every_generator_and_repeat(run: Runner) -> None:
    own, one, again, two = (run("unseeded", seed=s).output.split() for s in (0, 1, 1, 2))
    assert one == again
    for a, b, c in zip(own, one, two, strict=True):
        assert len({a, b, c}) == 3


def test_steps_budget_ends_a_program_that_swallows_exceptions(run: Runner) -> None:
    done = run("swallower", max_steps=30)
    assert (done.outcome.status, done.outcome.steps) == ("budget", 30)
    assert "swallowed" not in done.output
    assert len(done.record.series("loss")) == 30


def test_steps_budget_ends_a_program_with_a_bare_except(run: Runner) -> None:
    done = run("swallower", argv=("--bare",), max_steps=30)
    assert (done.outcome.status, done.outcome.steps) == ("budget", 30)
    assert np.isfinite(done.record.series("loss")).all()


def test_exit_code_of_the_program_is_kept(run: Runner) -> None:
    done = run("swallower")
    assert (done.outcome.status, done.outcome.exit_code) == ("finished", 3)
    assert "steps 200" in done.output


def test_crash_keeps_error_and_traceback(run: Runner) -> None:
    done = run("crash")
    assert done.outcome.status == "program_error"
    assert "column 'label' is missing" in done.outcome.error
    assert "crash.py" in done.outcome.traceback
    assert done.outcome.steps == 3


def test_loss_is_undivided_and_accuracy_counted_over_an_accumulated_step(run: Runner) -> None:
    done = run("loop_rate")
    printed = [float(line.split()[3]) for line in done.output.splitlines()]
    loss = done.record.series("loss")  # two micro-batches of loss / 2
    task = done.record.series("task_loss")
    np.testing.assert_allclose(loss, task, rtol=1e-5)
    assert np.abs(loss - np.array(printed)).max() < 1.0  # the program prints its second half only
    assert done.record.facts.backwards_per_step == 2
    assert set(done.record.series("n")) == {32.0}


EQUAL_RATE = """
import torch
from torch import nn
rate = float("0.1")
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(8):
    {write}
    loss = model(torch.randn(4, 3)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("write", "written"), [('optimizer.param_groups[0]["lr"] = rate', True), ("pass", False)]
)
def test_a_loop_that_writes_an_equal_rate_writes_it(
    run: Runner, tmp_path: Path, write: str, written: bool
) -> None:
    path = tmp_path / "equal_rate.py"
    path.write_text(EQUAL_RATE.format(write=write))
    facts = run(path).record.facts
    assert facts.lr_written_by_program is written
    advice = all_remedies()["learning_rate"].advice(0.01, facts)
    assert ("the loop writes" in advice) is written


def test_program_rate_schedule_and_clip_become_facts(run: Runner) -> None:
    facts = run("loop_rate").record.facts
    assert facts.lr_written_by_program
    assert facts.optimizers[0].name == "AdamW"
    assert facts.optimizers[0].peak_lr == pytest.approx((6e-3, 6e-3))
    assert facts.clips[0].max_norm == 1.0
    assert facts.n_classes == 8
    assert facts.grads_zeroed


def test_reported_norm_is_the_one_before_the_programs_clip(run: Runner) -> None:
    record = run("loop_rate").record
    clipped = record.series("clipped_norm")
    assert (record.series("grad_norm") >= clipped - 1e-6).all()
    assert clipped.max() <= 1.0 + 1e-5


def test_gates_and_outputs_are_told_from_hidden_activations(run: Runner) -> None:
    sites = {
        s.function: s for s in run("functional").record.facts.activations if s.function != "sigmoid"
    }
    assert sites["tanh"].swappable
    assert sites["relu"].swappable
    sigmoids = [s for s in run("functional").record.facts.activations if s.function == "sigmoid"]
    assert {s.site.split("|")[0]: s.swappable for s in sigmoids} == {"": True, "gated": False}


def test_own_evaluation_is_measured(run: Runner) -> None:
    done = run("functional")
    printed = [float(line.split()[-1]) for line in done.output.splitlines()]
    assert done.record.evals is not None
    np.testing.assert_allclose(done.record.evals.accuracy, printed, atol=1e-4)
    assert (done.record.evals.fresh_share == 1.0).all()


def test_skipped_steps_of_a_scaler_are_counted_and_losses_unscaled(run: Runner) -> None:
    done = run("scaler")
    record = done.record
    printed = {int(line.split()[0]): float(line.split()[1]) for line in done.output.splitlines()}
    skipped = 40 - record.outcome.steps
    assert skipped > 0
    assert np.nansum(record.series("skipped")) == skipped
    assert record.series("loss")[-1] == pytest.approx(printed[39], rel=1e-4)
    assert record.series("clipped_norm").max() <= 0.5 + 1e-4


def tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_files_of_the_user_stay_as_they_are(run: Runner, tmp_path: Path) -> None:
    home = tmp_path / "user"
    home.mkdir()
    shutil.copy(PROGRAMS / "writer.py", home / "writer.py")
    for name in ("model.pt", "log.csv", "old.pt"):
        (home / name).write_text(f"the user's own {name}")
    before = tree(home)
    done = run(home / "writer.py")
    assert done.outcome.status == "finished", done.output
    assert "wrote torch.Size([1, 4])" in done.output  # it read back what it wrote
    assert done.outcome.containment in ("overlay", "redirect")
    assert tree(home) == before


CLOSED = """
import os
os.close(1)
os.close(2)
import torch
torch.manual_seed(0)
x = torch.randn(256, 4)
y = (x[:, 0] > 0).long()
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for step in range(60):
    rows = slice(step % 8 * 32, step % 8 * 32 + 32)
    loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    os.write(1, b"garbage " * 100) if os.path.exists("/proc/self/fd/1") else None
"""


def test_what_a_program_prints_into_closed_outputs_reaches_no_file_of_ours(
    run: Runner, tmp_path: Path
) -> None:
    path = tmp_path / "closed.py"
    path.write_text(CLOSED)
    done = run(path)
    assert done.outcome.status == "finished" and done.outcome.watch_errors == ()
    with np.load(done.folder / "captured.npz") as captured:
        assert np.isfinite(captured["inputs"]).all() and len(captured["inputs"]) >= 32
        assert np.abs(captured["inputs"]).max() < 10
