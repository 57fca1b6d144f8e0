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
from sweeper.execution.slots import Slot, fan_out, make_slots
from sweeper.types import Job, Outcome, UsageError

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


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Six cores, 64 GiB, no GPU; the folder is the PATH, for a fake nvidia-smi."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slots, "core_count", lambda: 6)
    monkeypatch.setattr(slots, "usable_memory", lambda: 64 * 2**30)
    return tmp_path


LISTING = """\
GPU 0: NVIDIA H200 (UUID: GPU-aa)
GPU 1: NVIDIA H200 (UUID: GPU-bb)
  MIG 1g.18gb     Device  0: (UUID: MIG-b0)
  MIG 1g.18gb     Device  1: (UUID: MIG-b1)
GPU 2: NVIDIA H200 (UUID: GPU-cc)
"""


def gpus(folder: Path) -> None:
    fake = folder / "nvidia-smi"
    fake.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{LISTING}END\n")
    fake.chmod(0o755)


def pins(found: tuple[Slot, ...]) -> list[str]:
    return [s.environment["CUDA_VISIBLE_DEVICES"] for s in found]


def test_slots_are_cores_without_a_gpu(bare_machine: Path) -> None:
    assert [dict(s.environment) for s in make_slots()] == [{}] * 6
    assert [s.threads for s in make_slots()] == [1] * 6
    assert len(make_slots(2)) == 2
    assert make_slots(2)[0].memory == 32 * 2**30


def test_slots_fit_the_memory(bare_machine: Path) -> None:
    assert len(make_slots(peak_memory=20 * 2**30)) == 2  # 1.5 times what the baseline held
    assert len(make_slots(peak_memory=100 * 2**30)) == 1
    with pytest.raises(UsageError, match="got 4 where 3 runs of 20480 MiB each fill 65536 MiB"):
        make_slots(4, peak_memory=20 * 2**30)


def test_slots_are_gpus_by_their_ids_and_parts_of_split_ones(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(bare_machine)
    assert pins(make_slots()) == ["GPU-aa", "MIG-b0", "MIG-b1", "GPU-cc"]
    assert [s.threads for s in make_slots()] == [1] * 4
    assert pins(make_slots(per_device=2, devices="cuda:0")) == ["GPU-aa", "GPU-aa"]
    assert [s.threads for s in make_slots(per_device=2, devices="cuda:0")] == [3, 3]
    assert pins(make_slots(devices="cuda:0,cuda:2")) == ["GPU-aa", "MIG-b1"]
    assert pins(make_slots(devices="MIG-b0")) == ["MIG-b0"]
    assert pins(make_slots(devices="cpu")) == [""] * 6
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert pins(make_slots()) == ["1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [dict(s.environment) for s in make_slots()] == [{}] * 6


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ("cuda:4", r"must name devices of this machine \(cpu, cuda:0, .*cuda:3\), got 'cuda:4'"),
        ("tpu:0", "got 'tpu:0'"),
        ("cuda:0,cpu", "got 'cpu'"),
        ("cuda:0,0", "each device once, got '0' again in cuda:0,0"),
        ("", "got ''"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    bare_machine: Path, devices: str, words: str
) -> None:
    gpus(bare_machine)
    with pytest.raises(UsageError, match=words):
        make_slots(devices=devices)


def test_sharing_a_gpu_needs_one(bare_machine: Path) -> None:
    with pytest.raises(UsageError, match="--trials-per-gpu needs a GPU, got 2"):
        make_slots(per_device=2)
