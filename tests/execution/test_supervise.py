"""Real children, real signals: what one bad run costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeper.execution.jobs import log_tail, read_outcome
from sweeper.execution.supervise import RETRIES, Supervisor
from sweeper.types import Job, Outcome, Program

from .conftest import MakeJob

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="process control")
pytestmark = needs_linux


@pytest.fixture(params=[True, False], ids=["warm", "fresh"])
def supervisor(
    request: pytest.FixtureRequest, program: Program, tmp_path: Path
) -> Iterator[Supervisor]:
    made = Supervisor(program, warm=request.param, log=tmp_path / "zygote.log")
    yield made
    made.close()


@pytest.fixture
def warm(program: Program, tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(program, log=tmp_path / "zygote.log")
    yield made
    made.close()


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """True for a process that runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def attempts(job: Job) -> int:
    path = job.folder.parent / "attempts.txt"
    return path.read_text().count(job.folder.name) if path.exists() else 0


def test_a_run_finishes_and_is_not_repeated(supervisor: Supervisor, make_job: MakeJob) -> None:
    job = make_job(seed=7)
    assert supervisor.run(job) == supervisor.run(job) == read_outcome(job.folder)
    assert supervisor.run(job).steps == 7
    assert attempts(job) == 1
    assert log_tail(job.folder) == "behaviour finish seed 7"


def test_a_run_without_outcome_is_infrastructure_and_tried_again(
    supervisor: Supervisor, make_job: MakeJob
) -> None:
    job = make_job(behaviour="crash")
    outcome = supervisor.run(job)
    assert outcome.status == "infrastructure"
    assert "planted" in outcome.traceback
    assert attempts(job) == 1 + RETRIES
    assert read_outcome(job.folder) is None


@pytest.mark.parametrize(
    ("behaviour", "status"), [("segfault", "program_error"), ("memory", "out_of_memory")]
)
def test_exits_are_told_apart(
    supervisor: Supervisor, make_job: MakeJob, behaviour: str, status: str
) -> None:
    assert supervisor.run(make_job(behaviour=behaviour)).status == status


def test_killing_a_child_costs_only_its_run(supervisor: Supervisor, make_job: MakeJob) -> None:
    victim, other = make_job(1, "sleep"), make_job(2)
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(supervisor.run(victim)))
    thread.start()
    wait_for((victim.folder / "pid").exists)
    wait_for(lambda: (victim.folder / "pid").read_text())
    os.kill(int((victim.folder / "pid").read_text()), signal.SIGKILL)
    assert supervisor.run(other).status == "finished"
    wait_for(lambda: attempts(victim) == 2)  # made again at once
    supervisor.cancel()
    thread.join(5.0)
    assert found[0].status == "killed"
    assert read_outcome(victim.folder) is None, "a killed run is made again"


def test_a_run_killed_once_is_made_again(supervisor: Supervisor, make_job: MakeJob) -> None:
    job = make_job(behaviour="once")
    assert supervisor.run(job).status == "finished"
    assert attempts(job) == 2


def test_a_run_that_makes_no_more_steps_hangs(supervisor: Supervisor, make_job: MakeJob) -> None:
    outcome = supervisor.run(make_job(behaviour="hang", silence_seconds=0.5))
    assert outcome.status == "deadline"
    assert outcome.error.startswith("hangs: no optimizer step for ")
    assert "after step 3 (limit 0 s" in outcome.error or "(limit 1 s" in outcome.error
    assert outcome.steps == 3


def test_a_run_is_ended_before_it_takes_the_machines_memory(
    supervisor: Supervisor, make_job: MakeJob
) -> None:
    outcome = supervisor.run(make_job(behaviour="eater", memory_bytes=200 * 2**20))
    assert outcome.status == "out_of_memory"
    assert "MiB of memory (limit 200 MiB)" in outcome.error


def test_output_is_capped_and_keeps_its_ends(supervisor: Supervisor, make_job: MakeJob) -> None:
    job = make_job(behaviour="chatter")
    assert supervisor.run(job).status == "finished"
    text = (job.folder / "output.log").read_text()
    assert len(text) < 20 * 2**20
    assert text.startswith("behaviour chatter")
    assert text.rstrip().endswith("the end")
    assert " bytes left out ..." in text


