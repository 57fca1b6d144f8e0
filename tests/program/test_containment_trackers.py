"""Trackers inside trials: variables, and arguments that ask for a server. Stand-ins with the real
packages' entry points answer here; test_containment_trackers_real.py asks the real ones, slowly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper.execution.child import run_environment
from sweeper.program.trackers import disable_trackers

STAND_INS = {
    "wandb.py": "def init(project=None, mode='online', **rest): return mode",
    "swanlab.py": """
def init(*, mode=None, **rest): return mode
def login(api_key=None): raise SystemExit('asked for a key')
""",
    "trackio.py": "def init(project, *, space_id=None): return space_id",
    "clearml/__init__.py": "",
    "clearml/utilities/__init__.py": "",
    "clearml/utilities/check_updates.py": """
class CheckPackageUpdates:
    @classmethod
    def check_new_package_available(cls, only_once=False): raise SystemExit('asked a server')
""",
    "mlflow/__init__.py": """
from mlflow.tracking.client import MlflowClient
uri = None
def set_tracking_uri(given):
    global uri
    uri = given
set_registry_uri = set_tracking_uri
def login(backend='databricks', interactive=True): raise SystemExit('asked for a key')
""",
    "mlflow/tracking/__init__.py": "",
    "mlflow/tracking/client.py": """
class MlflowClient:
    def __init__(self, tracking_uri=None, registry_uri=None):
        self.uri = tracking_uri
""",
    "comet_ml.py": """
class Experiment:
    def __init__(self, api_key=None, disabled=False):
        self.disabled = disabled
def start(online=None): return online
def login(**settings): raise SystemExit('asked for a key')
init = login
""",
    "neptune.py": "def init_run(mode='async', **rest): return mode",
    "transformers/__init__.py": "",
    "transformers/training_args.py": """
import dataclasses
@dataclasses.dataclass
class TrainingArguments:
    push_to_hub: bool = False
    def __post_init__(self): pass
""",
}
START = """
import json, os, pathlib, sys
sys.path[:0] = sys.argv[2:]
folder = pathlib.Path(sys.argv[1])
import wandb  # imported before
from sweeper.program.trackers import disable_trackers, force_offline, install_from_environment
"""
FIRST = (
    START
    + """
disable_trackers(os.environ, folder)
force_offline(folder)
"""
)
SPAWNED = (
    START
    + """
install_from_environment()
"""
)
ASK = """
import comet_ml, mlflow, neptune, swanlab, trackio
from clearml.utilities.check_updates import CheckPackageUpdates
from transformers.training_args import TrainingArguments
for module in (comet_ml, mlflow, swanlab):
    module.login()
comet_ml.init(api_key="k")
mlflow.set_tracking_uri("http://server")
print(json.dumps({
    "clearml": CheckPackageUpdates.check_new_package_available(only_once=True),
    "swanlab": swanlab.init(project="p", mode="online"),
    "trackio": trackio.init("p", space_id="user/space"),
    "wandb": wandb.init("p", mode="online"),
    "mlflow": mlflow.uri,
    "client": mlflow.MlflowClient("http://server").uri,
    "comet": comet_ml.Experiment(api_key="k").disabled,
    "comet start": comet_ml.start(online=True),
    "neptune": neptune.init_run(mode="async"),
    "push": TrainingArguments(push_to_hub=True).push_to_hub,
}))
"""


def ask(tmp_path: Path, start: str = FIRST, **environment: str) -> dict[str, Any]:
    for name, text in STAND_INS.items():
        path = tmp_path / "fakes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    project = Path(__file__).parents[2]
    folders = [str(path) for path in (tmp_path / "own", tmp_path / "fakes", project)]
    command = [sys.executable, "-c", start + ASK, *folders]
    done = subprocess.run(
        command, env={**os.environ, **environment}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_arguments_that_ask_for_a_server_are_overruled(tmp_path: Path) -> None:
    assert ask(tmp_path) == expected(tmp_path)


def test_python_programs_that_the_program_starts_stay_offline_too(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    disable_trackers(environment, tmp_path / "own")
    assert ask(tmp_path, SPAWNED, **environment) == expected(tmp_path)


def expected(tmp_path: Path) -> dict[str, Any]:
    uri = (tmp_path / "own/mlflow").as_uri()
    return {
        "clearml": None,
        "swanlab": "disabled",
        "trackio": None,
        "wandb": "disabled",
        "mlflow": uri,
        "client": uri,
        "comet": True,
        "comet start": False,
        "neptune": "debug",
        "push": False,
    }


def test_a_users_offline_choice_is_kept(tmp_path: Path) -> None:
    assert ask(tmp_path, WANDB_MODE="offline")["wandb"] == "offline"


def test_packages_that_are_imported_ahead_of_the_fork_ask_no_server_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://server")
    environment = run_environment(1)
    assert environment["WANDB_MODE"] == "disabled"
    assert environment["MLFLOW_TRACKING_URI"].startswith("file:")
    assert environment["YOLO_OFFLINE"] == "true"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run_environment(1)["WANDB_MODE"] == "offline"


@pytest.mark.parametrize(
    ("given", "left"),
    [(None, "disabled"), ("online", "disabled"), ("shared", "disabled"), ("offline", "offline")],
)
def test_the_environment_names_no_server(given: str | None, left: str, tmp_path: Path) -> None:
    environment = {"MLFLOW_TRACKING_URI": "https://server", "COMET_START_ONLINE": "1"}
    if given is not None:
        environment["WANDB_MODE"] = given
    disable_trackers(environment, tmp_path)
    assert environment["WANDB_MODE"] == left
    assert environment["MLFLOW_TRACKING_URI"] == (tmp_path / "mlflow").as_uri()
    assert environment["COMET_START_ONLINE"] == "0"
    assert not [value for value in environment.values() if value.startswith("http")]
