"""`sweeper.watch`: the record of a watched run, and not a bit of the training changed."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import _global_optimizer_pre_hooks
from torch.utils.data import DataLoader, TensorDataset

import sweeper
from sweeper.program import seams
from sweeper.program.session import Session
from sweeper.telemetry.record import read_record
from sweeper.types import Cause, RunRecord, UsageError
from tests.conftest import PROGRAMS, Runner

STEPS = 24


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = patched_places()
    yield
    assert patched_places() == before  # whatever a test did inside its block
    assert not seams.watching()


def patched_places() -> list[int]:
    """Identity of what the seams replace, and of this module's own name for a loss."""
    places = (
        torch.optim.SGD.__init__,
        nn.Module.__call__, nn.Module.load_state_dict, nn.Module.compile, DataLoader.__init__,
        DataLoader.__iter__, F.cross_entropy, cross_entropy, F.mse_loss, torch.Tensor.backward,
        torch.autograd.backward, nn.utils.clip_grad_norm_, torch.Tensor.__eq__, torch.eq,
        torch.compile, torch.Generator, np.random.seed, np.random.default_rng, random.seed,
        torch.optim.lr_scheduler.LRScheduler.__init__,
    )  # fmt: skip
    hooks = _global_optimizer_pre_hooks
    return [*map(id, places), len(hooks), "__init_subclass__" in vars(torch.optim.Optimizer)]


def parts(rate: float = 0.1) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    return model, torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)


def data(n: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(1))
    return x, x[:, :3].argmax(1)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> list[float]:
    x, y = data()
    losses = []
    for step in range(steps):
        rows = torch.arange(step * 16, (step + 1) * 16) % len(x)
        optimizer.zero_grad()
        loss = cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def states(model: nn.Module) -> list[Any]:
    """Weights and the state of every global generator."""
    numpy_state = np.random.get_state(legacy=True)[1].tolist()  # type: ignore[index]
    weights = [p.detach().tolist() for p in model.parameters()]
    return [weights, torch.get_rng_state().tolist(), numpy_state, random.getstate()]


def same_signals(one: RunRecord, other: RunRecord) -> None:
    assert one.steps.keys() == other.steps.keys()
    for key, series in one.steps.items():
        np.testing.assert_array_equal(series, other.steps[key], err_msg=key)
    assert one.layers is not None and other.layers is not None
    assert one.layers.names == other.layers.names
    np.testing.assert_array_equal(one.layers.update_norm, other.layers.update_norm)
    assert (one.activations is None) == (other.activations is None)
    if one.activations is not None and other.activations is not None:
        np.testing.assert_array_equal(one.activations.erank, other.activations.erank)
    assert (one.evals is None) == (other.evals is None)
    if one.evals is not None and other.evals is not None:
        np.testing.assert_array_equal(one.evals.accuracy, other.evals.accuracy)


