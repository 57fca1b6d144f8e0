"""The numbers that decide, with the words that stand beside them in the source.

A threshold is a field of a frozen dataclass, a constant of a cause stands at the top of its module;
both are followed by a docstring with meaning and source. It is read from there, so that what is
listed is what is in force.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import ModuleType

from sweeper.detectors._base import Thresholds


@dataclass(frozen=True, kw_only=True)
class Number:
    """A threshold or a constant."""

    name: str
    value: object
    unit: str
    """What it counts; empty for a constant whose words say it."""
    text: str
    """Meaning and source, one line."""

    def __str__(self) -> str:
        value = f"{self.value:g}" if isinstance(self.value, (int, float)) else str(self.value)
        return f"{self.name} = {value}{f' {self.unit}' if self.unit else ''}: {self.text}"


def thresholds_of(limits: Thresholds) -> tuple[Number, ...]:
    """Every threshold of a detector, in the order of its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(type(limits)))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = dict(_documented(body.body))
    return tuple(
        Number(
            name=item.name, value=getattr(limits, item.name), unit=item.metadata["unit"],
            text=texts.get(item.name, ""),
        )
        for item in fields(limits)
    )  # fmt: skip


def constants_of(module: ModuleType) -> tuple[Number, ...]:
    """Documented numbers at the top of a module, in the order of its source, those that it takes
    from a private neighbour first."""
    body = ast.parse(inspect.getsource(module)).body
    found = []
    for name, text in (*_taken(body, module.__name__), *_documented(body)):
        value = getattr(module, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(Number(name=name, value=value, unit="", text=text))
    return tuple(found)


def _taken(body: list[ast.stmt], name: str) -> Iterator[tuple[str, str]]:
    room = name.rpartition(".")[0]
    for node in body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(f"{room}._"):
            continue
        there = ast.parse(inspect.getsource(importlib.import_module(str(node.module)))).body
        texts = dict(_documented(there))
        yield from ((a.name, texts[a.name]) for a in node.names if a.name in texts)


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """(name, docstring on one line) of the assignments in ``body``; consecutive ones share it."""
    waiting: list[str] = []
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            waiting.append(node.target.id)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                waiting += [n.id for n in names if isinstance(n, ast.Name)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield from ((name, " ".join(node.value.value.split())) for name in waiting)
            waiting = []
        else:
            waiting = []
