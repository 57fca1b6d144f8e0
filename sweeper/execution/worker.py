"""What a child process does: run one job under the seams and leave its record.

``python -m sweeper.execution.worker JOB.json`` in a fresh process,
or `run_job` after a fork from the warm server.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import platform
import runpy
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sweeper.types import Job, Outcome, Program

if TYPE_CHECKING:
    from sweeper.program.session import Session
    from sweeper.program.side_effects import Watch
    from sweeper.telemetry.recorder import Recorder
    from sweeper.telemetry.replay import Replayer

GROUP_KEYS = {"learning_rate": "lr", "lr_schedule": "lr", "weight_decay": "weight_decay"}
"""Remedies that hold a value of the parameter groups during a step."""


def preload() -> None:
    """Import what every run needs and put the seams' trampolines in place.

    This comes before anything else is imported.
    """
    import sweeper.execution.memory
    import sweeper.execution.pulse
    import sweeper.program.tracebacks
    import sweeper.telemetry.recorder
    import sweeper.telemetry.replay  # noqa: F401
    from sweeper.faults import all_faults
    from sweeper.program import containment, seams
    from sweeper.remedies import all_remedies

    all_faults()
    all_remedies()

    containment.prepare()
    seams.install()


def run_job(job: Job) -> Outcome:
    """Run the job in this process and write its outcome; the process must end afterwards.

    The caller has already set threads, devices, output and session; here come files, seeds,
    seams and the program.
    """
    run = Run(job)
    try:
        run.begin()
        enter(job.program)
        execute(job.program)
    except BaseException as error:
        return run.end(error)
    return run.end(None)


class Run:
    """One job in this process: what stands around its program, which is called between `begin` and
    `end`.

    ``earlier`` are the seconds for which the program has run already, where this process was forked
    from one that had begun it.
    """

    def __init__(self, job: Job, *, earlier: float = 0.0) -> None:
        from sweeper.execution.pulse import Pulse

        self.job = job
        self.begun = earlier > 0.0
        self.watch: Watch | None
        self.started = time.monotonic()
        self.pulse = Pulse(job.folder)  # before the run folder's parent may become read-only
        self.containment, self.watch = "none", None
        if job.contain_files:
            self.containment, self.watch = _contain(job)
        import torch

        from sweeper.program.session import Session

        torch.set_num_threads(job.threads)
        self.session = Session(
            facts=job.facts, seed=job.seed, max_steps=job.max_steps, max_seconds=job.max_seconds,
            planned_steps=job.planned_steps,
        )  # fmt: skip
        self.recorder = _recorder(job, self.session) if job.watch else None
        self.replayer: Replayer | None = None
        if self.recorder is not None:
            self.recorder.collector.started -= earlier
            self.replayer = _replayer(job, self.session) if self.recorder.tracer else None
        self._seams, self._changes = contextlib.ExitStack(), contextlib.ExitStack()
        self._pid, self._exit = os.getpid(), os._exit

    def begin(self) -> None:
        """Seams, seeds and the job's changes. What it raises ends the run."""
        from sweeper.program import seams, seeds

        session, pulse = self.session, self.pulse
        session.after_step(lambda optimizer: pulse.beat() if optimizer is session.primary else None)
        session.on_abandon = self._abandon
        self._seams.enter_context(seams.installed(session, amid=self.begun))
        self._seams.callback(setattr, os, "_exit", self._exit)
        os._exit = self._left  # type: ignore[assignment]
        seeds.start(self.job.seed)
        for name, value in self.job.fault.items():
            _inject(session, name, value)
        for name, value in self.job.fix.changes.items():
            _apply(session, name, value)
        self._changes.enter_context(_changing(session))

    def end(self, error: BaseException | None) -> Outcome:
        """The outcome, written, of a program that has ended by itself or by ``error``."""
        from sweeper.program.session import BudgetReached, NotApplied
        from sweeper.program.tracebacks import traceback_text

        session = self.session
        with self._seams:
            self._changes.close()
            if error is None:
                return self._finish(_ended(session))
            if isinstance(error, SystemExit):
                return self._exited(error)
            # Or the program turned the budget's exception into one of its own.
            if isinstance(error, (BudgetReached, NotApplied)) or session.stop_reason:
                return self._finish(session.stop_reason)
            text = traceback_text(error)
            sys.stderr.write(text)
            status = "out_of_memory" if _out_of_memory(error) else "program_error"
            if isinstance(error, Exception) and status == "program_error":
                session.seam_error(error)
            short = f"{type(error).__name__}: {error}"
            return self._finish(status, error=short, traceback=text, exit_code=1)

    def _exited(self, error: SystemExit) -> Outcome:
        session = self.session
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if session.stop_reason:
            return self._finish(session.stop_reason)
        if code and not session.step:
            text = error.code if isinstance(error.code, str) else f"sys.exit({code})"
            return self._finish("program_error", error=f"SystemExit: {text}", exit_code=code)
        return self._finish(_ended(session), exit_code=code)

    def _abandon(self) -> None:
        self._finish(self.session.stop_reason)
        _flush()
        self._exit(0)

    def _left(self, code: int) -> None:
        """``os._exit``, with which a program may end past every ``finally``: its run is whole all
        the same. Processes that the program forks leave as they would."""
        if os.getpid() == self._pid:
            self.end(SystemExit(code))
        self._exit(code)

    def _finish(self, status: str, **more: Any) -> Outcome:
        from sweeper.execution import child
        from sweeper.execution.jobs import write_outcome
        from sweeper.execution.memory import peak_memory

        session = self.session
        if self.watch is not None:
            self.watch.ended()
        if self.recorder is not None:
            session.observing = True
            try:
                self.recorder.program_ended()
                if self.replayer is not None:
                    self.replayer.program_ended()
            except Exception:
                session.watch_errors.append(traceback.format_exc())
        for remedy, key in GROUP_KEYS.items():
            if remedy in self.job.fix.changes and (times := session.overwritten.get(key)):
                session.refused[remedy] = (
                    f"the program's own optimizer step writes {key} again (at {times} steps)"
                )
        seconds = time.monotonic() - self.started
        standings = self.recorder.standings if self.recorder is not None else None
        outcome = Outcome(
            status=status, steps=session.step, seconds=seconds,  # type: ignore[arg-type]
            containment=self.containment, device=_device(session), versions=versions(),
            applied=session.applied, longest_gap=self.pulse.longest_gap(),
            peak_memory=peak_memory(), refused=session.refused,
            watch_errors=tuple(session.watch_errors), start=child.start,
            standings=tuple(standings.found) if standings else (), **more,
        )  # fmt: skip
        write_outcome(self.job.folder, outcome)
        return outcome


