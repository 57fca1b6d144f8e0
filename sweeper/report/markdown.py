"""``ranking.md`` and ``report.md``: the result for people, as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sweeper.report.code import best_change, change_lines
from sweeper.report.commands import run_command
from sweeper.report.fix_file import advice_lines
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import fix_file_name, rank, remedies_frame
from sweeper.report.words import clipped, interval, number, plain
from sweeper.types import VerifiedFix


def ranking_text(result: StudyResult, study: Path) -> str:
    """Verdict, ranked fixes, every remedy, how to apply: what ``sweeper report`` shows again."""
    title = "not finished" if result.unfinished else result.verdict
    parts = [f"# {clipped(result.program.name, 120)}: {plain(title)}", result.verdict_reason,
             result.unfinished]  # fmt: skip
    ranked = rank(result.fixes)
    if ranked:
        parts += [
            "## Fixes, best first",
            _fixes_table(ranked),
            _how_to_apply(ranked[0], result, study),
        ]
    if result.remedies or result.not_applicable:
        parts += ["## Every remedy", _remedies_table(result)]
    return _printable("\n\n".join(part for part in parts if part)) + "\n"


def report_text(result: StudyResult, study: Path) -> str:
    """The whole report: diagnosis first, then what `ranking_text` holds, then what it rests on."""
    diagnosis = result.diagnosis
    parts = [
        "## What is wrong",
        _table(
            ("symptom", "severity", "steps", "seen"),
            ((f.symptom.value, f"{f.severity:.2f}", f"{f.steps[0]} to {f.steps[1]}", f.reason)
             for f in diagnosis.findings),
        ) if diagnosis.findings else "Nothing was found.",
        "## Why",
        _table(
            ("cause", "belief", "curable", "because"),
            ((h.cause.value, f"{h.belief:.2f}", "yes" if h.curable else "no", h.reason)
             for h in diagnosis.hypotheses),
        ) if diagnosis.hypotheses else "No cause was named.",
    ]  # fmt: skip
    if diagnosis.insufficient:
        parts += [
            "## Not looked at, for want of data",
            _table(("detector", "lacked"), sorted(diagnosis.insufficient.items())),
        ]
    parts += ["## What this rests on", _basis(result)]
    return ranking_text(result, study) + "\n" + _printable("\n\n".join(parts)) + "\n"


def _printable(text: str) -> str:
    """Names and messages come from the program, and this is printed on terminals."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def _fixes_table(fixes: Sequence[VerifiedFix]) -> str:
    head = "rank, fix, verified, restored, Wilson low, metric, unchanged, median (interval), file"
    rows = [
        (
            str(position),
            fix.fix.label,
            "yes" if fix.verified else "no",
            f"{fix.restored}/{fix.seeds}",
            f"{fix.wilson.low:.2f}",
            fix.metric_name,
            number(fix.baseline_metric),
            interval(fix.metric),
            fix_file_name(position) if fix.verified else "",
        )
        for position, fix in enumerate(fixes, start=1)
    ]
    return _table(head.split(", "), rows)


def _remedies_table(result: StudyResult) -> str:
    columns = {
        "remedy": "remedy",
        "alone": "alone",
        "best_alone": "best alone",
        "value": "value",
        "necessary_in": "needed in",
        "importance": "importance",
        "reason": "why",
    }
    frame = remedies_frame(result)[list(columns)].astype(object)
    rows = frame.where(frame.notna(), "").to_numpy().tolist()
    return _table(
        list(columns.values()),
        [[number(c) if isinstance(c, float) else c for c in row] for row in rows],
    )


def _how_to_apply(best: VerifiedFix, result: StudyResult, study: Path) -> str:
    if not best.verified:
        return ""
    change = best_change(result)
    if change is None or not change.diff:
        kind, lines = "python", advice_lines(best.fix, result.facts)
    else:
        kind, lines = "diff", change_lines(change)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", "\n".join(lines))), default=0))
    code = "\n".join(lines)
    return (
        f"Apply the first one without an edit:\n\n    {run_command(result, study)}\n\n"
        f"or change the code:\n\n{fence}{kind}\n{code}\n{fence}"
    )


def _basis(result: StudyResult) -> str:
    runs, steps, seconds = (
        result.cost.get(key, 0) for key in ("runs", "training_steps", "wall_seconds")
    )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))
    lines = [
        f"{runs:g} runs, {steps:,.0f} training steps, {seconds:g} s of wall clock",
        f"fresh seeds: {', '.join(map(str, result.seeds)) or 'none used'}",
        f"the program's own files were kept safe by: {result.containment or 'unknown'}",
        f"versions: {versions or 'unknown'}",
        *result.notes,
    ]
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(str(cell)) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
