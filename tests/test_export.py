"""A study in other trackers, read back with their own readers; nothing goes over a network."""

from __future__ import annotations

import glob
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.export import export
from sweeper.report.study_result import StudyResult
from sweeper.reread import reread
from sweeper.types import UsageError
from tests.conftest import PROGRAMS


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "study"
    words = ["fix", "--quiet", "--trials", "3", "--seeds", "2", "--study", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *words, str(PROGRAMS / "low_rate.py")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def result(study: Path) -> StudyResult:
    return reread(study)


def test_tensorboard_reads_the_runs(study: Path, result: StudyResult, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    count = export(result, study, "tensorboard", tmp_path / "out")
    folders = sorted((tmp_path / "out").iterdir())
    assert len(folders) == count == len([t for t in result.trials if t.outcome.ran])
    assert any(f.name.endswith("-verified") for f in folders)
    baseline = EventAccumulator(str(next(f for f in folders if f.name.startswith("baseline"))))
    baseline.Reload()
    assert {"loss", "final/accuracy"} <= set(baseline.Tags()["scalars"])
    losses = [event.value for event in baseline.Scalars("loss")]
    assert len(losses) == result.trials[0].outcome.steps
    assert losses[0] == pytest.approx(losses[-1], rel=0.2)  # a rate far too low


@pytest.mark.slow
def test_mlflow_reads_the_runs(study: Path, result: StudyResult, tmp_path: Path) -> None:
    import mlflow

    count = export(result, study, "mlflow", tmp_path / "out")
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "out").as_uri())
    experiment = client.get_experiment_by_name("low_rate")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(runs) == count
    verified = [r for r in runs if r.data.tags["sweeper.verified"] == "true"]
    assert verified and all("learning_rate" in r.data.params for r in verified)
    assert all(r.data.metrics["accuracy"] > 0.8 for r in verified)


@pytest.mark.slow
def test_wandb_keeps_offline_runs(
    study: Path, result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # a call would fail
    count = export(result, study, "wandb", tmp_path / "out")
    assert len(glob.glob(str(tmp_path / "out/wandb/offline-run-*/run-*.wandb"))) == count


def test_what_cannot_be_exported_is_refused(
    study: Path, result: StudyResult, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="must be one of mlflow, wandb, tensorboard, got 'comet'"):
        export(result, study, "comet", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="must have a folder to write to"):
        export(result, study, "tensorboard", tmp_path / "file")
