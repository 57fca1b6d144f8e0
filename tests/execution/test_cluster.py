"""A study on a real Ray cluster of several nodes on this machine, one of which is lost."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.execution.parcel import pack, unpack
from sweeper.types import SweeperError, UsageError
from tests.conftest import PROGRAMS

PROGRAM = PROGRAMS / "low_rate.py"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs, so that every run is on a node that can be lost, and three nodes."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 100 * 2**20},
    )
    for _ in range(3):
        made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def fix(study: Path, *words: str, cwd: Path) -> subprocess.Popen[str]:
    options = ["--quiet", "--trials", "8", "--seeds", "3", "--study", str(study), *words]
    return subprocess.Popen(
        [sys.executable, "-m", "sweeper.cli", "fix", *options, str(PROGRAM)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
    )  # fmt: skip


@pytest.mark.slow
def test_a_lost_node_costs_no_run_and_changes_no_table(cluster: Any, tmp_path: Path) -> None:
    home = fix(tmp_path / "home", "--deterministic", cwd=tmp_path)
    _, err = home.communicate(timeout=300)
    assert home.returncode == 0, err
    away = fix(tmp_path / "away", "--deterministic", f"--ray={cluster.address}", cwd=tmp_path)
    runs = tmp_path / "away" / "runs"
    limit = time.monotonic() + 240
    while len(list(runs.glob("*/outcome.json"))) < 4:
        assert away.poll() is None, away.communicate()
        assert time.monotonic() < limit
        time.sleep(0.05)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    out, err = away.communicate(timeout=300)
    assert away.returncode == 0, err
    assert "runs were made on a Ray cluster of 3 CPUs" in out
    for name in ("ranking.csv", "remedies.csv"):
        assert (tmp_path / "away/report" / name).read_bytes() == (
            tmp_path / "home/report" / name
        ).read_bytes()
    with (tmp_path / "away/report/trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert len({t["folder"] for t in trials}) == len(trials)
    for trial in trials:
        folder = tmp_path / "away" / trial["folder"]
        assert json.loads((folder / "outcome.json").read_text())["status"] == trial["status"]
        assert (folder / "output.log").stat().st_size > 0, "what the program printed comes back"


@pytest.mark.slow
def test_a_program_that_no_node_sees_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory moves away once it was shipped, as on another machine."""
    from sweeper.execution.cluster import Cluster
    from sweeper.execution.jobs import run_folder
    from sweeper.program.target import parse_program
    from sweeper.types import Fix, Job

    work = tmp_path / "work"
    work.mkdir()
    (work / "rows.csv").write_text("1\n2\n")
    (work / "train.py").write_text(
        "import torch\n"
        "rows = [float(line) for line in open('rows.csv')]\n"
        "model = torch.nn.Linear(1, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)\n"
        "for step in range(12):\n"
        "    loss = (model(torch.tensor([[rows[step % 2]]])) - 1).pow(2).mean()\n"
        "    optimizer.zero_grad(); loss.backward(); optimizer.step()\n"
        "print('rows', len(rows))\n"
    )
    monkeypatch.chdir(work)
    program = parse_program(["train.py"])
    monkeypatch.setattr(Cluster, "_what_to_ship", lambda self: {"working_dir": str(work)})
    runs = Cluster(program, "local")
    try:
        job = Job(
            program=program, fix=Fix(), seed=0, folder=run_folder(tmp_path / "s", Fix(), 0, None)
        )
        work.rename(tmp_path / "elsewhere")
        outcome = runs.run(job)
        assert outcome.status == "finished", outcome
        assert "rows 2" in (job.folder / "output.log").read_text()
        assert runs.run(job) == outcome
        assert "got the program shipped" in runs.notes[0]
    finally:
        runs.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "must name a cluster that answers, got 127.0.0.1:1: .*refused"),
        ("nonsense", "must be host:port, ray://host:port or auto, got 'nonsense'"),
    ],
)
def test_an_unreachable_cluster_is_refused_at_once(address: str, words: str) -> None:
    from sweeper.execution.cluster import Cluster
    from sweeper.program.target import parse_program

    with pytest.raises(UsageError, match=words):
        Cluster(parse_program([str(PROGRAM)]), address)


def test_a_parcel_holds_the_record_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "scratch").mkdir(parents=True)
    (run / "scratch" / "model.pt").write_text("the program's own")
    (run / "signals.jsonl").write_text("{}\n")
    (run / ".hidden").write_text("")
    (run / "link").symlink_to("/etc/hostname")
    unpack(pack(run), tmp_path / "back")
    assert [p.name for p in (tmp_path / "back").iterdir()] == ["signals.jsonl"]


def test_a_parcel_that_climbs_out_is_refused(tmp_path: Path) -> None:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("../outside")
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"no"))
    with pytest.raises(SweeperError, match=r"got '../outside' \(2 bytes\)"):
        unpack(buffer.getvalue(), tmp_path / "back")
    assert not (tmp_path / "outside").exists()
