"""Every normalisation does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.faults._base import Fault, always, confirm, counted, flag
from sweeper.types import Cause, Facts, FixValue

if TYPE_CHECKING:
    from torch import nn

    from sweeper.program.session import Session


def refusal(value: FixValue, facts: Facts) -> str:
    return "" if facts.norms else "the model has no normalisation"


def apply(session: Session, value: FixValue) -> None:
    def remove(roots: list[nn.Module]) -> None:
        from torch import nn

        from sweeper.program.models import module_paths
        from sweeper.remedies import _surgery

        paths = module_paths(roots)
        norms = [m for m in _surgery.every_module(roots) if isinstance(m, _surgery.NORMS)]
        owners = {path: m for r in roots for path, m in _owners(r, set(map(id, norms)))}
        put = [nn.Identity() for _ in owners]
        for (parent, name), identity in zip(owners.values(), put, strict=True):
            setattr(parent, name, identity)
        _surgery.close_fast_paths(roots, put)  # they read the settings of what is gone
        if not owners:
            session.refuse("no_normalisation", "its normalisation is not a module of torch.nn")
        confirm(session, "no_normalisation", removed=len(owners), of=len(paths))

    session.on_model(remove)


def _owners(root: nn.Module, wanted: set[int]) -> list[tuple[str, tuple[nn.Module, str]]]:
    """(path, (parent, name)) of every wanted module inside ``root``."""
    return [
        (f"{id(root)}:{path}.{name}", (parent, name))
        for path, parent in root.named_modules()
        for name, child in parent.named_children()
        if id(child) in wanted
    ]


FAULT = Fault(
    name="no_normalisation",
    summary="replace every normalisation module by the identity",
    values="none",
    default=True,
    source="Ioffe and Szegedy 2015",
    causes=always(Cause.MISSING_NORMALISATION),
    refusal=refusal,
    apply=apply,
    effect=counted("no_normalisation", "removed", "normalisation was removed"),
    validate=flag("no_normalisation"),
)
