"""`sweeper.watch`: the check from inside the user's own code, in a notebook or a script.

Everything that a watched run of ``sweeper check`` records is recorded here too, by the same seams
and the same recorder; nothing is changed, searched or contained.
"""

from __future__ import annotations

import contextlib
import html
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeper._watch_arguments import (
    check_match,
    checked_folder,
    made_folder,
    modules,
    optimizers,
    schedulers_of,
)
from sweeper.types import (
    Diagnosis,
    Facts,
    Finding,
    Fix,
    Hypothesis,
    Job,
    Outcome,
    Program,
    RunRecord,
    UsageError,
)

if TYPE_CHECKING:
    import torch

    from sweeper.program.session import Session
    from sweeper.telemetry.recorder import Recorder

MOST_CAUSES = 5
"""Causes that the text names, most believed first."""

Status = Literal["finished", "budget", "program_error", "no_optimizer"]


@contextlib.contextmanager
def watch(
    model: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
    optimizer: Any = None,
    *,
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Watched]:
    """Watch the training inside the block; afterwards the object says what was wrong and why.

    The training itself stays as it is, to the bit; ``torch.compile`` asked for inside the block
    stays eager, and every patch is undone at its end, also when it raises. Under ``sweeper check``
    or ``sweeper fix``, which watch the whole program, the block does nothing of its own.

    Args:
        model: the trained module or modules; None finds those that own the optimizer's parameters.
        optimizer: an optimizer that exists already, or several; those that are built inside the
            block are seen anyway (a trainer's own). Wrappers of accelerate and Lightning are fine.
        folder: the run folder; made if need be, an older record in it is replaced. By default the
            next free ``.sweeper/watch/<number>``.

    Raises:
        UsageError: arguments of other types, a compiled model, an optimizer that holds none of the
            model's parameters, a folder with other files, or a block inside another one.
    """
    watched = Watched(model, optimizer, folder=folder)
    watched.start()
    try:
        yield watched
    except BaseException as error:
        with contextlib.suppress(OSError):  # the block's own error is the one to see
            watched.finish(error)
        raise
    watched.finish()


_active: list[Watched] = []


