"""Experiment trackers that talk to a server are off, or write to a local folder, inside a trial.

`disable_trackers` sets what each tracker documents as an environment variable. Arguments in the
program's own code win over those variables, so `force_offline` also wraps the few entry points
through which programs name a server, ask for online mode or log in. Checked against wandb 0.31,
mlflow 3.17, comet_ml 3.58, clearml 2.1, neptune 1.14, swanlab 0.10 and dvclive 3.49 (the slow test
makes no network call with any of the first six); trackio by its documentation. TensorBoard writes
files only, which are contained.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

from sweeper.program._after_import import after_import

VARIABLE = "SWEEPER_TRACKERS"  # as in `_spawned.INSTALLERS`
"""Names the folder, for Python programs that the program starts."""
_WANDB_QUIET = ("disabled", "offline", "dryrun")
_SILENCED = {
    "mlflow": ("login",),
    "comet_ml": ("login", "init"),
    "swanlab": ("login",),
    "clearml.utilities.check_updates": ("CheckPackageUpdates.check_new_package_available",),
}
"""What asks for a key or a new version: it would prompt, or wait for an answer."""


def disable_trackers(environment: MutableMapping[str, str], folder: Path) -> None:
    """Change `environment` in place; what trackers still write locally goes below `folder`."""
    if environment.get("WANDB_MODE") not in _WANDB_QUIET:
        environment["WANDB_MODE"] = "disabled"
    environment.update(
        {
            VARIABLE: str(folder),
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
            "SWANLAB_SAVE_DIR": str(folder),
            "DVC_STUDIO_OFFLINE": "true",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            # No tracker, but these ask for new versions of themselves when imported.
            "DO_NOT_TRACK": "1",
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "YOLO_OFFLINE": "true",
        }
    )


def force_offline(folder: Path) -> None:
    """In this process, for trackers that are imported already or later: arguments that ask for a
    server are overruled, and a transformers Trainer pushes nothing to the Hub."""
    quiet = os.environ.get("WANDB_MODE")
    mode = quiet if quiet in _WANDB_QUIET else "disabled"
    uri = _mlflow_uri(folder)

    forced: dict[str, dict[str, dict[str, Any]]] = {
        "wandb": {"init": {"mode": mode}},
        "comet_ml": {
            "start": {"online": False},
            "Experiment.__init__": {"disabled": True},
            "ExistingExperiment.__init__": {"disabled": True},
        },
        "neptune": {
            name: {"mode": "debug"}
            for name in ("init_run", "init_project", "init_model", "init_model_version")
        },
        "swanlab": {"init": {"mode": "disabled"}},
        "trackio": {"init": {"space_id": None}},
    }
    for name, calls in forced.items():
        for dotted, options in calls.items():
            after_import(name, functools.partial(_overrule, dotted, options=options))
    for dotted in ("set_tracking_uri", "set_registry_uri"):
        after_import("mlflow", functools.partial(_overrule, dotted, positional=(uri,)))
    for name, silenced in _SILENCED.items():
        for dotted in silenced:
            after_import(name, functools.partial(_silence, dotted))

    def mlflow_client(module: ModuleType) -> None:
        original = module.MlflowClient.__init__

        @functools.wraps(original)
        def init(self: Any, *args: Any, **options: Any) -> None:
            original(self, tracking_uri=uri, registry_uri=uri)

        module.MlflowClient.__init__ = init

    def training_arguments(module: ModuleType) -> None:
        original = module.TrainingArguments.__post_init__

        @functools.wraps(original)
        def without_push(self: Any, *args: Any, **options: Any) -> None:
            self.push_to_hub = False
            original(self, *args, **options)

        module.TrainingArguments.__post_init__ = without_push

    after_import("mlflow.tracking.client", mlflow_client)
    after_import("transformers.training_args", training_arguments)


def install_from_environment() -> None:
    """In a Python program that a contained one has started."""
    force_offline(Path(os.environ[VARIABLE]))


def _mlflow_uri(folder: Path) -> str:
    return (folder / "mlflow").absolute().as_uri()


def _overrule(
    dotted: str,
    module: ModuleType,
    *,
    options: Mapping[str, Any] | None = None,
    positional: tuple[Any, ...] = (),
) -> None:
    """Wrap what `dotted` names in `module` so that it always gets these arguments; nothing where it
    is missing."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **given: Any) -> Any:
            if positional:
                return original(*positional)
            return original(*args, **{**given, **(options or {})})

        return call

    _replace(module, dotted, make)


def _silence(dotted: str, module: ModuleType) -> None:
    """What `dotted` names in `module` does nothing."""
    _replace(module, dotted, lambda original: lambda *args, **given: None)


def _replace(
    module: ModuleType, dotted: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    owner: Any = module
    *parts, name = dotted.split(".")
    for part in parts:
        owner = getattr(owner, part, None)
    original = getattr(owner, name, None)
    if owner is not None and original is not None:
        setattr(owner, name, functools.wraps(original)(make(original)))