def _contain(job: Job) -> tuple[str, Watch]:
    """Which containment is on, and the watch over what it does not hold."""
    from sweeper.execution.child import die_with_parent
    from sweeper.program.containment import contain
    from sweeper.program.side_effects import watch_run
    from sweeper.program.trackers import disable_trackers, force_offline

    scratch = job.folder / "scratch"
    on = contain(scratch, [job.folder], job.program.cwd)
    trial = job.facts is not None
    watch = watch_run(job.folder, on, trial=trial, allowed=job.allow_side_effects)
    disable_trackers(os.environ, scratch / "trackers")
    force_offline(scratch / "trackers")
    die_with_parent()  # entering a user namespace may have made the kernel forget it
    return on.kind, watch


def _ended(session: Session) -> str:
    if session.stop_reason:
        return session.stop_reason
    return "finished" if session.optimizers else "no_optimizer"


def _apply(session: Session, name: str, value: Any) -> None:
    from sweeper.remedies import all_remedies

    session.remedy = name
    all_remedies()[name].apply(session, value)
    session.remedy = ""


def _inject(session: Session, name: str, value: Any) -> None:
    from sweeper.faults import all_faults

    all_faults()[name].apply(session, value)


def _recorder(job: Job, session: Session) -> Recorder:
    from sweeper.telemetry.recorder import Recorder
    from sweeper.telemetry.standing import Standings

    swapped = job.fix.changes.get("activation", "")
    recorder = Recorder(
        session, job.folder, stop_when_hopeless=job.stop_when_hopeless,
        standings=Standings(job.rungs, job.compared_by) if job.rungs else None,
        swapped_to=swapped if isinstance(swapped, str) else "",
        traced=session.facts is None or bool(job.fault),
    )  # fmt: skip
    session.observers.append(recorder)
    return recorder


