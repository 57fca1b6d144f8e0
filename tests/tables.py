"""What two studies that went the same way have in common, to the byte."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


def tables(study: Path) -> dict[str, Any]:
    """Ranking and remedies byte for byte; trials without what a clock measured."""
    report = study / "report"
    with (report / "trials.csv").open() as file:
        trials = [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(file)]
    return {
        "ranking": (report / "ranking.csv").read_bytes(),
        "remedies": (report / "remedies.csv").read_bytes(),
        "trials": trials,
    }
