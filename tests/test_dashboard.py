"""`sweeper dashboard`: a real server, asked as a browser asks."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper import dashboard
from sweeper.cli import main
from sweeper.report.files import write_report
from sweeper.search import exported
from sweeper.types import UsageError
from tests.report.builders import study_result, trial, with_runs
from tests.test_reread import a_study

HOSTILE = "<script>alert(1)</script> [x](javascript:alert(1)) `b` \x1b[0m"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dash") / "my study"
    folder.mkdir()
    a_study(folder)
    write_report(with_runs(study_result(folder)), folder)
    return folder


@pytest.fixture(scope="module")
def address(study: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "sweeper.cli", "dashboard", str(study), "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline().strip()
        if line.startswith("http://127.0.0.1:"):
            yield line
            server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=30)
        assert (server.returncode, out.strip(), err) == (0, "ended", "")


def got(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as a:
            return a.status, a.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_every_run_is_there_with_a_note_that_leads_to_it(address: str, study: Path) -> None:
    status, text = got(f"{address}api/studies")
    assert status == 200
    (summary,) = json.loads(text)["study_summaries"]
    assert summary["study_name"] == "train (my study)"
    _, text = got(f"{address}api/studies/{summary['study_id']}")
    data: dict[str, Any] = json.loads(text)
    assert len(data["trials"]) == 5
    assert "normalisation" in {p["name"] for p in data["union_search_space"]}
    note = data["trials"][1]["note"]["body"]
    folder = study / "runs" / "8bb7eb56d5-s0"
    assert folder.as_uri() in note
    assert "**normalisation=batch** (screening, seed 0)" in note
    assert "- restored" in note
    assert "report.html" in data["note"]["body"]
    assert got(f"{address}dashboard/")[0] == 200


def test_it_listens_to_this_machine_alone(address: str) -> None:
    port = int(address.rstrip("/").rpartition(":")[2])
    assert got(address, Host="evil.example")[0] == 403
    assert got(address, Host=f"127.0.0.1.evil.example:{port}")[0] == 403
    assert got(address, Host=f"localhost:{port}")[0] == 200
    assert dashboard.HOST == "127.0.0.1"
    others = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1"}
    for other in (o for o in others if ":" not in o and not o.startswith("127.")):
        with pytest.raises(OSError), socket.create_connection((other, port), timeout=5):
            pass


def test_notes_are_text(tmp_path: Path) -> None:
    one = trial(tmp_path, {"activation": HOSTILE}, not_applied={"activation": HOSTILE})
    note = dashboard.trial_note(one, tmp_path)
    assert "\\<script\\>" in note
    assert "<script>" not in note
    assert "](javascript" not in note
    assert "\x1b" not in note


def test_bad_input_is_one_message(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboard", str(tmp_path / "none")]) == 2
    a_study(tmp_path)
    assert main(["dashboard", str(tmp_path)]) == 2
    assert "must hold a finished run" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["dashboard", str(study), "--port", str(port)]) == 2
    assert f"got {port}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["dashboard", str(study), "--port", "-1"])


def test_without_the_package_it_is_named(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(exported.importlib, "import_module", absent)
    with pytest.raises(UsageError, match=r"sweeper\[dashboard\]"):
        dashboard.serve(study, 0, print)
