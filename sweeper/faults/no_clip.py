"""The program's clip is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    return "" if facts.clips else "the program does not clip"


def apply(session: Session, value: FixValue) -> None:
    left_out = 0

    def leave_out(kind: str, limit: float, norm_type: float) -> float | None:
        nonlocal left_out
        left_out += 1
        confirm(session, "no_clip", left_out=left_out)
        return None

    session.on_clip_call(leave_out)


FAULT = Fault(
    name="no_clip",
    summary="leave the program's gradient clip out",
    values="none",
    default=True,
    source="Pascanu et al. 2013: recurrent models need it",
    causes=always(Cause.UNBOUNDED_GRADIENT),
    refusal=refusal,
    apply=apply,
    effect=counted("no_clip", "left_out", "clip was left out"),
    validate=flag("no_clip"),
)
