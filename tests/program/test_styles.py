"""Programs as people write them (tests/programs/styles): what a run must see of each, and what a
fix must reach. The whole matrix of styles and remedies is made by `style_matrix.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sweeper.baseline import Baseline, run_baseline
from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.program.models import layer_of
from sweeper.program.target import parse_program
from sweeper.telemetry.record import read_record
from sweeper.types import Facts, Fix, FixValue, Job, Outcome, ProgramCrashed, RunRecord, UsageError
from tests.program import style_matrix
from tests.program.style_matrix import COLUMNS, DEFECT, PAGE, PROGRAMS, STYLES, Row
from tests.program.test_runs import bare


@pytest.fixture(scope="module")
def runs() -> Iterator[Supervisor]:
    supervisor = style_matrix.warm_supervisor()
    yield supervisor
    supervisor.close()


class Bench:
    """Runs styles in one test's folder."""

    def __init__(self, runs: Supervisor, folder: Path) -> None:
        self.runs, self.folder = runs, folder

    def run(
        self,
        words: str,
        fix: dict[str, FixValue] | None = None,
        facts: Facts | None = None,
        max_steps: int | None = None,
    ) -> tuple[Outcome, RunRecord, str]:
        """Outcome, record and output of a run; its watching must not have failed."""
        change = Fix(changes=fix or {})
        folder = run_folder(self.folder / f"{len(list(self.folder.iterdir()))}", change, 0, None)
        job = Job(
            program=parse_program(words.split(), PROGRAMS), fix=change, seed=0, facts=facts,
            folder=folder, deadline_seconds=120.0, max_steps=max_steps,
            planned_steps=facts.steps if facts else None,
        )  # fmt: skip
        outcome = self.runs.run(job)
        assert not outcome.watch_errors, outcome.watch_errors[0]
        return outcome, read_record(folder), (folder / "output.log").read_text()

    def baseline(self, words: str) -> Baseline:
        program = parse_program(words.split(), PROGRAMS)
        return run_baseline(program, self.folder / "study", self.runs.run)


@pytest.fixture
def bench(runs: Supervisor, tmp_path: Path) -> Bench:
    return Bench(runs, tmp_path)


# -- the page --------------------------------------------------------------------------------------


def test_a_page_gives_back_its_rows() -> None:
    cells = dict.fromkeys(COLUMNS, style_matrix.TOOK_HOLD)
    rows = {
        STYLES[0].name: Row("9 steps by SGD, 1 layers", cells | {COLUMNS[0]: "it has none"}),
        STYLES[3].name: Row("8 steps by Adam", cells | {COLUMNS[2]: style_matrix.ON_BROKEN}),
    }
    text = style_matrix.page(rows)
    assert style_matrix.read_page(text) == rows
    assert style_matrix.page(style_matrix.read_page(text)) == text


@pytest.mark.skipif(not PAGE.exists(), reason="the page was not generated yet")
def test_the_page_names_every_remedy_and_has_no_defect() -> None:
    rows = style_matrix.read_page(PAGE.read_text())
    assert set(rows) <= {style.name for style in STYLES}
    for name, row in rows.items():
        assert tuple(row.cells) == COLUMNS, name
        assert not [text for text in (row.seen, *row.cells.values()) if DEFECT in text], name


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_no_cell_of_a_style_is_silent(
    style: style_matrix.Style, runs: Supervisor, tmp_path: Path
) -> None:
    row = style_matrix.measure(style, tmp_path, runs.run)
    assert tuple(row.cells) == COLUMNS and all(row.cells.values())
    assert not [text for text in (row.seen, *row.cells.values()) if DEFECT in text]


# -- what a run sees -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        ("raw_tensors.py", ("W1", "W2")),
        ("loose_parameter.py", ("0", "2", "4", "prototypes")),
        ("several_models.py", ("1:0", "1:2", "0:0", "0:2", "2:")),
        ("gan.py", ("0:0", "0:2", "1:0", "1:2")),
        ("own_gradients.py", ("0", "2")),
        ("custom_function.py", ("a", "b", "c")),
        ("lazy.py", ("0", "3", "6")),
        ("parametrized.py", ("0", "2", "4")),
        ("spawned.py 1", ("0", "2")),
        ("patches_torch.py", ("0", "2")),
        ("function_target.py:fit", ("0", "2")),
    ],
)
def test_every_layer_is_seen(bench: Bench, words: str, layers: tuple[str, ...]) -> None:
    outcome, record, output = bench.run(words)
    assert outcome.status == "finished", output
    assert tuple(layer.name for layer in record.facts.layers) == layers
    assert record.layers is not None and np.isfinite(record.layers.update_norm).all()
    assert {layer_of(name) for name in record.layers.names} == set(layers)
    assert np.isfinite(record.series("loss")).all()


