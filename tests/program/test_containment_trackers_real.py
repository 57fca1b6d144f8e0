"""The trackers themselves, used as programs use them, asking for a server: nothing leaves the
machine, nobody is asked for anything, and nothing is written outside of the run's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PACKAGES = ("wandb", "mlflow-skinny", "comet_ml", "neptune", "clearml", "swanlab", "tensorboard")
TOKEN = (  # any well-formed one: {"api_address": "https://app.neptune.ai", ...}
    "eyJhcGlfYWRkcmVzcyI6Imh0dHBzOi8vYXBwLm5lcHR1bmUuYWkiLCJhcGlfdXJsIjoiaHR0cHM6Ly9hcHAubmVw"
    "dHVuZS5haSIsImFwaV9rZXkiOiJhIn0="
)
USES = {
    "wandb": """
import wandb
wandb.login(key="0" * 40)
with wandb.init(project="p", mode="online", config={"a": 1}) as run:
    run.log({"loss": 1.0})
    artifact = wandb.Artifact("model", type="model")
    open("model.bin", "w").write("x")
    artifact.add_file("model.bin")
    run.log_artifact(artifact)
""",
    "mlflow": """
import mlflow
mlflow.login()
mlflow.set_tracking_uri("http://mlflow.example:5000")
mlflow.set_experiment("e")
with mlflow.start_run():
    mlflow.log_param("a", 1)
    mlflow.log_metric("loss", 1.0)
    open("model.bin", "w").write("x")
    mlflow.log_artifact("model.bin")
assert mlflow.get_tracking_uri().startswith("file:")
""",
    "comet_ml": """
import comet_ml
comet_ml.login(api_key="k" * 25)
for make in (comet_ml.Experiment, comet_ml.start):
    experiment = make(api_key="k" * 25, project_name="p")
    experiment.log_metric("loss", 1.0)
    experiment.end()
""",
    "neptune": f"""
import neptune
run = neptune.init_run(project="a/b", api_token="{TOKEN}")
run["loss"].append(1.0)
run.stop()
""",
    "clearml": """
from clearml import Task
task = Task.init(project_name="p", task_name="t")
task.get_logger().report_scalar("loss", "train", 1.0, 1)
task.close()
""",
    "swanlab": """
import swanlab
swanlab.login(api_key="k" * 21)
swanlab.init(project="p", mode="online")
swanlab.log({"loss": 1.0})
swanlab.finish()
""",
    "tensorboard": """
import os
from torch.utils.tensorboard import SummaryWriter
with SummaryWriter() as writer:
    writer.add_scalar("loss", 1.0, 0)
assert len(os.listdir("runs")) == 1
""",
}
CONTAINED = """
import json, os, sys
from pathlib import Path
folder, kind, program, project = sys.argv[1:]
sys.path.append(project)
from sweeper.program.containment import contain
from sweeper.program.side_effects import read, watch_run
from sweeper.program.trackers import disable_trackers, force_offline
run = Path(folder, ".sweeper/run")
on = contain(run / "scratch", [run], Path(folder), kind)
disable_trackers(os.environ, run / "scratch/trackers")
force_offline(run / "scratch/trackers")
watch = watch_run(run, on, trial=False, allowed=False)
asked = []
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        asked.append(f"{event} {arguments[:2]}")
sys.addaudithook(hook)
exec(compile(program, "program.py", "exec"), {"__name__": "__main__"})
watch.ended()
seen = [effect.what for effect in read(run) if effect.consent]
(run / "answer.json").write_text(json.dumps([on.kind, asked, seen]))
os._exit(0)
"""


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the trackers beside what this one has."""
    folder = tmp_path_factory.mktemp("trackers")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    ours = Path(sysconfig.get_path("purelib"))
    theirs = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (theirs / "ours.pth").write_text(f"{ours}\n")
    pip = [folder / "bin/python", "-m", "pip", "install", "-q", *PACKAGES]
    subprocess.run(pip, check=True, timeout=900)
    return folder / "bin/python"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["overlay", "redirect"])
@pytest.mark.parametrize("name", USES)
def test_nothing_leaves_the_machine(python: Path, name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / ".sweeper/run").mkdir(parents=True)
    project = str(Path(__file__).parents[2])
    done = subprocess.run(
        [python, "-c", CONTAINED, tmp_path, kind, USES[name], project],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    on, asked, seen = json.loads((tmp_path / ".sweeper/run/answer.json").read_text())
    assert (on, asked, seen) == (kind, [], [])
    assert os.listdir(tmp_path) == [".sweeper"]
