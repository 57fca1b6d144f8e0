"""Which column is the loss, which the accuracy: guessed from names and coverage, or as said."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeper.telemetry.foreign.names import HELD_OUT, TRAIN, words_of
from sweeper.telemetry.foreign.table import Table
from sweeper.types import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]

ROLES = (
    "loss", "accuracy", "val_loss", "val_accuracy", "lr", "grad_norm", "step", "epoch", "run",
    "phase",
)  # fmt: skip
"""What `--columns` can name."""
SPARSE = 0.1
"""Share of the fullest candidate's values under which a column is passed over."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows and columns of one run of a table."""

    name: str
    rows: Bools  # [R]
    columns: Mapping[str, int]
    """Role -> column; roles as in `ROLES`, and ``error``, ``perplexity`` and their ``val_``
    forms."""
    held: Bools  # [R] rows that a phase column calls held out
    adversarial: bool = False
    per_epoch: bool = False
    others: tuple[str, ...] = ()
    """Other losses of the log that were as full."""


def parse_columns(text: str) -> dict[str, str]:
    """``loss=train/loss,step=iter`` -> column -> role; a comma inside a name is doubled.

    Raises:
        UsageError: not ROLE=NAME, an unknown role, or one said twice.
    """
    out: dict[str, str] = {}
    for part in text.replace(",,", "\0").split(","):
        role, equals, name = part.replace("\0", ",").partition("=")
        role, name = role.strip(), name.strip()
        if not equals or not name or not role:
            raise UsageError(f"--columns must be ROLE=NAME,..., got {part!r} in {text!r}")
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"a role of --columns must be one of {', '.join(ROLES)}, got {role!r}{hint}"
            )
        if role in out.values():
            raise UsageError(f"--columns must name each role once, got {role!r} twice in {text!r}")
        out[name] = role
    return out


def check_asked(asked: Mapping[str, str], table: Table, place: str) -> None:
    """Every column of `--columns` is in the log.

    Raises:
        UsageError: naming the nearest name there is.
    """
    found = {c.name for c in table.columns}
    for name, role in asked.items():
        if name in found:
            continue
        there = sorted(found | set(table.others))
        near = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        some = ", ".join(repr(n) for n in there[:12])
        raise UsageError(
            f"--columns {role}= must name a column of the log, got {name!r}{hint} ({place} has"
            f" {some or 'none'})"
        )


def parts_of(table: Table, place: str) -> list[Part]:
    """The runs of a table, each with its columns.

    Raises:
        UsageError: nothing there measures training.
    """
    held = _held_rows(table)
    found: list[Part] = []
    for run, columns in _by_group(table).items():
        for name, rows in _by_word(table, run):
            part = _part(table, name, columns, rows, held)
            if part is not None:
                found.append(part)
    if not found:
        names = [c.name for c in table.columns] + list(table.others)
        some = ", ".join(repr(n) for n in names[:15]) or "none"
        raise UsageError(
            "LOG must have a loss, an accuracy or a gradient norm, got columns"
            f" {some} in {place}: name one with --columns loss=NAME"
        )
    return found


def _by_group(table: Table) -> dict[str, list[tuple[int, bool]]]:
    """Run -> its columns, each with whether its folder says held out; shared columns are in all."""
    shared = [i for i, c in enumerate(table.columns) if not c.group]
    groups: dict[str, list[tuple[int, bool]]] = {}
    for i, column in enumerate(table.columns):
        if column.group:
            run, held = _split_of(column.group)
            groups.setdefault(run, []).append((i, held))
    measured = [i for i in shared if table.columns[i].reading.role not in ("step", "epoch", "time")]
    if not groups:
        return {"": [(i, False) for i in shared]}
    axes = [(i, False) for i in shared if i not in measured]
    if measured:  # values beside the folders belong to the run of the folder itself
        own = groups.setdefault("", [])
        own.extend((i, False) for i in measured)
    return {run: axes + columns for run, columns in groups.items()}


def _split_of(group: str) -> tuple[str, bool]:
    """``exp/validation`` -> (exp, True): Keras and add_scalars write a folder for each split."""
    parent, _, last = group.rpartition("/")
    words = set(words_of(last))
    plain = {"loss", "losses", "acc", "accuracy", "error", "metrics", "epoch"}
    if words and words <= set(HELD_OUT) | set(TRAIN) | plain and words & {*HELD_OUT, *TRAIN}:
        return parent, bool(words & set(HELD_OUT))
    return group, False


