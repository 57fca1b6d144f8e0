"""Runs on a Ray cluster. That a worker or a node may be lost: test_kill_matrix.py."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from sweeper.execution.parcel import pack, unpack
from sweeper.types import SweeperError, UsageError
from tests.conftest import PROGRAMS

PROGRAM = PROGRAMS / "low_rate.py"


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


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", r"speaks gRPC, got 127.0.0.1:\d+, which says b'HTTP"),
        (b"", r"speaks gRPC, got 127.0.0.1:\d+, which says b''"),
        (None, r"that answers, got 127.0.0.1:\d+: timed out"),
    ],
    ids=["another server", "one that hangs up", "one that is silent"],
)
def test_a_server_that_is_no_cluster_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, says: bytes | None, words: str
) -> None:
    from sweeper.execution import cluster
    from sweeper.program.target import parse_program

    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    held = []

    def serve() -> None:
        there, _ = listener.accept()
        if says is None:
            held.append(there)
            return
        with there:
            there.recv(1000)
            there.sendall(says)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UsageError, match=words):
            cluster.Cluster(parse_program([str(PROGRAM)]), address)
        server.join()
    for there in held:
        there.close()


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
