"""``verdict.json``: the machine-readable result, versioned."""

from __future__ import annotations

import json
from typing import Any

from sweeper.report._plain import plain_data
from sweeper.report.fix_file import advice_lines
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import fix_file_name, rank
from sweeper.types import VerifiedFix

SCHEMA = 1


def verdict_data(result: StudyResult) -> dict[str, Any]:
    """The result as plain data; keys may be added under one schema, never renamed or dropped.

    ``runs`` of a fix are folders relative to the study; ``fix_file`` is null for a fix that is not
    verified.
    """
    program = result.program
    return {
        "schema": SCHEMA,
        "verdict": result.verdict,
        "reason": result.verdict_reason,
        "unfinished": result.unfinished,
        "program": dict(result.log)
        or {
            "kind": program.kind,
            "name": program.name,
            "path": str(program.path),
            "target": program.target,
            "argv": list(program.argv),
            "identity": program.identity,
        },
        "facts": result.facts.to_dict(),
        "findings": [
            {
                "symptom": finding.symptom.value,
                "severity": finding.severity,
                "reason": finding.reason,
                "steps": list(finding.steps),
                "layers": list(finding.layers),
                "evidence": dict(finding.evidence),
            }
            for finding in result.diagnosis.findings
        ],
        "causes": [
            {
                "cause": hypothesis.cause.value,
                "belief": hypothesis.belief,
                "curable": hypothesis.curable,
                "reason": hypothesis.reason,
                "remedies": list(hypothesis.remedies),
                "evidence": dict(hypothesis.evidence),
            }
            for hypothesis in result.diagnosis.hypotheses
        ],
        "fixes": [
            _fix(position, fix, result) for position, fix in enumerate(rank(result.fixes), start=1)
        ],
        "remedies": [
            {
                "remedy": row.remedy,
                "alone": row.alone,
                "necessary_in": list(row.necessary_in),
                "reason": row.reason,
                "importance": result.importance.get(row.remedy),
            }
            for row in result.remedies
        ],
        "not_applicable": [
            {"remedy": name, "reason": reason}
            for name, reason in sorted(result.not_applicable.items())
        ],
        "insufficient": dict(result.diagnosis.insufficient),
        "cost": dict(result.cost),
        "seeds": list(result.seeds),
        "containment": result.containment,
        "versions": dict(result.versions),
        "notes": list(result.notes),
    }


def verdict_text(result: StudyResult) -> str:
    """Strict JSON with a line break at its end; what is not finite is a string."""
    return json.dumps(plain_data(verdict_data(result)), indent=1, allow_nan=False) + "\n"


def _fix(position: int, fix: VerifiedFix, result: StudyResult) -> dict[str, Any]:
    return {
        "rank": position,
        "fix": dict(fix.fix.changes),
        "verified": fix.verified,
        "restored": fix.restored,
        "seeds": fix.seeds,
        "wilson_low": fix.wilson.low,
        "metric": {
            "name": fix.metric_name,
            "baseline": fix.baseline_metric,
            "median": fix.metric.value,
            "low": fix.metric.low,
            "high": fix.metric.high,
        },
        "changes": len(fix.fix.changes),
        "fix_file": fix_file_name(position) if fix.verified else None,
        "difference": {
            "median": fix.paired_difference.value,
            "low": fix.paired_difference.low,
            "high": fix.paired_difference.high,
        },
        "necessary": dict(fix.necessary),
        "steps": fix.steps,
        "runs": [f"runs/{trial.folder.name}" for trial in fix.trials],
        "code": advice_lines(fix.fix, result.facts),
    }