def test_reentrant_checkpoints_are_traced_like_others(bench: Bench) -> None:
    seen = [bench.run(f"checkpointing.py {kind}")[1].facts for kind in ("reentrant", "plain")]
    assert seen[0].layers == seen[1].layers and len(seen[0].layers) == 8
    assert seen[0].activations == seen[1].activations
    assert {site.function for site in seen[0].activations if site.swappable} == {"tanh", "gelu"}


@pytest.mark.parametrize("words", ["lazy", "checkpointing reentrant", "scaler fused"])
def test_watching_changes_nothing(bench: Bench, words: str) -> None:
    name, *arguments = words.split()
    assert bench.run(f"{name}.py {' '.join(arguments)}")[2] == bare(f"styles/{name}", *arguments)


def test_a_run_is_one_training(bench: Bench) -> None:
    baseline = bench.baseline("folds.py")
    assert baseline.facts.trains_again and baseline.facts.finished
    assert baseline.facts.steps == 54  # of one fold: 6 epochs of 142 samples by 16
    assert "the first of its trainings" in baseline.summary


def test_losses_side_by_side_are_told_apart(bench: Bench) -> None:
    facts = bench.run("several_models.py")[1].facts
    assert (facts.loss_function, facts.n_classes, facts.batch_size) == ("cross_entropy", 10, 32)
    assert facts.output_activation == ""  # the sigmoid is the other loss's
    assert facts.backwards_per_step == 2


def test_samples_are_counted_where_the_loss_is_the_programs_own(bench: Bench) -> None:
    record = bench.run("functional_activations.py")[1]
    assert record.facts.batch_size == 44 and set(record.series("n")) == {44.0}


def test_a_later_optimizer_takes_over(bench: Bench) -> None:
    facts = bench.run("replaced_optimizer.py")[1].facts
    assert facts.steps == 60 and [o.steps for o in facts.optimizers] == [30, 30]
    record = bench.run("replaced_optimizer.py", {"learning_rate": 0.01}, facts)[1]
    np.testing.assert_allclose(record.series("lr"), 0.01)


def test_schedulers_without_a_base_constructor_are_seen(bench: Bench) -> None:
    for name in ("ReduceLROnPlateau", "SequentialLR"):
        facts = bench.run(f"schedulers.py {name} batch")[1].facts
        assert name in facts.schedulers and not facts.lr_written_by_program


def test_compiled_models_run_uncompiled_and_it_is_said(bench: Bench) -> None:
    assert "torch.compile switched off" in bench.baseline("compiled.py").summary


# -- what a fix reaches ----------------------------------------------------------------------------


def test_skipped_steps_count_apart_from_gathered_ones(bench: Bench) -> None:
    facts = bench.run("scaler.py")[1].facts
    assert facts.steps == 56  # of 60: four factors overflow
    outcome, record, _ = bench.run("scaler.py", {"batch_size": 96}, facts)
    assert outcome.steps == 14
    assert np.nansum(record.series("skipped")) == 4
    assert set(record.series("n")[1:]) == {96.0}


def test_norms_are_of_unscaled_gradients_with_a_fused_optimizer_too(bench: Bench) -> None:
    facts = bench.run("scaler.py fused")[1].facts
    record = bench.run("scaler.py fused", {"clip_norm": 0.5}, facts)[1]
    assert 0.5 < np.nanmax(record.series("grad_norm")) < 1e4  # the factor is 1e37
    assert np.nanmax(record.series("clipped_norm")) <= 0.5 * 1.001


def test_tensors_without_a_module_take_a_fix(bench: Bench) -> None:
    facts = bench.run("raw_tensors.py")[1].facts
    outcome, record, _ = bench.run("raw_tensors.py", {"init": "orthogonal"}, facts)
    assert outcome.applied["init"]["held"] == outcome.applied["init"]["tensors"] == 2
    assert record.layers is not None
    np.testing.assert_allclose(record.layers.weight_norm[0], [40**0.5, 10**0.5], rtol=0.01)
    outcome, _, _ = bench.run("raw_tensors.py", {"activation": "tanh"}, facts)
    assert outcome.applied["activation"]["called"] == 1


def test_parameters_that_a_fix_joined_may_come_in_a_group_of_the_program(bench: Bench) -> None:
    facts = bench.run("parameter_groups.py")[1].facts
    outcome, _, output = bench.run("parameter_groups.py", {"unfreeze": True}, facts)
    assert outcome.status == "finished", output


# -- programs that cannot be watched, or fail ------------------------------------------------------


def test_a_program_of_several_processes_is_refused_with_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"trains in 2 processes \(torch.multiprocessing.spawn\)"):
        bench.baseline("spawned.py 2")


def test_an_error_of_the_program_is_its_own(bench: Bench) -> None:
    with pytest.raises(ProgramCrashed, match="grad can be implicitly created only for scalar"):
        bench.baseline("faulty/vector_loss.py")


def test_a_program_without_backward_is_told(bench: Bench) -> None:
    baseline = bench.baseline("faulty/no_backward.py")
    assert baseline.facts.detached and baseline.facts.backwards_per_step == 0
    assert baseline.diagnosis.hypotheses[0].cause == "code_fault"
