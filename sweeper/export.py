"""`sweeper export STUDY DEST --to mlflow|wandb|tensorboard`: a study in a team's own tracker.

Everything goes to a local folder: MLflow's file store, W&B's offline runs (``wandb sync`` sends
them, if you want that), TensorBoard's event files. Nothing is sent anywhere.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sweeper.report.study_result import StudyResult
from sweeper.report.tables import rank
from sweeper.telemetry.record import read_record
from sweeper.types import RunRecord, Trial, UsageError

SERIES = ("loss", "accuracy", "grad_norm", "lr")
MOST_POINTS = 2000
"""Steps of one series that are exported; longer ones are thinned evenly, ends included."""


def export(result: StudyResult, study: Path, tracker: str, dest: Path) -> int:
    """Write every run of a study to ``dest``; return how many.

    Raises:
        UsageError: an unknown tracker, one whose package is missing, or no place to write.
    """
    if tracker not in WRITERS:
        raise UsageError(f"--to must be one of {', '.join(WRITERS)}, got {tracker!r}")
    runs = list(_runs(result))
    if not runs:
        raise UsageError(f"an export needs finished runs, got none in {study}")
    try:
        dest.mkdir(parents=True, exist_ok=True)
        WRITERS[tracker](result, runs, dest.absolute())
    except ImportError as error:
        raise UsageError(
            f"--to {tracker} needs the extra sweeper[{tracker}], got {error}"
        ) from None
    except OSError as error:
        raise UsageError(f"--to must have a folder to write to, got {dest}: {error}") from None
    return len(runs)


Run = tuple[Trial, bool, RunRecord]
"""A trial, whether its fix was verified, and its record."""


def _runs(result: StudyResult) -> Iterator[Run]:
    verified = {fix.fix.hash for fix in rank(result.fixes) if fix.verified}
    for trial in result.trials:
        if trial.outcome.ran and (trial.folder / "signals.jsonl").is_file():
            yield trial, trial.fix.hash in verified, read_record(trial.folder)


def _params(trial: Trial) -> dict[str, Any]:
    """What was changed, flat: ``clip_norm.max_norm`` for a value of several parts."""
    found: dict[str, Any] = {"seed": trial.seed}
    for name, value in trial.fix.changes.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": part for key, part in value.items()}
        else:
            found[name] = value
    return found


def _metrics(trial: Trial) -> dict[str, float]:
    judgement = trial.judgement
    if judgement is None:
        return {}
    found = {
        judgement.metric_name: judgement.metric, "skill": judgement.skill,
        "restored": float(judgement.restored), "training_steps": float(trial.outcome.steps),
    }  # fmt: skip
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _points(record: RunRecord) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    for key in SERIES:
        values = record.series(key)
        count = len(values)
        keep = range(count)
        if count > MOST_POINTS:
            keep = sorted({round(i * (count - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)})  # type: ignore[assignment]
        points = [(i, float(values[i])) for i in keep if math.isfinite(values[i])]
        if points:
            yield key, points


def _mlflow(result: StudyResult, runs: list[Run], dest: Path) -> None:
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    # The file store is what an export is: a folder, without a server or a database.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=dest.as_uri())
    found = client.get_experiment_by_name(result.program.name)
    experiment = found.experiment_id if found else client.create_experiment(result.program.name)
    for trial, verified, record in runs:
        run = client.create_run(experiment, run_name=f"{trial.phase} {trial.fix.label}"[:250])
        metrics = [Metric(k, v, 0, 0) for k, v in _metrics(trial).items()]
        for key, points in _points(record):
            metrics += [Metric(f"train/{key}", value, 0, step) for step, value in points]
        for start in range(0, len(metrics), 1000):  # MLflow's own limit of one batch
            client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
        client.log_batch(
            run.info.run_id,
            params=[Param(k, str(v)[:500]) for k, v in _params(trial).items()],
            tags=[
                RunTag("sweeper.phase", trial.phase),
                RunTag("sweeper.verified", str(verified).lower()),
                RunTag("sweeper.folder", str(trial.folder)),
            ],
        )
        client.set_terminated(run.info.run_id)


def _wandb(result: StudyResult, runs: list[Run], dest: Path) -> None:
    import wandb

    settings = wandb.Settings(
        mode="offline", silent=True, console="off", x_disable_stats=True, x_disable_meta=True
    )
    for trial, verified, record in runs:
        run = wandb.init(
            project=result.program.name, dir=str(dest), settings=settings, reinit="finish_previous",
            name=f"{trial.phase} {trial.fix.label}"[:120], group=trial.phase,
            tags=["verified"] if verified else [], config=_params(trial),
        )  # fmt: skip
        by_step: dict[int, dict[str, float]] = {}
        for key, points in _points(record):
            for step, value in points:
                by_step.setdefault(step, {})[f"train/{key}"] = value
        for step in sorted(by_step):
            run.log(by_step[step], step=step)
        run.summary.update(_metrics(trial))
        run.finish()


def _tensorboard(result: StudyResult, runs: list[Run], dest: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for trial, verified, record in runs:
        name = f"{trial.phase}-{trial.folder.name}" + ("-verified" if verified else "")
        writer = EventFileWriter(str(dest / name))
        scalars = [(key, step, v) for key, points in _points(record) for step, v in points]
        scalars += [(f"final/{key}", 0, value) for key, value in _metrics(trial).items()]
        for key, step, value in scalars:
            summary = Summary(value=[Summary.Value(tag=key, simple_value=value)])
            writer.add_event(Event(wall_time=0.0, step=step, summary=summary))
        writer.close()


WRITERS: dict[str, Callable[[StudyResult, list[Run], Path], None]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
    "tensorboard": _tensorboard,
}