def refused(rule: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(UsageError, match=rule), sweeper.watch(*arguments, **options):
        raise AssertionError("the block was entered")


# -- the same record, the same training ------------------------------------------------------------


def test_signals_are_those_of_the_same_training_as_a_child(run: Runner, tmp_path: Path) -> None:
    def script(*argv: str) -> str:
        words = [sys.executable, str(PROGRAMS / "watched.py"), *argv]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    folder = tmp_path / "record"
    bare, watched = script(), script(str(folder))
    child = run("watched", argv=(str(tmp_path / "unused"),))
    assert "sweeper watches the whole program" in child.output
    assert not (tmp_path / "unused").exists()
    told = [line for line in bare.splitlines() if line[:5] in ("epoch", "weigh")]
    assert len(told) == 5
    for text in (watched, child.output):
        assert [line for line in text.splitlines() if line[:5] in ("epoch", "weigh")] == told
    inside = read_record(folder)
    same_signals(inside, child.record)
    for name in ("loss_function", "task", "class_prior", "layers", "activations", "watch_points",
                 "clips", "schedulers", "loaders", "batch_size", "dropout", "steps", "finished",
                 "input_features"):  # fmt: skip
        assert getattr(inside.facts, name) == getattr(child.record.facts, name), name
    assert inside.facts.optimizers == child.record.facts.optimizers
    files = {p.name for p in folder.iterdir()}
    assert files == {"job.json", "signals.jsonl", "facts.json", "outcome.json", "captured.npz"}
    assert json.loads((folder / "job.json").read_text())["program"]["name"] == "watched"


def test_weights_and_generators_are_equal_to_the_bit() -> None:
    model, optimizer = parts()
    losses = train(model, optimizer)
    plain = states(model)
    model, optimizer = parts()
    with sweeper.watch(model, optimizer) as watched:
        assert train(model, optimizer) == losses
    assert watched.findings == () and "no critical finding" in repr(watched)  # diagnosed by now
    assert states(model) == plain


def test_names_imported_before_are_watched_and_come_back() -> None:
    model, optimizer = parts()
    original = cross_entropy
    with sweeper.watch(model, optimizer) as watched:
        assert cross_entropy is not original
        train(model, optimizer)
    assert cross_entropy is original
    assert watched.facts.loss_function == "cross_entropy"
    assert len(watched.record.series("accuracy")) == STEPS


def test_what_exists_already_and_what_is_built_inside_becomes_facts() -> None:
    model, optimizer = parts()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    loader = DataLoader(TensorDataset(*data()), batch_size=12)
    with sweeper.watch([model], [optimizer]) as watched:
        later = torch.optim.Adam(model.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            later.step()
        scheduler.step()
    facts = watched.facts
    assert [o.name for o in facts.optimizers] == ["SGD", "Adam"]
    assert facts.schedulers == ("ExponentialLR",)
    assert [(x.batch_size, x.n_samples, x.trained) for x in facts.loaders] == [(12, 96, True)]
    assert facts.steps == 8  # of the first optimizer


def test_the_named_model_is_the_root_whatever_holds_it() -> None:
    model, optimizer = parts()
    holder = nn.ModuleDict({"net": model, "unused": nn.Linear(3, 3)})
    with sweeper.watch(model, optimizer) as watched:
        train(model, optimizer)
    assert [layer.name for layer in watched.facts.layers] == ["0", "3"]
    assert watched.facts.n_parameters == sum(p.numel() for p in holder["net"].parameters())


def test_an_optimizer_that_is_built_inside_needs_no_name() -> None:
    with sweeper.watch() as watched:
        losses = train(*parts())
    np.testing.assert_allclose(watched.record.series("loss"), losses, rtol=1e-6)


def test_a_closure_is_watched_too() -> None:
    model, _ = parts()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    x, y = data()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    with sweeper.watch(model, optimizer) as watched:
        for _ in range(4):
            optimizer.step(closure)  # type: ignore[arg-type]
    assert watched.record.outcome.steps == 4
    assert len(watched.record.series("loss")) == 4


def test_wrappers_of_an_optimizer_are_opened() -> None:
    from accelerate import Accelerator

    model, optimizer = parts()
    wrapped = Accelerator(cpu=True).prepare(optimizer)
    assert wrapped is not optimizer
    with sweeper.watch(model, wrapped) as watched:
        train(model, optimizer)
    assert watched.record.outcome.steps == STEPS


def test_compilation_inside_stays_eager_and_is_told() -> None:
    model, optimizer = parts()
    with sweeper.watch(model, optimizer) as watched:
        assert torch.compile(model) is model
        train(model, optimizer)
    assert watched.facts.compiled


# -- how it ends -----------------------------------------------------------------------------------


def test_an_error_inside_is_the_one_that_is_raised_and_the_record_is_whole() -> None:
    model, optimizer = parts()
    with pytest.raises(ValueError, match="out of data"), sweeper.watch(model, optimizer) as watched:
        train(model, optimizer)
        raise ValueError("out of data")
    outcome = watched.record.outcome
    assert (outcome.status, outcome.error) == ("program_error", "ValueError: out of data")
    assert "test_watch.py" in outcome.traceback
    assert len(watched.record.series("loss")) == STEPS
    assert "ended by ValueError: out of data" in repr(watched)


def test_an_error_in_a_forward_leaves_no_hook_and_no_mode() -> None:
    class Broken(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes")

    model = nn.Sequential(nn.Linear(8, 8), Broken(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="shapes"), sweeper.watch(model, optimizer) as watched:
        train(model, optimizer)
    hooks = [(m._forward_hooks, m._forward_pre_hooks) for m in model.modules()]
    assert not any(any(pair) for pair in hooks)
    assert not torch.overrides._get_current_function_mode_stack()
    assert "the optimizer was never stepped" in repr(watched)


def test_stopped_by_hand_counts_until_then() -> None:
    model, optimizer = parts()
    with pytest.raises(KeyboardInterrupt), sweeper.watch(model, optimizer) as watched:
        train(model, optimizer)
        raise KeyboardInterrupt
    assert watched.record.outcome.status == "budget"
    assert not watched.facts.finished
    assert "24 optimizer steps watched, ended by KeyboardInterrupt: no" in repr(watched)


def test_no_steps_and_few_steps_are_told_apart() -> None:
    with sweeper.watch() as nothing:
        pass
    assert "no optimizer was built in the block" in repr(nothing)
    assert nothing.record.outcome.status == "no_optimizer"
    assert nothing.findings == () and nothing.causes == () and not nothing.failing
    model, optimizer = parts(rate=1e4)
    with sweeper.watch(model, optimizer) as few:
        train(model, optimizer, steps=3)
    assert "3 optimizer steps watched: too few to be judged" in repr(few)
    assert not few.failing


def test_twice_in_one_process_gives_two_equal_records() -> None:
    kept = []
    for _ in range(2):
        model, optimizer = parts()
        with sweeper.watch(model, optimizer) as watched:
            train(model, optimizer)
        kept.append(watched)
    assert [w.folder.name for w in kept if w.folder] == ["1", "2"]
    same_signals(kept[0].record, kept[1].record)


def test_a_block_inside_a_block_is_refused_and_the_outer_one_goes_on() -> None:
    model, optimizer = parts()
    with sweeper.watch(model, optimizer, folder="outer") as watched:
        refused("inside another watch.*outer", model, optimizer, folder="inner")
        train(model, optimizer)
    assert watched.record.outcome.steps == STEPS
    assert not Path("inner").exists()


def test_under_a_run_of_sweepers_own_it_steps_aside() -> None:
    model, optimizer = parts()
    with seams.installed(Session()) as session:
        with sweeper.watch(model, optimizer) as watched:
            session.seam_optimizer(optimizer)
            train(model, optimizer)
        assert session.step == STEPS
    assert watched.folder is None and not Path(".sweeper").exists()
    assert "whole program" in repr(watched) and "whole program" in watched._repr_html_()
    with pytest.raises(UsageError, match="no record of its own"):
        _ = watched.findings


def test_a_second_training_in_the_block_goes_on_unjudged() -> None:
    with sweeper.watch() as watched:
        first = parts()
        train(*first)
        second = parts(rate=0.05)
        losses = train(*second)
    model, optimizer = parts(rate=0.05)
    assert losses == train(model, optimizer)  # to its end, and unchanged
    assert watched.record.outcome.steps == len(watched.record.series("loss")) == STEPS
    assert "another training followed" in repr(watched)


def test_the_object_keeps_no_model_alive() -> None:
    model, optimizer = parts()
    with sweeper.watch(model, optimizer) as watched:
        train(model, optimizer)
    gone = weakref.ref(model)
    del model, optimizer
    gc.collect()
    assert gone() is None
    assert watched.record.outcome.steps == STEPS


# -- what it says ----------------------------------------------------------------------------------


def test_a_model_of_an_earlier_cell_is_not_missed_in_the_optimizer() -> None:
    earlier, its_optimizer = parts()
    train(earlier, its_optimizer)
    del its_optimizer
    model, optimizer = parts()
    with sweeper.watch(model, optimizer) as watched:
        train(model, optimizer)
    assert any(p.grad is not None for p in earlier.parameters())
    assert watched.record.facts.optimizers[0].n_missing == 0


def test_a_failing_training_is_told_with_its_cause() -> None:
    model, optimizer = parts(rate=300.0)
    with sweeper.watch(model, optimizer) as watched:
        train(model, optimizer, steps=60)
    assert watched.failing
    assert watched.causes[0].cause is Cause.LEARNING_RATE_TOO_HIGH
    text, page = repr(watched), watched._repr_html_()
    assert "60 optimizer steps watched: failing" in text
    assert "learning_rate_too_high" in text and "try learning_rate" in text
    assert page.count("<table>") == 2 and "<td>learning_rate_too_high</td>" in page
    assert "<p><b>60 optimizer steps" in page


def test_results_are_asked_after_the_block() -> None:
    model, optimizer = parts()
    with sweeper.watch(model, optimizer) as watched:
        assert repr(watched) == "sweeper is watching" and "watching" in watched._repr_html_()
        with pytest.raises(UsageError, match="after its block"):
            _ = watched.findings
        train(model, optimizer)


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"model": "net"}, r"watch\(model\) must be a torch.nn.Module.*got str"),
        ({"model": [nn.Linear(1, 1), 3]}, r"watch\(model\).*got int"),
        ({"optimizer": nn.Linear(1, 1)}, r"watch\(optimizer=...\).*got Linear"),
        ({"optimizer": object()}, r"watch\(optimizer=...\).*got object"),
        ({"optimizer": 0.1}, r"watch\(optimizer=...\).*got float"),
        ({"folder": 3}, r"watch\(folder=...\) must be a path, got int"),
    ],
)
def test_other_types_are_refused(arguments: dict[str, Any], rule: str) -> None:
    refused(rule, **arguments)


