"""What trials would do that no containment holds, and whether the user wants that.

The baseline shows it (`sweeper.program.side_effects`). It is told before the first trial; what acts
on others is repeated by trials only with ``--allow-side-effects``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeper.program.side_effects import SideEffect, read
from sweeper.types import Program, Trial, UsageError

OPTION = "--allow-side-effects"
LISTED = 5
"""Side effects named in one message; more are counted."""


def told(baseline: Path) -> list[str]:
    """One line for each thing that the run in this folder did outside of its own files."""
    return [
        f"side effect: the program {effect.text}" if effect.consent else f"note: {effect.text}"
        for effect in read(baseline)
    ]


def require(program: Program, baseline: Path, allowed: bool) -> None:
    """Before the first trial.

    Raises:
        UsageError: the baseline did what trials must not repeat without consent.
    """
    effects = [effect for effect in read(baseline) if effect.consent]
    if effects and not allowed:
        raise UsageError(
            f"trials may touch the program's own files only, and those are contained; got "
            f"{program.path}, which {_listed(effects)}. Every trial would do so again: allow it "
            f"with {OPTION}, or switch it off in the program (what it only downloads: run it once "
            f"by itself before)"
        )


def require_for_refused(program: Program, baseline: Path) -> None:
    """After a baseline that was kept from something.

    Raises:
        UsageError: it was, which may be why it failed.
    """
    refused = [effect for effect in read(baseline) if effect.refused]
    if refused:
        raise UsageError(
            f"a run must not overwrite files of the user, got {program.path}, which "
            f"{_listed(refused)}: allow it with {OPTION}"
        )


def remarks(trials: Sequence[Trial]) -> list[str]:
    """For the report: what was done or refused, and in how many of the runs."""
    counts: dict[str, int] = {}
    for trial in trials:
        for effect in read(trial.folder):
            text = effect.text if not effect.consent else f"the program {effect.text}"
            if effect.refused:
                text += f", which was refused without {OPTION}"
            counts[text] = counts.get(text, 0) + 1
    return [f"{text}: in {n} of {len(trials)} runs" for text, n in counts.items()]


def _listed(effects: Sequence[SideEffect]) -> str:
    named = [effect.text for effect in effects[:LISTED]]
    more = len(effects) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")