class Watched:
    """A watched block: where its record lies, and what it shows once the block is over."""

    def __init__(
        self,
        model: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
        optimizer: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self._models = modules(model)
        self._optimizers = optimizers(optimizer)
        check_match(self._models, self._optimizers)
        self._asked = checked_folder(folder)
        self.folder: Path | None = None
        """The run folder; None under a run of sweeper's own."""
        self.over = False
        self._session: Session | None = None
        self._recorder: Recorder | None = None
        self._patches = contextlib.ExitStack()
        self._started = 0.0
        self._again = False  # another model of the same kind was trained behind the first

    # -- the block ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch.

        Raises:
            UsageError: another block is watched, or the folder cannot be written.
        """
        from sweeper.program import seams
        from sweeper.program.session import Session
        from sweeper.telemetry.recorder import Recorder

        if _active:
            raise UsageError(
                f"watch() must not be used inside another watch(), got a second one while"
                f" {_active[0].folder} is recorded"
            )
        if seams.watching():
            return  # by sweeper check, fix or run: the record is theirs
        self.folder = made_folder(self._asked)
        self._started = time.monotonic()
        session = Session()
        session.in_charge = False  # the program goes on, whatever is seen
        session.given_roots = list(self._models)
        self._recorder = Recorder(session, self.folder)
        self._session = session
        session.observers.append(self._recorder)
        _write_job(self.folder)
        _active.append(self)
        self._patches.callback(_active.remove, self)
        self._patches.callback(session.close)
        try:
            self._patches.enter_context(seams.installed(session, inside=True))
        except BaseException:
            self._patches.close()
            raise
        for optimizer in self._optimizers:
            session.seam_optimizer(optimizer)
        for name in schedulers_of(self._optimizers):
            session.notify("scheduler_built", name)

    def finish(self, error: BaseException | None = None) -> None:
        """Stop watching and write the record; ``error`` is what ended the block, if anything did.

        A second call does nothing.
        """
        if self.over:
            return
        self.over = True
        session, recorder = self._session, self._recorder
        self._session = self._recorder = None
        self._models, self._optimizers = (), ()  # a notebook keeps the object, not the model
        if session is None or recorder is None or self.folder is None:
            return
        self._again = session.trains_again
        status = _status(session, error)
        if status == "budget":
            session.stop("interrupted")
        session.observing = True
        try:
            recorder.program_ended()
        except Exception:
            session.watch_errors.append(traceback.format_exc())
        finally:
            self._patches.close()
        _write_outcome(self.folder, session, status, time.monotonic() - self._started, error)

    # -- what it showed ----------------------------------------------------------------------------

    @cached_property
    def record(self) -> RunRecord:
        """The run record, read back from the folder."""
        from sweeper.telemetry.record import read_record

        return read_record(self._finished_folder())

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """Findings and the causes that explain them."""
        from sweeper.diagnosis import diagnose
        from sweeper.telemetry.record import read_captured

        return diagnose(self.record, read_captured(self._finished_folder()))

    def _finished_folder(self) -> Path:
        if not self.over:
            raise UsageError("what watch() found is known after its block, got asked inside of it")
        if self.folder is None:
            raise UsageError("this block left no record of its own: the whole program is watched")
        return self.folder

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, most severe first; nothing for fewer steps than can be judged."""
        return self.diagnosis.findings if self._judged else ()

    @property
    def causes(self) -> tuple[Hypothesis, ...]:
        """Why, most believed first; each names the remedies that treat it."""
        return self.diagnosis.hypotheses if self._judged else ()

    @property
    def facts(self) -> Facts:
        """What the training was seen to be."""
        return self.record.facts

    @property
    def failing(self) -> bool:
        """A finding is critical, as for ``sweeper check``."""
        return any(finding.critical for finding in self.findings)

    @property
    def _judged(self) -> bool:
        from sweeper.baseline import MIN_STEPS

        return self.record.outcome.steps >= MIN_STEPS

    # -- for people --------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return "\n".join([self._headline, *self._lines()])

    def _repr_html_(self) -> str:
        if not self._told:
            return f"<p>{html.escape(self._headline)}</p>"
        parts = [f"<p><b>{html.escape(self._headline)}</b></p>"]
        findings = [
            (f.symptom.value, f"{f.severity:.2f}", f"{f.steps[0]}-{f.steps[1]}", f.reason)
            for f in self.findings
        ]
        causes = [
            (h.cause.value, f"{h.belief:.2f}", _remedies(h), h.reason)
            for h in self.causes[:MOST_CAUSES]
        ]
        parts += _table(("symptom", "severity", "steps", "what was seen"), findings)
        parts += _table(("cause", "belief", "remedies", "because"), causes)
        return "".join([*parts, f"<p>{html.escape(str(self.folder))}</p>"])

    @property
    def _told(self) -> bool:
        return self.over and self.folder is not None

    @property
    def _headline(self) -> str:
        if not self.over:
            return "sweeper is watching"
        if self.folder is None:
            return "sweeper watches the whole program: nothing was recorded here"
        outcome = self.record.outcome
        after = f"{outcome.steps} optimizer steps watched"
        if outcome.error:
            after += f", ended by {outcome.error}"
        if not outcome.steps:
            return f"{after}: {_nothing_seen(self.facts)}"
        if not self._judged:
            return f"{after}: too few to be judged"
        return f"{after}: " + ("failing" if self.failing else "no critical finding")

    def _lines(self) -> Iterator[str]:
        if not self._told:
            return
        for finding in self.findings:
            mark = "!" if finding.critical else "-"
            yield f"  {mark} {finding.symptom.value} {finding.severity:.2f}: {finding.reason}"
        for cause in self.causes[:MOST_CAUSES]:
            yield f"  ? {cause.cause.value} {cause.belief:.2f}: {cause.reason}"
            yield f"      {_remedies(cause)}"
        for trace in self.record.outcome.watch_errors:
            yield f"  watching failed: {trace.strip().splitlines()[-1]}"
        if self._again:
            yield "  another training followed in the block: the first one is judged"
        yield f"  record: {self.folder}"


def _remedies(cause: Hypothesis) -> str:
    return "try " + ", ".join(cause.remedies) if cause.curable else "no remedy cures it"


def _nothing_seen(facts: Facts) -> str:
    if facts.optimizers:
        return "the optimizer was never stepped"
    return (
        "no optimizer was built in the block; one that exists already is named:"
        " watch(model, optimizer)"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return [f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"]


# -- the record -----------------------------------------------------------------------------------


def _write_job(folder: Path) -> None:
    from sweeper.execution.jobs import write_job

    main = getattr(sys.modules.get("__main__"), "__file__", None)
    path = Path(main).absolute() if main else Path.cwd() / "notebook"
    program = Program(
        kind="script", name=path.stem, path=path, target=str(path), argv=tuple(sys.argv[1:]),
        cwd=Path.cwd(),
    )  # fmt: skip
    write_job(Job(program=program, fix=Fix(), seed=0, folder=folder, contain_files=False))


def _status(session: Session, error: BaseException | None) -> Status:
    if isinstance(error, KeyboardInterrupt):
        return "budget"  # stopped by hand: what was recorded until then counts
    if error is not None and not isinstance(error, SystemExit):
        return "program_error"
    return "finished" if session.optimizers else "no_optimizer"


def _write_outcome(
    folder: Path, session: Session, status: Status, seconds: float, error: BaseException | None
) -> None:
    from sweeper.execution.jobs import write_outcome
    from sweeper.execution.worker import versions

    devices = [str(p.device) for root in session.roots for p in root.parameters()]
    told = [] if error is None else traceback.format_exception(error)
    outcome = Outcome(
        status=status, steps=session.step, seconds=seconds, containment="none",
        error="" if error is None else f"{type(error).__name__}: {error}".rstrip(": "),
        traceback="".join(told), exit_code=int(status == "program_error"),
        device=devices[0] if devices else "cpu", versions=versions(),
        watch_errors=tuple(session.watch_errors),
    )  # fmt: skip
    write_outcome(folder, outcome)