def _by_word(table: Table, run: str) -> list[tuple[str, Bools]]:
    """Runs told apart by a text column; one run when there is none or it has one word."""
    everything = np.ones(len(table.numbers), dtype=bool)
    for i, column in enumerate(table.columns):
        words = table.words.get(i, ())
        if column.reading.role != "run" or len(words) < 2:
            continue
        named = table.given[:, i] & np.isfinite(table.values[:, i])
        if named.sum() < 0.5 * len(named):
            continue
        prefix = f"{run}/" if run else ""
        return [
            (f"{prefix}{word}", named & (table.values[:, i] == code))
            for code, word in enumerate(words)
        ]
    return [(run, everything)]


def _held_rows(table: Table) -> Bools:
    """Rows that a phase column says are about held-out samples."""
    out = np.zeros(len(table.numbers), dtype=bool)
    for i, column in enumerate(table.columns):
        if column.reading.role != "phase":
            continue
        for code, word in enumerate(table.words.get(i, ())):
            if set(words_of(word)) & set(HELD_OUT):
                out |= table.given[:, i] & (table.values[:, i] == code)
    return out


def _part(
    table: Table, name: str, columns: Sequence[tuple[int, bool]], rows: Bools, held: Bools
) -> Part | None:
    chosen: dict[str, int] = {}
    counts = table.given[rows].sum(axis=0)
    train_counts = table.given[rows & ~held].sum(axis=0)
    held_counts = table.given[rows & held].sum(axis=0)
    losses: list[int] = []
    for role in ("loss", "accuracy", "error", "perplexity", "grad_norm", "lr"):
        for prefix in ("", "val_"):
            able = []
            for i, by_folder in columns:
                reading = table.columns[i].reading
                if reading.role != role:
                    continue
                said = reading.rank < 0
                held_out = by_folder or reading.split == "held_out"
                if prefix:
                    n = int(counts[i] if held_out else 0 if said else held_counts[i])
                else:
                    n = int(0 if held_out else train_counts[i])
                if n:
                    able.append((i, n))
            if not able or (prefix and role in ("grad_norm", "lr")):
                continue
            best = _best(table, able)
            chosen[prefix + role] = best
            if role == "loss" and not prefix:
                losses = [i for i, _ in able]
    for axis in ("step", "epoch"):
        able = [
            (i, int(counts[i])) for i, _ in columns
            if table.columns[i].reading.role == axis and counts[i]
        ]  # fmt: skip
        if able:
            chosen[axis] = _best(table, able)
    if not {"loss", "accuracy", "error", "perplexity", "grad_norm", "val_loss", "val_accuracy",
            "val_error", "val_perplexity"} & set(chosen):  # fmt: skip
        return None
    sides = {table.columns[i].reading.adversary for i in losses}
    return Part(
        name=name, rows=rows, columns=chosen, held=held, adversarial={"critic", "maker"} <= sides,
        per_epoch="loss" in chosen and table.columns[chosen["loss"]].reading.per_epoch,
        others=_other_losses(table, losses, chosen, train_counts),
    )  # fmt: skip


def _other_losses(
    table: Table, losses: Sequence[int], chosen: Mapping[str, int], counts: Ints
) -> tuple[str, ...]:
    """Names of losses beside the chosen one: as full, and not its mean over an epoch."""
    if "loss" not in chosen or table.columns[chosen["loss"]].reading.rank < 0:
        return ()
    most = max(int(counts[i]) for i in losses)
    return tuple(
        table.columns[i].name
        for i in losses
        if i != chosen.get("loss")
        and counts[i] >= 0.5 * most
        and not table.columns[i].reading.per_epoch
    )


def _best(table: Table, able: Sequence[tuple[int, int]]) -> int:
    most = max(n for _, n in able)

    def key(item: tuple[int, int]) -> tuple[bool, int, int, int, bool, int]:
        index, n = item
        reading = table.columns[index].reading
        said = reading.rank < 0
        return (
            not said and n < SPARSE * most, reading.held_out, reading.rank,
            reading.split != "train", reading.per_epoch, index,
        )  # fmt: skip

    return min(able, key=key)[0]
