"""What a person sees: live progress on stderr, the result as tables on stdout."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sweeper.report.code import best_change, change_lines
from sweeper.report.commands import run_command
from sweeper.report.fix_file import advice_lines
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import rank
from sweeper.report.words import interval, number
from sweeper.types import Trial, Verdict

LONGEST_ERROR: Final = 200
"""Characters of an error that the line of a trial shows."""
COLOURS: Final[Mapping[Verdict, str]] = {
    "healthy": "green",
    "fixed": "green",
    "improved": "yellow",
    "inconclusive": "yellow",
    "failing": "red",
    "not_fixable": "red",
    "crashed": "red",
}


class Progress(Protocol):
    """What a long command tells while it works. Calls come one at a time, from any thread."""

    def phase(self, name: str) -> None:
        """The study is now doing this; the same name again says nothing new."""

    def trial_started(self, label: str) -> None:
        """A run of this fix begins."""

    def trial_done(self, trial: Trial) -> None:
        """A run ended and was judged."""

    def message(self, text: str) -> None:
        """One line for the reader."""


class Silent:
    """Says nothing."""

    def phase(self, name: str) -> None: ...

    def trial_started(self, label: str) -> None: ...

    def trial_done(self, trial: Trial) -> None: ...

    def message(self, text: str) -> None: ...


class Plain:
    """One line per event, for logs and pipes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock, self._start = stream, clock, clock()
        self._phase = ""
        self._runs = 0

    def phase(self, name: str) -> None:
        if name != self._phase:
            self._phase = name
            self._line(f"{name} ...")

    def trial_started(self, label: str) -> None:
        """Nothing: the end of the run says more."""

    def trial_done(self, trial: Trial) -> None:
        self._runs += 1
        self._line(f"run {self._runs}, {trial_line(trial)}")

    def message(self, text: str) -> None:
        self._line(text)

    def _line(self, text: str) -> None:
        print(f"[{self._clock() - self._start:6.1f} s] {text}", file=self._stream, flush=True)


class Live:
    """The same lines above one line that moves: phase, runs made, runs restored, time."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None, detail="")
        self._phase, self._runs, self._restored = "starting", 0, 0

    def phase(self, name: str) -> None:
        self._phase = name
        self._show("")

    def trial_started(self, label: str) -> None:
        self._show(f"trying {label}")

    def trial_done(self, trial: Trial) -> None:
        self._runs += 1
        self._restored += bool(
            trial.fix.changes
            and trial.judgement
            and trial.judgement.restored
            and not trial.not_applied
        )
        self._bar.console.print(escape(trial_line(trial)), highlight=False)
        self._show("")

    def message(self, text: str) -> None:
        self._bar.console.print(escape(text), style="dim", highlight=False)

    def _show(self, detail: str) -> None:
        counts = f"{self._runs} runs, {self._restored} restored"
        self._bar.update(
            self._task,
            description=self._phase,
            detail=escape(", ".join(filter(None, (counts, detail)))),
        )


class _Console(Console):
    """Whether anybody still reads is no verdict: rich would end the process with code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Bar(Bar):
    """The moving line, and what else is to be seen below it."""

    below: Callable[[], Iterable[RenderableType]] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below is not None:
            yield from self.below()


@contextmanager
def make_progress(
    *,
    quiet: bool,
    stream: TextIO | None = None,
    below: Callable[[], Iterable[RenderableType]] | None = None,
) -> Iterator[Progress]:
    """Live where a person looks, plain lines where not, nothing when quiet; always on stderr.

    ``below()`` is shown under the moving line, again and again.
    """
    stream = stream or sys.stderr
    if quiet:
        yield Silent()
    elif not stream.isatty():
        yield Plain(stream)
    else:
        columns = (
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
        )
        made = _Bar(
            *columns, console=_Console(file=stream), transient=True, refresh_per_second=4,
        )  # fmt: skip
        made.below = below
        with made as bar:
            yield Live(bar)


def trial_line(trial: Trial) -> str:
    """One trial in one line, such as ``screening activation=relu: restored, accuracy 0.956``."""
    what = f"{trial.phase} {trial.fix.label}" + (f" (seed {trial.seed})" if trial.seed else "")
    if trial.not_applied:
        return f"{what}: not applied ({'; '.join(trial.not_applied.values())})"
    judgement = trial.judgement
    if judgement is None:
        return f"{what}: {trial.outcome.status} {_first_line(trial.outcome.error)}".rstrip()
    state = (
        "restored" if judgement.restored else f"not restored ({'; '.join(judgement.reasons[:1])})"
    )
    return f"{what}: {state}, {judgement.metric_name} {number(judgement.metric)}"


