"""What trials would do to others is asked for: message, exit code, and a report that names it."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.consent import LISTED, remarks, require, require_for_refused, told
from sweeper.program.side_effects import FILE, read
from sweeper.program.target import parse_program
from sweeper.types import Fix, Outcome, Trial, UsageError
from tests.conftest import PROGRAMS, Runner

POSTER = PROGRAMS / "files/poster.py"


class Server(http.server.ThreadingHTTPServer):
    posts = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        self.server.posts += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_program_that_reports_to_a_server_is_not_tried_without_consent(
    server: Server, tmp_path: Path
) -> None:
    words = ["fix", "--trials", "2", "--study", "study", str(POSTER), url(server)]
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    seen = f"the program connects to 127.0.0.1:{server.server_address[1]} (poster.py:"
    assert f"side effect: {seen}" in done.stderr
    assert "--allow-side-effects" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert server.posts == 1  # the baseline's own
    assert len(list((tmp_path / "study/runs").iterdir())) == 1


def test_trials_repeat_it_with_consent_only(run: Runner, server: Server) -> None:
    baseline = run(POSTER, argv=(url(server),))
    assert baseline.outcome.status == "finished", baseline.output
    facts = baseline.record.facts
    fix = {"learning_rate": 0.1}
    refused = run(POSTER, fix, argv=(url(server),), facts=facts)
    assert refused.outcome.status == "program_error"
    assert "--allow-side-effects" in refused.outcome.error
    assert server.posts == 1
    allowed = run(POSTER, fix, argv=(url(server),), facts=facts, allow_side_effects=True)
    assert allowed.outcome.status == "finished", allowed.output
    assert server.posts == 2
    assert [e.refused for e in read(refused.folder) + read(allowed.folder)] == [True, False]


def test_an_ordinary_program_needs_no_consent(run: Runner) -> None:
    done = run("loop_rate")
    assert not [effect for effect in read(done.folder) if effect.consent]


# -- messages --------------------------------------------------------------------------------------


def trial_with(folder: Path, *lines: dict[str, object]) -> Trial:
    folder.mkdir()
    (folder / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Trial(
        number=0, phase="joint", fix=Fix(), seed=0, outcome=Outcome(status="finished"),
        judgement=None, folder=folder,
    )  # fmt: skip


def test_remarks_count_the_runs(tmp_path: Path) -> None:
    sends = {"what": "connects to a:1", "place": "t.py:3"}
    trials = [
        trial_with(tmp_path / "1", sends, sends, {"what": "downloads by x", "consent": False}),
        trial_with(tmp_path / "2", {**sends, "refused": True}),
        trial_with(tmp_path / "3"),
    ]
    assert remarks(trials) == [
        "the program connects to a:1 (t.py:3): in 1 of 3 runs",
        "downloads by x: in 1 of 3 runs",
        (
            "the program connects to a:1 (t.py:3), "
            "which was refused without --allow-side-effects: in 1 of 3 runs"
        ),
    ]
    assert told(trials[0].folder) == [
        "side effect: the program connects to a:1 (t.py:3)",
        "note: downloads by x",
    ]


def test_the_error_names_program_deeds_and_option(tmp_path: Path) -> None:
    program = parse_program([str(POSTER)])
    many = [{"what": f"starts tool{n}"} for n in range(LISTED + 2)]
    folder = trial_with(tmp_path / "1", *many).folder
    with pytest.raises(UsageError, match=r"poster\.py, which starts tool0; .*; and 2 more"):
        require(program, folder, allowed=False)
    require(program, folder, allowed=True)
    require_for_refused(program, folder)
    told_only = trial_with(tmp_path / "2", {"what": "downloads", "consent": False}).folder
    require(program, told_only, allowed=False)


def test_a_baseline_that_was_kept_from_something_is_no_crash(tmp_path: Path) -> None:
    program = parse_program([str(POSTER)])
    folder = trial_with(tmp_path / "1", {"what": "starts rm", "refused": True}).folder
    with pytest.raises(UsageError, match="starts rm: allow it with --allow-side-effects"):
        require_for_refused(program, folder)