def test_an_optimizer_of_another_model_is_refused() -> None:
    _, optimizer = parts()
    rule = "must hold parameters of the model, got none of Linear"
    refused(rule, nn.Linear(2, 2), optimizer)


def test_a_compiled_model_is_refused() -> None:
    model, _ = parts()
    for compiled in (torch.compile(model), model):
        if compiled is model:
            model.compile()
        refused(r"before torch\.compile, got a compiled Sequential", compiled)


def test_folders_hold_one_record_and_nothing_else_is_removed(tmp_path: Path) -> None:
    for steps in (12, STEPS):
        model, optimizer = parts()
        with sweeper.watch(model, optimizer, folder="record") as watched:
            train(model, optimizer, steps)
    assert watched.folder == tmp_path / "record"
    assert watched.record.outcome.steps == STEPS
    (tmp_path / "record" / "thesis.tex").write_text("mine")
    refused("nothing but an older record, got 'thesis.tex'", folder="record")
    (tmp_path / "file").write_text("")
    refused("must be a folder, got the file", folder=tmp_path / "file")
    refused("can be written", folder=tmp_path / "file" / "below")


def test_the_package_names_it_without_loading_torch() -> None:
    code = (
        "import sys, sweeper; assert 'watch' in dir(sweeper) and 'SweeperCallback' in dir(sweeper);"
        "assert 'torch' not in sys.modules; sweeper.watch; import sweeper.watching;"
        "assert callable(sweeper.watch) and sweeper.watch is sweeper.watching.watch;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'wach'"):
        _ = sweeper.wach
