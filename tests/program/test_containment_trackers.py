"""Trackers inside trials: variables, and arguments that ask for a server (stand-ins with the real
packages' entry points; none of those is installed for the tests)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper.program.trackers import disable_trackers

STAND_INS = {
    "wandb.py": "def init(project=None, mode='online', **rest): return mode",
    "mlflow/__init__.py": """
from mlflow.tracking.client import MlflowClient
uri = None
def set_tracking_uri(given):
    global uri
    uri = given
set_registry_uri = set_tracking_uri
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
PROGRAM = """
import json, os, pathlib, sys
sys.path[:0] = sys.argv[2:]
folder = pathlib.Path(sys.argv[1])
import wandb  # imported before
from sweeper.program.trackers import disable_trackers, force_offline
disable_trackers(os.environ, folder)
force_offline(folder)
import comet_ml, mlflow, neptune
from transformers.training_args import TrainingArguments
mlflow.set_tracking_uri("http://server")
print(json.dumps({
    "wandb": wandb.init("p", mode="online"),
    "mlflow": mlflow.uri,
    "client": mlflow.MlflowClient("http://server").uri,
    "comet": comet_ml.Experiment(api_key="k").disabled,
    "comet start": comet_ml.start(online=True),
    "neptune": neptune.init_run(mode="async"),
    "push": TrainingArguments(push_to_hub=True).push_to_hub,
}))
"""


def ask(tmp_path: Path, **environment: str) -> dict[str, Any]:
    for name, text in STAND_INS.items():
        path = tmp_path / "fakes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    project = Path(__file__).parents[2]
    folders = [str(path) for path in (tmp_path / "own", tmp_path / "fakes", project)]
    command = [sys.executable, "-c", PROGRAM, *folders]
    done = subprocess.run(
        command, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_arguments_that_ask_for_a_server_are_overruled(tmp_path: Path) -> None:
    uri = (tmp_path / "own/mlflow").as_uri()
    assert ask(tmp_path) == {
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


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, "disabled"), ("online", "disabled"), ("shared", "disabled"), ("offline", "offline")],
)
def test_the_environment_names_no_server(given: str | None, expected: str, tmp_path: Path) -> None:
    environment = {"MLFLOW_TRACKING_URI": "https://server", "COMET_START_ONLINE": "1"}
    if given is not None:
        environment["WANDB_MODE"] = given
    disable_trackers(environment, tmp_path)
    assert environment["WANDB_MODE"] == expected
    assert environment["MLFLOW_TRACKING_URI"] == (tmp_path / "mlflow").as_uri()
    assert environment["COMET_START_ONLINE"] == "0"
    assert not [value for value in environment.values() if value.startswith("http")]
