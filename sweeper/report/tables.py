"""The ranking rule and the tables, one pandas frame per CSV file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from sweeper.report.study_result import RemedyRow, StudyResult
from sweeper.types import Trial, VerifiedFix

Kind = Literal["int", "float", "bool", "text"]

SCHEMAS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "ranking": {
        "rank": "int",
        "fix": "text",
        "changes": "int",
        "verified": "bool",
        "restored": "int",
        "seeds": "int",
        "wilson_low": "float",
        "wilson_high": "float",
        "metric": "text",
        "baseline": "float",
        "median": "float",
        "low": "float",
        "high": "float",
        "difference": "float",
        "difference_low": "float",
        "difference_high": "float",
        "skill": "float",
        "steps": "int",
        "necessary": "text",
        "fix_hash": "text",
        "fix_file": "text",
    },
    "trials": {
        "trial": "int",
        "phase": "text",
        "fix": "text",
        "seed": "int",
        "status": "text",
        "steps": "int",
        "seconds": "float",
        "restored": "bool",
        "score": "float",
        "skill": "float",
        "metric": "text",
        "value": "float",
        "reasons": "text",
        "not_applied": "text",
        "error": "text",
        "fix_hash": "text",
        "folder": "text",
    },
    "remedies": {
        "rank": "int",
        "remedy": "text",
        "alone": "text",
        "best_alone": "text",
        "metric": "text",
        "value": "float",
        "necessary_in": "text",
        "importance": "float",
        "reason": "text",
    },
}
"""File stem -> column -> kind, in order. Other programs read these files: add columns at the end,
keep names."""

LOWER_IS_BETTER: Final = frozenset({"loss"})
NOT_APPLICABLE: Final = "not applicable"
_ALONE: Final = ("restored", "not restored", "not applied", "not tried", NOT_APPLICABLE)

_DTYPES: Final[Mapping[Kind, str]] = {
    "int": "Int64", "float": "Float64", "bool": "boolean", "text": "string",
}  # fmt: skip
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_TEXT_LIMIT: Final = 500
"""Characters of one cell; the whole text is in the run folder."""


def rank(fixes: Iterable[VerifiedFix]) -> list[VerifiedFix]:
    """Best first: verified, lower Wilson bound, fewest changes, repair of a believed fault of the
    code before what only masks it, metric, cost. Of the metric, as of
    the share, the pessimistic end of the interval counts: a fix that is good on every seed comes
    before one that is better on most.

    Ties are broken by the fix's own text, so that the order never depends on that of the study.
    """

    def key(fix: VerifiedFix) -> tuple[object, ...]:
        sign = 1.0 if fix.metric_name in LOWER_IS_BETTER else -1.0
        metric = fix.metric.high if sign > 0 else fix.metric.low
        return (
            not fix.verified,
            -round(fix.wilson.low, 9),
            len(fix.fix.changes),
            not fix.repairs,
            sign * metric if math.isfinite(metric) else math.inf,
            fix.steps,
            fix.fix.canonical,
        )

    return sorted(fixes, key=key)


def fix_file_name(position: int) -> str:
    """Of the fix at a rank (from 1), relative to the study folder."""
    return f"report/fix-{position}.toml"


def ranking_frame(result: StudyResult) -> pd.DataFrame:
    """One row per fix that was put to the proof, best first; only verified ones have a fix file."""
    rows = [
        {
            "rank": position,
            "fix": fix.fix.label,
            "changes": len(fix.fix.changes),
            "verified": fix.verified,
            "restored": fix.restored,
            "seeds": fix.seeds,
            "wilson_low": fix.wilson.low,
            "wilson_high": fix.wilson.high,
            "metric": fix.metric_name,
            "baseline": fix.baseline_metric,
            "median": fix.metric.value,
            "low": fix.metric.low,
            "high": fix.metric.high,
            "difference": fix.paired_difference.value,
            "difference_low": fix.paired_difference.low,
            "difference_high": fix.paired_difference.high,
            "skill": fix.skill,
            "steps": fix.steps,
            "necessary": ", ".join(
                sorted(name for name, needed in fix.necessary.items() if needed)
            ),
            "fix_hash": fix.fix.hash,
            "fix_file": fix_file_name(position) if fix.verified else "",
        }
        for position, fix in enumerate(rank(result.fixes), start=1)
    ]
    return _frame("ranking", rows)


def trials_frame(trials: Sequence[Trial], study: Path) -> pd.DataFrame:
    """One row per run, in the order given; ``folder`` is relative to the study."""
    rows = []
    for position, trial in enumerate(trials):
        judgement = trial.judgement
        rows.append(
            {
                "trial": position,
                "phase": trial.phase,
                "fix": trial.fix.label,
                "seed": trial.seed,
                "status": trial.outcome.status,
                "steps": trial.outcome.steps,
                "seconds": round(trial.outcome.seconds, 3),
                "restored": judgement.restored if judgement else None,
                "score": judgement.score if judgement else None,
                "skill": judgement.skill if judgement else None,
                "metric": judgement.metric_name if judgement else "",
                "value": judgement.metric if judgement else None,
                "reasons": "; ".join(judgement.reasons) if judgement else "",
                "not_applied": "; ".join(f"{k}: {v}" for k, v in sorted(trial.not_applied.items())),
                "error": trial.outcome.error,
                "fix_hash": trial.fix.hash,
                "folder": _relative(trial.folder, study),
            }
        )
    return _frame("trials", rows)


def remedies_frame(result: StudyResult) -> pd.DataFrame:
    """Every remedy, most useful first: what it did alone, needed by a fix, score, importance."""
    rows = [_remedy_row(row, result) for row in result.remedies]
    listed = {row.remedy for row in result.remedies}
    rows += [
        {"remedy": name, "alone": NOT_APPLICABLE, "reason": reason}
        for name, reason in result.not_applicable.items()
        if name not in listed
    ]

    def key(row: Mapping[str, Any]) -> tuple[object, ...]:
        return (
            _ALONE.index(row["alone"]),
            not row.get("necessary_in"),
            -row.get("score", -math.inf),
            -(row.get("importance") or 0.0),
            row["remedy"],
        )

    ordered = sorted(rows, key=key)
    return _frame("remedies", [{**row, "rank": i} for i, row in enumerate(ordered, start=1)])


def best_alone(remedy: str, trials: Iterable[Trial]) -> Trial | None:
    """The best-scoring trial whose one change is this remedy and took hold; the first of equals."""
    own = [
        t for t in trials
        if list(t.fix.changes) == [remedy] and t.judgement is not None and not t.not_applied
        and t.phase in ("screening", "joint", "elimination")
    ]  # fmt: skip
    return max(own, key=lambda t: t.judgement.score if t.judgement else -math.inf, default=None)


def _remedy_row(row: RemedyRow, result: StudyResult) -> dict[str, Any]:
    best = best_alone(row.remedy, result.trials)
    judgement = best.judgement if best else None
    return {
        "remedy": row.remedy,
        "alone": row.alone,
        "best_alone": best.fix.label if best else "",
        "metric": judgement.metric_name if judgement else "",
        "value": judgement.metric if judgement else None,
        "score": judgement.score if judgement else -math.inf,
        "necessary_in": " ".join(f"fix-{position}" for position in row.necessary_in),
        "importance": result.importance.get(row.remedy),
        "reason": row.reason,
    }


def safe_cell(text: str) -> str:
    """One line that no spreadsheet reads as a formula (OWASP, CSV injection)."""
    line = " ".join(text.split()) if any(c in text for c in "\r\n\t") else text
    if len(line) > _TEXT_LIMIT:
        line = line[: _TEXT_LIMIT - 3] + "..."
    return (
        f"'{line}" if text.startswith(_FORMULA_STARTS) or line.startswith(_FORMULA_STARTS) else line
    )


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV: six significant digits, empty cells for unknown values, no index."""
    safe = frame.copy()
    for column in safe.columns:
        if isinstance(safe[column].dtype, pd.StringDtype):
            safe[column] = safe[column].map(safe_cell, na_action="ignore")
    text: str = safe.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text


def _frame(schema: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns = SCHEMAS[schema]
    return pd.DataFrame(
        {
            name: pd.Series([_cell(row.get(name)) for row in rows], dtype=_DTYPES[kind])
            for name, kind in columns.items()
        }
    )


def _cell(value: Any) -> Any:
    """Unknown numbers are empty cells; text is what a UTF-8 file can hold (a name of a file may
    have lone surrogates, which pandas refuses where pyarrow keeps its strings)."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return None if isinstance(value, float) and math.isnan(value) else value


def _relative(folder: Path, study: Path) -> str:
    return folder.relative_to(study).as_posix() if folder.is_relative_to(study) else str(folder)
