"""Telling somebody what changed in the night, through apprise (extra ``sweeper[notify]``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeper.nightly_list import NightlyList
from sweeper.types import UsageError


def notify(names: NightlyList, changes: Sequence[str], tell: Callable[[str], None]) -> None:
    """Send the changes to every URL of the list; nothing changed is nothing sent.

    A place that cannot be reached is told by its number, never by its URL, which may hold a secret,
    and does not make the night fail.

    Raises:
        UsageError: the list names places and apprise is not installed.
    """
    if not names.notify:
        return
    try:
        import apprise
    except ImportError:
        raise UsageError(
            f"[notify] needs the extra sweeper[notify], got {len(names.notify)} urls in "
            f"{names.path} without it"
        ) from None
    if not changes:
        return
    for number, url in enumerate(names.notify, start=1):
        place = apprise.Apprise()
        sent = place.add(url) and place.notify(
            title=f"{names.title}: {len(changes)} changed", body="\n".join(changes)
        )
        if not sent:
            tell(f"[notify] url {number} of {names.path} could not be told")
