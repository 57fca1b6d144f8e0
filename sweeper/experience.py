"""Between a study and the user's history: what earlier studies say, and what this one adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sweeper.report.study_result import StudyResult
from sweeper.search.history import (
    Count,
    HistoryUnavailableError,
    Tried,
    counts_of,
    place,
    recall,
    remember,
)
from sweeper.types import Cause, Diagnosis


def earlier(diagnosis: Diagnosis, tell: Callable[[str], None]) -> Mapping[str, Count]:
    """Remedy -> what it did alone on earlier programs with the cause that is believed most; what
    cannot be read is told and passed over.
    """
    path = place()
    if path is None:
        return {}
    try:
        return counts_of(recall(path), _top(diagnosis))
    except HistoryUnavailableError as error:
        tell(f"history is not used: {error}")
        return {}


def add(result: StudyResult, tell: Callable[[str], None]) -> None:
    """Keep what each remedy did alone in this study, and which the verified fixes hold."""
    path, cause = place(), _top(result.diagnosis)
    if path is None or cause is None:
        return
    held = {name for fix in result.fixes if fix.verified for name in fix.fix.changes}
    tried = [
        Tried(remedy=row.remedy, restored=row.alone == "restored", verified=row.remedy in held)
        for row in result.remedies
        if row.alone in ("restored", "not restored")
    ]
    symptoms = {finding.symptom for finding in result.diagnosis.findings if finding.critical}
    if not tried:
        return
    try:
        remember(path, result.program.identity, cause, symptoms, tried)
    except HistoryUnavailableError as error:
        tell(f"history is not kept: {error}")


def _top(diagnosis: Diagnosis) -> Cause | None:
    return diagnosis.hypotheses[0].cause if diagnosis.hypotheses else None
