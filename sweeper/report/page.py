"""``report.html``: one file that opens from disk, without network and without JavaScript.

Everything that came from outside (names of programs, layers, parameters, error texts) goes through
jinja's autoescape; the page's own policy forbids scripts altogether, so that even a hole there
would run nothing. The drawings are made here and are the only markup that is not escaped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sweeper import __version__
from sweeper.report.code import best_change
from sweeper.report.commands import fix_command, report_command, run_command, show_command
from sweeper.report.curves import Curves, draw_from
from sweeper.report.fix_file import advice_lines
from sweeper.report.plots import diagnosis_plots
from sweeper.report.seed_plot import ranking_plot
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import LOWER_IS_BETTER, fix_file_name, rank, remedies_frame
from sweeper.report.words import clipped, interval, number, parts, plain, sentence
from sweeper.types import INCURABLE, Hypothesis, Interval, Trial, Verdict, VerifiedFix

TEMPLATES: Final = Path(__file__).with_name("templates")
CELL: Final = 500
"""Characters of a text from outside; the whole of it is in the run folder or the CSV files."""
WORDS: Final[dict[Verdict, tuple[str, str]]] = {
    "healthy": ("good", "Healthy"),
    "fixed": ("good", "Fixed"),
    "improved": ("middling", "Improved, not restored"),
    "inconclusive": ("middling", "Inconclusive"),
    "failing": ("bad", "Failing"),
    "not_fixable": ("bad", "Not fixable by hyperparameters"),
    "crashed": ("bad", "Crashes by itself"),
}
"""Verdict -> class of its badge, and how it is called."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fix of the ranking, as the page shows it."""

    position: int
    fix: VerifiedFix
    file: str
    """Beside the page, or nothing for a fix that is not verified."""
    seconds: float
    """Median wall clock of one run."""
    repairs: str


def page_text(result: StudyResult, study: Path) -> str:
    """The whole page."""
    curves = draw_from(result)
    ranked = rank(result.fixes)
    best = ranked[0] if ranked else None
    context: dict[str, Any] = {
        "result": result,
        "badge": "middling" if result.unfinished else WORDS[result.verdict][0],
        "verdict": "Not finished" if result.unfinished else WORDS[result.verdict][1],
        "rows": [_row(i, fix) for i, fix in enumerate(ranked, start=1)],
        "best": best,
        "place": _place(result),
        "cause": _cause(result),
        "lower_is_better": best is not None and best.metric_name in LOWER_IS_BETTER,
        "plots": diagnosis_plots(curves, result),
        "ranking_plot": ranking_plot(result),
        "drawn": _drawn(curves),
        "curves": curves,
        "critical": [f for f in result.diagnosis.findings if f.critical],
        "minor": [f for f in result.diagnosis.findings if not f.critical],
        "remedies": _remedies(result),
        "incurable": [h for h in result.diagnosis.hypotheses if not h.curable],
        "incurable_names": sorted(plain(c.value) for c in INCURABLE),
        "advice": advice_lines(best.fix, result.facts) if best and best.verified else [],
        "change": best_change(result),
        "moved": _moved(result),
        "commands": _commands(result, study, best),
        "devices": sorted({t.outcome.device for t in result.trials}),
        "identity": _identity(result),
        "sweeper_version": __version__,
    }
    return _environment().get_template("report.html.j2").render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "plain": plain,
        "number": number,
        "interval": interval,
        "parts": _parts,
        "breakable": _breakable,
        "sentence": sentence,
        "clip": lambda text, most=CELL: clipped(str(text), most),
        "svg": Markup,
        "run_link": run_link,
        "finite": lambda value: isinstance(value, (int, float)) and math.isfinite(value),
    }
    return environment


def run_link(trial: Trial) -> str:
    """Of a run folder, relative to the page."""
    return f"../runs/{quote(trial.folder.name, safe='')}/"


def _row(position: int, fix: VerifiedFix) -> Row:
    seconds = [t.outcome.seconds for t in fix.trials]
    return Row(
        position=position,
        fix=fix,
        file=Path(fix_file_name(position)).name if fix.verified else "",
        seconds=median(seconds) if seconds else math.nan,
        repairs=plain(fix.repairs),
    )


def _place(result: StudyResult) -> str:
    """Of the program, as short as tells it from others that are called train.py as well."""
    path = result.program.path
    return str(Path(path.parent.name, path.name))


def _cause(result: StudyResult) -> Hypothesis | None:
    """What is believed most, where something is wrong at all."""
    causes = result.diagnosis.hypotheses
    return causes[0] if causes and result.diagnosis.failing else None


def _parts(value: Interval) -> Markup:
    """An interval that is broken between its middle and its ends alone."""
    return Markup(" ").join(
        Markup('<span class="whole">{}</span>').format(part) for part in parts(value)
    )


def _breakable(text: str) -> Markup:
    """May be broken where a name has its joints."""
    escaped = str(Markup.escape(text))
    for joint in ("_", "=", "/"):
        escaped = escaped.replace(joint, f"{joint}\0")
    return Markup(escaped.replace("\0", "<wbr>"))


def _drawn(curves: Curves) -> list[str]:
    """The folders of the runs in the plots, main runs first."""
    order = sorted(curves.runs, key=lambda c: (not c.main, c.side == "after", c.seed))
    return [curve.folder for curve in order]


def _remedies(result: StudyResult) -> list[dict[str, Any]]:
    """Rows of remedies.csv, without what could not apply: that has a section of its own."""
    tried = {row.remedy for row in result.remedies}
    frame = remedies_frame(result).astype(object)
    rows = frame.where(frame.notna(), None).to_dict("records")
    return [{str(k): v for k, v in r.items()} for r in rows if r["remedy"] in tried]


def _commands(result: StudyResult, study: Path, best: VerifiedFix | None) -> dict[str, str]:
    known = {"fix": fix_command(result, study), "report": report_command(result, study)}
    if best is not None and best.verified:
        known |= {"run": run_command(result, study), "show": show_command(result, study)}
    return known


def _moved(result: StudyResult) -> bool:
    """The program's file is another one now than the one that was tried."""
    now = result.program_now
    tried = result.source.encode("utf-8", "surrogateescape")
    return bool(tried) and now is not None and now != tried


def _identity(result: StudyResult) -> str:
    """Of the program as it lies there now; nothing where it is gone."""
    try:
        return result.program.identity
    except OSError:
        return "unknown: the file is gone"
