"""Read a run folder back as a `RunRecord`, and its captured batches for the probes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.telemetry.signals import read_signals
from sweeper.types import (
    ActivationSeries,
    EvalSeries,
    Facts,
    Fix,
    LayerSeries,
    Outcome,
    Replay,
    RunRecord,
    SweeperError,
)

if TYPE_CHECKING:
    from sweeper.types import Floats


@dataclass(frozen=True, kw_only=True)
class Captured:
    """The first training batches as the model and its loss saw them.

    Fresh samples, padded with zeros.
    """

    inputs: np.ndarray[Any, Any]  # [N, ...] float features or images, or integer ids
    targets: np.ndarray[Any, Any]  # [N] or [N, ...]
    logits_first: np.ndarray[Any, Any] | None

    @property
    def ids(self) -> bool:
        """Inputs are token ids."""
        return bool(np.issubdtype(self.inputs.dtype, np.integer))


def read_captured(folder: Path) -> Captured | None:
    """``captured.npz`` of a run folder, or None."""
    path = folder / "captured.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return Captured(
            inputs=arrays["inputs"], targets=arrays["targets"],
            logits_first=arrays.get("first_logits"),
        )  # fmt: skip


def read_outcome(path: Path) -> Outcome:
    """``outcome.json`` -> `Outcome`."""
    data = json.loads(path.read_text())
    return Outcome(**{k: v for k, v in data.items() if k in Outcome.__dataclass_fields__})


def read_record(folder: Path) -> RunRecord:
    """Everything a run left.

    Raises:
        SweeperError: the folder has no outcome, or its signals are damaged.
    """
    outcome_path = folder / "outcome.json"
    if not outcome_path.exists():
        raise SweeperError(f"a run folder must hold outcome.json, got none in {folder}")
    job = json.loads((folder / "job.json").read_text()) if (folder / "job.json").exists() else {}
    facts_path = folder / "facts.json"
    facts = Facts.from_dict(json.loads(facts_path.read_text())) if facts_path.exists() else Facts()
    steps, layers, windows, evals = _collect(folder / "signals.jsonl")
    return RunRecord(
        folder=folder,
        fix=Fix(changes=job.get("fix", {})),
        seed=int(job.get("seed", 0)),
        max_steps=job.get("max_steps"),
        outcome=read_outcome(outcome_path),
        facts=facts,
        steps=steps,
        layers=_layer_series(layers),
        activations=_activation_series(windows),
        evals=_eval_series(evals),
        replay=_replay(folder / "replay.json"),
    )


def _replay(path: Path) -> Replay | None:
    """``replay.json``, or None where nothing was replayed."""
    if not path.exists():
        return None
    values: dict[str, Any] = {}
    for key, value in json.loads(path.read_text()).items():
        if key in Replay.__dataclass_fields__:
            values[key] = _finite_words(value)
    return Replay(**values)


def _finite_words(value: Any) -> Any:
    """Lists as tuples; NaN and Infinity are written as words."""
    if isinstance(value, list):
        return tuple(_finite_words(item) for item in value)
    return float(value) if isinstance(value, str) else value


Rows = list[dict[str, Any]]


def _collect(path: Path) -> tuple[dict[str, Floats], Rows, Rows, Rows]:
    blocks: Rows = []
    kinds: dict[str, Rows] = {"steps": blocks, "layers": [], "activations": [], "eval": []}
    if path.exists():
        for entry in read_signals(path):
            kinds.setdefault(entry["k"], []).append(entry)
    names = {n for b in blocks for n in b if n not in ("k", "t")}
    columns = {
        n: np.concatenate([_numbers(b.get(n), len(b["t"])) for b in blocks]) for n in sorted(names)
    }
    if blocks:
        columns["step"] = np.concatenate([_numbers(b["t"], len(b["t"])) for b in blocks])
    return columns, kinds["layers"], kinds["activations"], kinds["eval"]


def _numbers(values: Any, n: int) -> Floats:
    if values is None:
        return np.full(n, np.nan)
    return np.array([float(v) for v in values], dtype=np.float64)


def _matrix(rows: Rows, name: str, width: int) -> Floats:
    return np.array([_numbers(r.get(name), width) for r in rows]).reshape(len(rows), width)


def _column(rows: Rows, name: str) -> Floats:
    return np.array([float(r.get(name, np.nan)) for r in rows])


def _layer_series(rows: Rows) -> LayerSeries | None:
    named = next((r for r in rows if "names" in r), None)
    if named is None:
        return None
    width = len(named["names"])
    return LayerSeries(
        names=tuple(named["names"]), sizes=tuple(named["sizes"]), step=_column(rows, "t"),
        grad_norm=_matrix(rows, "grad_norm", width),
        weight_norm=_matrix(rows, "weight_norm", width),
        update_norm=_matrix(rows, "update_norm", width),
        first_update_sum=np.array([float(r["first_update_sum"][0]) for r in rows]),
        adam_below_eps=_matrix(rows, "adam_below_eps", width),
    )  # fmt: skip


def _activation_series(rows: Rows) -> ActivationSeries | None:
    rows = [r for r in rows if r["names"]]
    if not rows:
        return None
    names = max((tuple(r["names"]) for r in rows), key=len)
    functions = {n: f for r in rows for n, f in zip(r["names"], r["functions"], strict=True)}

    def aligned(key: str) -> Floats:
        out = np.full((len(rows), len(names)), np.nan)
        for i, row in enumerate(rows):
            for name, value in zip(row["names"], row[key], strict=True):
                if name in names:
                    out[i, names.index(name)] = float(value)
        return out

    return ActivationSeries(
        names=names, functions=tuple(functions[n] for n in names), step=_column(rows, "t"),
        n_samples=np.array([float(max(r["n"], default=0)) for r in rows]), cosine=aligned("cosine"),
        erank=aligned("erank"), dead_share=aligned("dead"), saturated_share=aligned("saturated"),
    )  # fmt: skip


def _eval_series(rows: Rows) -> EvalSeries | None:
    if not rows:
        return None
    return EvalSeries(
        step=_column(rows, "t"), n=_column(rows, "n"), loss=_column(rows, "loss"),
        accuracy=_column(rows, "accuracy"), skill=_column(rows, "skill"),
        fresh_share=_column(rows, "fresh_share"),
        rare_n=_column(rows, "rare_n"), rare_correct=_column(rows, "rare_correct"),
    )  # fmt: skip
