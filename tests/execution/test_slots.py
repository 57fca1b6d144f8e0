"""Slot loops: who is called when, and how they end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.execution import slots
from sweeper.execution.slots import Slot, default_slots, fan_out
from sweeper.types import Job, Outcome

from .conftest import MakeJob

DONE = Outcome(status="finished")


def source(jobs: list[Job]) -> Callable[[], Job | None]:
    return lambda: jobs.pop(0) if jobs else None


@pytest.mark.parametrize("n", [1, 3])
def test_every_job_is_run_once_and_reported(make_job: MakeJob, n: int) -> None:
    jobs = [make_job(seed) for seed in range(10)]
    seen: list[int] = []
    inside = threading.Lock()

    def done(job: Job, outcome: Outcome) -> None:
        assert inside.acquire(blocking=False), "the driver's functions are called one at a time"
        seen.append(job.seed)
        inside.release()

    fan_out(source(jobs), done, n, lambda job: DONE)
    assert sorted(seen) == list(range(10))


def test_slots_work_side_by_side(make_job: MakeJob) -> None:
    barrier = threading.Barrier(2, timeout=5.0)

    def run(job: Job) -> Outcome:
        barrier.wait()
        return DONE

    told: list[int] = []
    fan_out(source([make_job(1), make_job(2)]), lambda job, _: told.append(job.seed), 2, run)
    assert sorted(told) == [1, 2]  # neither passes the barrier alone


def test_nothing_now_is_asked_again_when_a_run_ends(make_job: MakeJob) -> None:
    ready = [make_job(1)]
    order: list[int] = []

    def done(job: Job, outcome: Outcome) -> None:
        order.append(job.seed)
        if job.seed == 1:
            ready.extend([make_job(2), make_job(3)])

    fan_out(source(ready), done, 2, lambda job: DONE)
    assert sorted(order) == [1, 2, 3] and order[0] == 1


def test_a_slot_places_the_job_on_its_device(make_job: MakeJob) -> None:
    seen: list[Job] = []

    def run(job: Job) -> Outcome:
        seen.append(job)
        return DONE

    slot = Slot(index=0, threads=4, environment={"CUDA_VISIBLE_DEVICES": "GPU-1"})
    fan_out(source([make_job(1)]), lambda job, outcome: None, [slot], run)
    assert seen[0].threads == 4
    assert seen[0].environment == {"FAKE": "finish", "CUDA_VISIBLE_DEVICES": "GPU-1"}


@pytest.mark.parametrize("where", ["run", "done", "next"])
@pytest.mark.parametrize("n", [1, 2])
def test_an_exception_stops_the_handing_out_and_is_raised(
    make_job: MakeJob, where: str, n: int
) -> None:
    left = [make_job(seed) for seed in range(50)]
    reported: list[int] = []

    def next_job() -> Job | None:
        if where == "next" and len(left) < 45:
            raise ValueError("planted")
        return left.pop(0)

    def run(job: Job) -> Outcome:
        if where == "run" and job.seed == 5:
            raise ValueError("planted")
        time.sleep(0.005)
        return DONE

    def done(job: Job, outcome: Outcome) -> None:
        if where == "done" and job.seed == 5:
            raise ValueError("planted")
        reported.append(job.seed)

    with pytest.raises(ValueError, match="planted"):
        fan_out(next_job, done, n, run)
    assert len(left) > 35
    assert len(reported) >= 5


@pytest.mark.parametrize("n", [1, 2])
def test_ctrl_c_ends_the_runs_under_way_and_reports_them(make_job: MakeJob, n: int) -> None:
    left = [make_job(seed) for seed in range(50)]
    ended = threading.Event()
    reported: list[str] = []

    under_way = threading.Barrier(n)

    def run(job: Job) -> Outcome:
        if job.seed < n:
            under_way.wait(10.0)  # every slot has its job before the interrupt comes
        if job.seed == 0:
            os.kill(os.getpid(), signal.SIGINT)
        ended.wait(5.0)
        return Outcome(status="killed")

    with pytest.raises(KeyboardInterrupt):
        fan_out(
            source(left), lambda job, outcome: reported.append(outcome.status), n, run, ended.set
        )
    assert len(left) >= 48
    assert len(reported) == (n if n > 1 else 0)


def test_default_slots_are_gpus_or_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slots, "core_count", lambda: 6)
    assert [s.environment for s in default_slots()] == [{}] * 6
    assert len(default_slots(2)) == 2
    fake = tmp_path / "nvidia-smi"
    fake.write_text(
        "#!/bin/sh\n"
        "echo 'GPU 0: NVIDIA H200 (UUID: GPU-aa)'\n"
        "echo '  MIG 1g.18gb Device 0: (UUID: MIG-zz)'\n"
        "echo 'GPU 1: NVIDIA H200 (UUID: GPU-bb)'\n"
    )
    fake.chmod(0o755)
    found = default_slots()
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in found] == ["GPU-aa", "GPU-bb"]
    assert [s.threads for s in found] == [3, 3]
    assert len(default_slots(4)) == 4 and default_slots(4)[3].environment == found[1].environment
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [s.environment for s in default_slots()] == [{"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert len(default_slots()) == 6