def _first_line(error: str) -> str:
    """A message may have many lines, colours and no end; the run's folder keeps all of it."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", error).splitlines() or [""]
    return lines[0] if len(lines[0]) <= LONGEST_ERROR else lines[0][: LONGEST_ERROR - 3] + "..."


def print_check(result: StudyResult, console: Console | None = None) -> None:
    """Findings and causes of one run."""
    console = console or stdout()
    _headline(result, console)
    if result.log:
        console.print(escape(log_line(result)), style="dim", highlight=False)
    title = "What is wrong" if result.diagnosis.failing else "Seen, not critical"
    findings = Table("symptom", "severity", "steps", "what was seen", title=title)
    findings.title_justify = "left"
    for finding in result.diagnosis.findings:
        findings.add_row(
            finding.symptom.value,
            f"{finding.severity:.2f}",
            f"{finding.steps[0]}-{finding.steps[1]}",
            escape(finding.reason),
            style="" if finding.critical else "dim",
        )
    causes = Table("cause", "belief", "because", "remedies", title="Why", title_justify="left")
    for hypothesis in result.diagnosis.hypotheses:
        treated = ", ".join(hypothesis.remedies) if hypothesis.curable else "none cures it"
        causes.add_row(
            hypothesis.cause.value, f"{hypothesis.belief:.2f}", escape(hypothesis.reason), treated
        )
    for table in (findings, causes):
        if table.row_count:
            console.print(table)
    if result.log:
        _not_judged(result, console)


def log_line(result: StudyResult) -> str:
    """Which columns of a log were read as what, and how many values of each."""
    log = result.log
    read = [
        f"{role} = {name!r}" + (f" ({log['points'][role]:,})" if role in log["points"] else "")
        for role, name in log["columns"].items()
    ]
    return f"{log['format']}, {log['rows']:,} rows; read as " + ", ".join(read)


def _not_judged(result: StudyResult, console: Console) -> None:
    """What a log could not show, and what was unusual about it."""
    for note in result.notes:
        console.print(f"Note: {escape(note)}", style="dim", highlight=False)
    if result.diagnosis.insufficient:
        console.print("Insufficient data:", style="bold")
    for name, reason in result.diagnosis.insufficient.items():
        console.print(f"  {name}: {escape(reason)}", style="dim", highlight=False)


def print_result(result: StudyResult, folder: Path, console: Console | None = None) -> None:
    """The whole result: diagnosis, ranked fixes, what could not apply, where the report is."""
    console = console or stdout()
    print_check(result, console)
    ranked = rank(result.fixes)
    if ranked:
        console.print(_fix_table(result))
    if result.not_applicable:
        console.print("Not applicable here:", style="bold")
        for name, reason in sorted(result.not_applicable.items()):
            console.print(f"  {name}: {escape(reason)}", style="dim", highlight=False)
    for note in result.notes:
        console.print(f"Note: {escape(note)}", style="dim", highlight=False)
    best = ranked[0] if ranked and ranked[0].verified else None
    if best is not None:
        console.print("\nThe first fix as code:", style="bold")
        change = best_change(result)
        placed = change is not None and change.diff
        for line in (
            change_lines(change) if change and placed else advice_lines(best.fix, result.facts)
        ):
            console.print(f"    {escape(line)}", highlight=False, soft_wrap=True)
        console.print("or without an edit:", style="bold")
        command = run_command(result, folder.parent)
        console.print(f"    {escape(command)}", highlight=False, soft_wrap=True)
    page = folder / "report.html"
    console.print(f"\nReport: {escape(str(page))}", highlight=False, soft_wrap=True)


def _headline(result: StudyResult, console: Console) -> None:
    word = result.verdict.replace("_", " ")
    colour = COLOURS[result.verdict]
    console.print(
        f"[bold]{escape(result.program.name)}[/bold]: [bold {colour}]{word}[/bold {colour}]"
    )
    if result.verdict_reason:
        console.print(escape(result.verdict_reason), highlight=False)


def _fix_table(result: StudyResult) -> Table:
    table = Table(title="Fixes, best first", title_justify="left")
    for column in (
        "rank",
        "fix",
        "restored",
        "Wilson low",
        "metric",
        "unchanged",
        "median (interval)",
    ):
        table.add_column(column)
    for position, fix in enumerate(rank(result.fixes), start=1):
        table.add_row(
            str(position),
            escape(fix.fix.label),
            f"{fix.restored}/{fix.seeds}" + ("" if fix.verified else " not verified"),
            f"{fix.wilson.low:.2f}",
            fix.metric_name,
            number(fix.baseline_metric),
            interval(fix.metric),
            style="green" if fix.verified else "dim",
        )
    return table


def stdout() -> Console:
    """Tables keep their columns apart in a pipe too."""
    return _Console() if sys.stdout.isatty() else _Console(width=140)
