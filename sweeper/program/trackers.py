"""Experiment trackers that talk to a server are off, or write to a local folder, inside a trial.

`disable_trackers` sets what each tracker documents as an environment variable. Arguments in the
program's own code win over those variables, so `force_offline` also wraps the few entry points
through which programs name a server or ask for online mode. Checked against wandb 0.31,
mlflow 3.17, comet_ml 3.58 and clearml 2.1; neptune, swanlab and DVC by their documentation.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

from sweeper.program._after_import import after_import

_WANDB_QUIET = ("disabled", "offline", "dryrun")


def disable_trackers(environment: MutableMapping[str, str], folder: Path) -> None:
    """Change `environment` in place; what trackers still write locally goes below `folder`."""
    if environment.get("WANDB_MODE") not in _WANDB_QUIET:
        environment["WANDB_MODE"] = "disabled"
    environment.update(
        {
            "WANDB_SILENT": "true",
            "WANDB_DIR": str(folder),
            "MLFLOW_TRACKING_URI": _mlflow_uri(folder),
            "MLFLOW_REGISTRY_URI": _mlflow_uri(folder),
            "MLFLOW_ALLOW_FILE_STORE": "true",  # asked for since 3.13; the database takes seconds
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "COMET_AUTO_LOG_DISABLE": "1",  # switches an Experiment off as a whole
            "COMET_START_ONLINE": "0",
            "COMET_OFFLINE_DIRECTORY": str(folder / "comet"),
            "COMET_DISABLE_ANNOUNCEMENT": "1",
            "CLEARML_OFFLINE_MODE": "1",
            "CLEARML_CACHE_DIR": str(folder / "clearml"),
            "NEPTUNE_MODE": "offline",  # the one quiet mode that neptune and neptune-scale share
            "NEPTUNE_DATA_DIRECTORY": str(folder / "neptune"),
            "NEPTUNE_LOG_DIRECTORY": str(folder / "neptune"),
            "SWANLAB_MODE": "disabled",
            "SWANLAB_LOG_DIR": str(folder),
            "DVC_STUDIO_OFFLINE": "true",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
    )


def force_offline(folder: Path) -> None:
    """In this process, for trackers that are imported already or later: arguments that ask for a
    server are overruled, and a transformers Trainer pushes nothing to the Hub."""
    quiet = os.environ.get("WANDB_MODE")
    mode = quiet if quiet in _WANDB_QUIET else "disabled"
    uri = _mlflow_uri(folder)

    def wandb(module: ModuleType) -> None:
        _overrule(module, "init", mode=mode)

    def mlflow(module: ModuleType) -> None:
        for name in ("set_tracking_uri", "set_registry_uri"):
            _overrule(module, name, positional=(uri,))

    def mlflow_client(module: ModuleType) -> None:
        original = module.MlflowClient.__init__

        @functools.wraps(original)
        def init(self: Any, *args: Any, **options: Any) -> None:
            original(self, tracking_uri=uri, registry_uri=uri)

        module.MlflowClient.__init__ = init

    def comet(module: ModuleType) -> None:
        _overrule(module, "start", online=False)
        for name in ("Experiment", "ExistingExperiment"):
            if hasattr(module, name):
                _overrule(getattr(module, name), "__init__", disabled=True)

    def neptune(module: ModuleType) -> None:
        for name in ("init_run", "init_project", "init_model", "init_model_version"):
            _overrule(module, name, mode="debug")

    def training_arguments(module: ModuleType) -> None:
        original = module.TrainingArguments.__post_init__

        @functools.wraps(original)
        def without_push(self: Any, *args: Any, **options: Any) -> None:
            self.push_to_hub = False
            original(self, *args, **options)

        module.TrainingArguments.__post_init__ = without_push

    after_import("wandb", wandb)
    after_import("mlflow", mlflow)
    after_import("mlflow.tracking.client", mlflow_client)
    after_import("comet_ml", comet)
    after_import("neptune", neptune)
    after_import("transformers.training_args", training_arguments)


def _mlflow_uri(folder: Path) -> str:
    return (folder / "mlflow").absolute().as_uri()


def _overrule(owner: Any, name: str, positional: tuple[Any, ...] = (), **forced: Any) -> None:
    """Wrap ``owner.name`` so that it always gets these arguments; nothing where it is missing."""
    original: Callable[..., Any] | None = getattr(owner, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def call(*args: Any, **options: Any) -> Any:
        if positional:
            return original(*positional)
        return original(*args, **{**options, **forced})

    setattr(owner, name, call)
