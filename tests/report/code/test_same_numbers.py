"""The changed program does what the fix file does: run for real, compared bit for bit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sweeper.report.code import as_code, change_lines
from sweeper.types import Facts, Fix, FixValue
from tests.conftest import PROGRAMS, Run, Runner

SERIES = ("loss", "accuracy", "lr")
CASES: tuple[tuple[str, Mapping[str, FixValue]], ...] = (
    ("plain_loop", {"activation": "relu", "clip_norm": 0.5, "learning_rate": 0.3}),
    ("plain_loop", {"batch_size": 32, "dropout": 0.0, "label_smoothing": 0.1}),
    ("plain_loop", {"normalisation": "batch", "weight_decay": 0.1, "lr_schedule": "cosine"}),
    ("class_trainer", {"zero_grad": True, "optimizer": "adamw", "normalisation": "layer"}),
)  # fmt: skip
SLOW: tuple[tuple[str, Mapping[str, FixValue]], ...] = (
    *(
        ("plain_loop", fix)
        for fix in (
            {"activation": "gelu"}, {"batch_size": 8}, {"class_weights": True},
            {"clip_norm": {"max_norm": 0.1, "norm_type": "inf"}}, {"clip_norm": 1.0},
            {"dropout": 0.5}, {"init": {"scheme": "keep", "scale": 2.0}}, {"label_smoothing": 0.2},
            {"learning_rate": 1e-3}, {"lr_schedule": {"kind": "linear", "warmup": 0.0}},
            {"lr_schedule": {"kind": "step", "warmup": 0.3}}, {"normalisation": "layer"},
            {"optimizer": "adam"}, {"optimizer": "sgd"}, {"optimizer": "rmsprop"},
            {"weight_decay": 0.1}, {"optimizer": "radam", "learning_rate": 0.01},
        )
    ),
    *(
        ("class_trainer", fix)
        for fix in (
            {"activation": "tanh"}, {"clip_norm": 2.0}, {"learning_rate": 0.02},
            {"normalisation": "batch"}, {"optimizer": "sgd_momentum"}, {"zero_grad": True},
        )
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def known() -> dict[str, Facts]:
    """Facts of each program, from the run under the empty fix."""
    return {}


def both(
    run: Runner, known: dict[str, Facts], tmp_path: Path, name: str, fix: Mapping[str, FixValue]
) -> tuple[Run, Run, tuple[str, ...]]:
    """The program under the fix, the program after `patch` under nothing, and what was noted."""
    path = PROGRAMS / f"{name}.py"
    if name not in known:
        known[name] = run(name).record.facts
    facts = known[name]
    change = as_code(Fix(changes=fix), facts, path.read_bytes(), path.name)
    assert not change.instructions, change.instructions
    folder = tmp_path / "changed"
    folder.mkdir()
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    text = "\n".join(change_lines(change)) + "\n"
    subprocess.run(["patch", "-p0"], cwd=folder, input=text, text=True, check=True)
    assert copy.read_text() == change.text
    under = run(name, fix, facts=facts, planned_steps=facts.steps)
    assert not under.outcome.refused
    return under, run(copy), change.notes


def same(under: Run, changed: Run) -> None:
    for key in SERIES:
        ours, theirs = under.record.series(key), changed.record.series(key)
        assert np.isfinite(ours).any(), key
        np.testing.assert_array_equal(ours, theirs, err_msg=key)
    ours_e, theirs_e = under.record.evals, changed.record.evals
    assert ours_e is not None
    assert theirs_e is not None
    np.testing.assert_array_equal(ours_e.accuracy, theirs_e.accuracy)
    assert under.output == changed.output


@pytest.mark.parametrize(
    ("name", "fix"), CASES, ids=lambda v: v if isinstance(v, str) else "+".join(v)
)
def test_the_changed_program_gives_the_numbers_of_the_fix_file(
    run: Runner, known: dict[str, Facts], tmp_path: Path, name: str, fix: Mapping[str, FixValue]
) -> None:
    same(*both(run, known, tmp_path, name, fix)[:2])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fix"), SLOW, ids=lambda v: v if isinstance(v, str) else str(v))
def test_each_edit_gives_the_numbers_of_the_fix_file(
    run: Runner, known: dict[str, Facts], tmp_path: Path, name: str, fix: Mapping[str, FixValue]
) -> None:
    same(*both(run, known, tmp_path, name, fix)[:2])


def test_where_numbers_may_differ_it_is_said_and_training_is_restored_all_the_same(
    run: Runner, known: dict[str, Facts], tmp_path: Path
) -> None:
    """Other initial weights and logits instead of the logarithm of a softmax: near, not equal."""
    under, changed, notes = both(
        run, known, tmp_path, "class_trainer",
        {"drop_output_softmax": True, "zero_grad": True, "init": "xavier", "learning_rate": 0.01},
    )  # fmt: skip
    assert [n.partition(":")[0] for n in notes] == ["drop_output_softmax", "init"]
    before = run("class_trainer")
    assert before.record.evals is not None
    assert before.record.evals.accuracy[-1] < 0.75
    for one in (under, changed):
        assert one.record.evals is not None
        assert one.record.evals.accuracy[-1] > 0.9
