"""The report folder of a study. Every file is replaced in one step; ``verdict.json`` comes last."""

from __future__ import annotations

from pathlib import Path

from sweeper import __version__
from sweeper.report._atomic import write_atomically
from sweeper.report.archive import FILE as ARCHIVE
from sweeper.report.archive import result_text
from sweeper.report.fix_file import fix_text
from sweeper.report.markdown import ranking_text, report_text
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import (
    csv_text,
    fix_file_name,
    rank,
    ranking_frame,
    remedies_frame,
    trials_frame,
)
from sweeper.report.verdict import verdict_text
from sweeper.types import UsageError

__all__ = ["verdict_text", "write_report"]


def write_report(result: StudyResult, study: Path) -> Path:
    """Write ``report/`` under the study folder and return it; an older report there is replaced.

    Raises:
        UsageError: the folder cannot be written.
    """
    from sweeper.report.page import page_text  # brings matplotlib, which `check` has no use for

    folder = study / "report"
    texts = {
        "ranking.csv": csv_text(ranking_frame(result)),
        "trials.csv": csv_text(trials_frame(result.trials, study)),
        "remedies.csv": csv_text(remedies_frame(result)),
        "ranking.md": ranking_text(result, study),
        "report.md": report_text(result, study),
        **{
            Path(fix_file_name(position)).name: fix_text(
                fix, result.program, result.facts, __version__
            )
            for position, fix in enumerate(rank(result.fixes), start=1)
            if fix.verified
        },
        "report.html": page_text(result, study),
        # What is not finished must not be taken for the result when the study has gone on.
        **({} if result.unfinished else {ARCHIVE: result_text(result, study)}),
        "verdict.json": verdict_text(result),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(folder / name, text)
        for stale in folder.glob("fix-*.toml"):
            if stale.name not in texts:
                stale.unlink()
    except OSError as error:
        raise UsageError(f"the report must be written to {folder}, got {error.strerror}") from None
    return folder