def test_deadline_ends_a_child_that_ignores_sigterm(
    supervisor: Supervisor, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.execution.supervise.GRACE_SECONDS", 0.3)
    job = make_job(behaviour="deaf", deadline_seconds=1.0)
    outcome = supervisor.run(job)
    assert outcome.status == "deadline"
    assert not alive(int((job.folder / "pid").read_text()))
    assert supervisor.run(job).status == "deadline"
    assert attempts(job) == 1, "a deadline is an answer: not repeated"


@pytest.mark.parametrize("behaviour", ["stray", "daemon"])
def test_strays_are_ended(warm: Supervisor, make_job: MakeJob, behaviour: str) -> None:
    job = make_job(behaviour=behaviour)
    assert warm.run(job).status == "finished"
    pid = int((job.folder / "stray").read_text())
    wait_for(lambda: not alive(pid), 2.0)


def test_strays_of_fresh_processes_are_ended(program: Program, make_job: MakeJob) -> None:
    job = make_job(behaviour="stray")
    assert Supervisor(program, warm=False).run(job).status == "finished"
    pid = int((job.folder / "stray").read_text())
    wait_for(lambda: not alive(pid), 2.0)


def test_a_dead_zygote_is_replaced_once_then_fresh_processes(
    warm: Supervisor, make_job: MakeJob
) -> None:
    zygotes = []
    for seed in (1, 2, 3):
        assert warm.run(make_job(seed)).status == "finished"
        assert warm._warm is not None
        zygote = warm._warm._zygote
        zygotes.append(zygote.pid if zygote else None)
        if zygote is not None:
            os.kill(zygote.pid, signal.SIGKILL)
            wait_for(lambda zygote=zygote: not zygote.alive)  # type: ignore[misc]
    assert zygotes[0] is not None and zygotes[1] is not None and zygotes[0] != zygotes[1]
    assert zygotes[2] is None
    assert len(warm.notes) == 2


def test_zygote_death_in_the_middle_of_a_run_repeats_it(
    warm: Supervisor, make_job: MakeJob
) -> None:
    job = make_job(behaviour="sleep", deadline_seconds=2.0)
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(warm.run(job)))
    thread.start()
    wait_for((job.folder / "pid").exists)
    assert warm._warm is not None and warm._warm._zygote is not None
    os.kill(warm._warm._zygote.pid, signal.SIGKILL)
    thread.join(15.0)
    assert found[0].status == "deadline"
    assert attempts(job) == 2


def test_preloading_leaves_the_users_files_alone(
    program: Program, make_job: MakeJob, tmp_path: Path
) -> None:
    (tmp_path / "neighbour.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')\n")
    made = Supervisor(program)
    try:
        made.start()
        assert made._warm is not None and made._warm._zygote is not None
        assert made._warm._zygote.imported == ["json", "xml.dom"]
    finally:
        made.close()
    assert not (tmp_path / "touched").exists()


def test_imports_that_leave_threads_are_not_preloaded(
    program: Program, make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "threaded_worker.py").write_text(
        "from fake_worker import *\n"
        "import sys, threading, time\n"
        "def preload():\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "if __name__ == '__main__':\n"
        "    run_job(read_job(Path(sys.argv[1])))\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{tmp_path}")
    monkeypatch.setenv("SWEEPER_WORKER", "threaded_worker")
    made = Supervisor(program)
    try:
        assert made.run(make_job()).status == "finished"
        assert any("2 threads are alive" in note for note in made.notes)
    finally:
        made.close()


def test_cancel_ends_runs_and_starts_no_more(supervisor: Supervisor, make_job: MakeJob) -> None:
    job = make_job(behaviour="sleep")
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(supervisor.run(job)))
    thread.start()
    wait_for((job.folder / "pid").exists)
    supervisor.cancel()
    thread.join(5.0)
    assert found[0].status == "killed"
    assert supervisor.run(make_job(2)).status == "killed"


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "fresh"])
def test_children_die_with_the_driver(make_job: MakeJob, tmp_path: Path, warm: bool) -> None:
    job = make_job(behaviour="sleep")
    driver = tmp_path / "driver.py"
    driver.write_text(
        textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from sweeper.execution.jobs import read_job
        from sweeper.execution.supervise import Supervisor
        job = read_job(Path(sys.argv[1]))
        Supervisor(job.program, warm={warm}).run(job)
        """)
    )
    from sweeper.execution.jobs import write_job, write_json

    path = write_job(job)
    kept = tmp_path / "kept.json"
    write_json(kept, __import__("json").loads(path.read_text()))
    process = subprocess.Popen([sys.executable, str(driver), str(kept)])
    wait_for((job.folder / "pid").exists)
    wait_for(lambda: (job.folder / "pid").read_text())
    pid = int((job.folder / "pid").read_text())
    assert alive(pid)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(pid), 3.0)