def _replayer(job: Job, session: Session) -> Replayer:
    """Of a baseline only: what it answers is asked when a run is diagnosed."""
    from sweeper.telemetry.replay import Replayer

    replayer = Replayer(session, job.folder)
    session.observers.append(replayer)
    return replayer


@contextlib.contextmanager
def _changing(session: Session) -> Iterator[None]:
    """Change the functions that the program calls, when a remedy asked for it."""
    from sweeper.program.functions import changing

    with changing(session.functions, lambda: session.roots) as mode:
        try:
            yield
        finally:
            if mode is not None and mode.count:
                session.confirm("activation", calls=mode.count)


def enter(program: Program) -> None:
    """The program's own argv, path and working directory."""
    os.chdir(program.cwd)
    module = program.kind == "module"
    sys.argv = [program.target if module else str(program.path), *program.argv]
    sys.path.insert(0, str(program.cwd if module else program.path.parent))


def execute(program: Program) -> None:
    """Run the program as Python would, as ``__main__``, after `enter`."""
    if program.kind == "module":
        runpy.run_module(program.target, run_name="__main__", alter_sys=True)
        return
    if program.kind == "function":
        stem = program.path.stem
        module = _run_file(program, f"{stem}_" if stem in sys.modules else stem)
        getattr(module, program.target)()
        return
    _run_file(program, "__main__")


def _run_file(program: Program, name: str) -> ModuleType:
    """Run a file as the module of that name, which stays alive: pickling (DataLoader workers,
    torch.save) looks its classes up there. So not runpy.run_path."""
    module = ModuleType(name)
    module.__file__ = str(program.path)
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules[name] = module
    with io.open_code(str(program.path)) as file:
        code = compile(file.read(), str(program.path), "exec")
    exec(code, module.__dict__)
    return module


def _out_of_memory(error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}"
    return (
        isinstance(error, MemoryError)
        or "OutOfMemory" in text
        or "DefaultCPUAllocator: can't allocate" in text
    )


def _device(session: Session) -> str:
    for root in session.roots:
        for parameter in root.parameters():
            return str(parameter.device)
    return "cpu"


def versions() -> dict[str, str]:
    """Versions that decide whether a record can be made again."""
    import numpy
    import torch

    import sweeper

    return {
        "sweeper": sweeper.__version__, "python": platform.python_version(),
        "torch": torch.__version__, "numpy": numpy.__version__,
    }  # fmt: skip


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def main(argv: list[str]) -> int:
    """A fresh process for one job file."""
    from sweeper.execution import imports
    from sweeper.execution.child import become_child
    from sweeper.execution.jobs import read_job

    job = read_job(Path(argv[0]))
    become_child(job)
    preload()
    # As the zygote does: a library that draws while it is imported does so before the seeds.
    imports.preload(job.program.path)
    gc.freeze()  # as the zygote does: what was imported is not looked through again and again
    outcome = run_job(job)
    _flush()
    return outcome.exit_code


if __name__ == "__main__":
    # Threads of the program (data loaders, loggers) must not keep a finished run alive.
    code = main(sys.argv[1:])
    os._exit(code)
