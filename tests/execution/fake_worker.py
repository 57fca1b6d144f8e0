"""A worker without torch: ``preload`` and ``run_job`` as the zygote and the supervisor expect them.

What to do is in the job's environment: FAKE names the behaviour.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sweeper.execution.child import become_child
from sweeper.execution.jobs import read_job, write_outcome
from sweeper.execution.pulse import Pulse
from sweeper.types import Job, Outcome


def preload() -> None:
    """Nothing to import."""


def run_job(job: Job) -> Outcome:
    """Behave as the job's environment says."""
    behaviour = os.environ.get("FAKE", "finish")
    print(f"behaviour {behaviour} seed {job.seed}")
    sys.stdout.flush()
    with (job.folder.parent / "attempts.txt").open("a", encoding="utf-8") as file:
        file.write(f"{job.folder.name} {os.getpid()}\n")
    if behaviour == "crash":
        raise RuntimeError("planted")
    if behaviour == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if behaviour == "memory":
        raise MemoryError("planted")
    if behaviour == "stray":
        stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (job.folder / "stray").write_text(str(stray.pid), encoding="ascii")
    if behaviour == "daemon":
        command = "import os; os.setsid(); import time; time.sleep(60)"
        daemon = subprocess.Popen([sys.executable, "-c", command])
        (job.folder / "stray").write_text(str(daemon.pid), encoding="ascii")
        time.sleep(0.3)
    if behaviour == "hang":
        pulse = Pulse(job.folder)
        for _ in range(3):
            pulse.beat()
        time.sleep(60)
    if behaviour == "eater":
        ballast = bytearray(os.urandom(300 * 2**20))
        time.sleep(60 + len(ballast) * 0)
    if behaviour == "chatter":
        for number in range(40):
            print(f"{number:02d}" * 2**19)  # one MiB
        sys.stdout.flush()
        time.sleep(1.5)
        print("the end")
        sys.stdout.flush()
    if behaviour == "once":  # killed from outside the first time
        first = job.folder.parent / "killed-before"
        if not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if behaviour in ("sleep", "deaf"):
        if behaviour == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (job.folder / "pid").write_text(str(os.getpid()), encoding="ascii")
        time.sleep(60)
    outcome = Outcome(status="finished", steps=job.seed, seconds=0.01)
    write_outcome(job.folder, outcome)
    return outcome


if __name__ == "__main__":
    run = read_job(Path(sys.argv[1]))
    become_child(run)
    run_job(run)
