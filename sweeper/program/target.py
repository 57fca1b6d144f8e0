"""PROGRAM on the command line -> a validated `Program`."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from sweeper.program.local_imports import local_files
from sweeper.types import Program, UsageError


def parse_program(words: Sequence[str], cwd: Path | None = None) -> Program:
    """Read PROGRAM [ARGS...]: a path, ``-m module``, or ``file.py:function``.

    Raises:
        UsageError: nothing given, file missing or unreadable, not Python,
            module or function not found.
    """
    cwd = (cwd or Path.cwd()).resolve()
    if not words:
        raise UsageError("PROGRAM must be a path, `-m module` or `file.py:function`, got nothing")
    if words[0] == "-m":
        return _module(words, cwd)
    first, argv = words[0], tuple(words[1:])
    if ":" in first and not Path(cwd, first).exists():
        file, _, function = first.rpartition(":")
        path = _source(Path(cwd, file), first)
        functions = {n.name: n for n in _parse(path).body if isinstance(n, ast.FunctionDef)}
        if function not in functions:
            known = ", ".join(sorted(functions)) or "none"
            raise UsageError(
                f"PROGRAM file.py:function must name a top-level function of {path}, got "
                f"{function!r} (functions there: {known})"
            )
        if needed := _needed(functions[function].args):
            raise UsageError(
                f"PROGRAM file.py:function must name a function that can be called without "
                f"arguments, got {function!r} of {path}, which needs {', '.join(needed)}"
            )
        return Program(
            kind="function",
            name=f"{path.stem}.{function}",
            path=path,
            target=function,
            argv=argv,
            cwd=cwd,
            files=local_files(path, (path.parent,)),
        )
    path = _source(Path(cwd, first), first)
    _parse(path)
    return Program(
        kind="script", name=path.stem, path=path, target=str(path), argv=argv, cwd=cwd,
        files=local_files(path, (path.parent,)),
    )  # fmt: skip


def _needed(arguments: ast.arguments) -> list[str]:
    """Names of parameters without a default."""
    plain = [*arguments.posonlyargs, *arguments.args]
    required = plain[: len(plain) - len(arguments.defaults)]
    keyword = [
        a
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    return [a.arg for a in (*required, *keyword)]


def _module(words: Sequence[str], cwd: Path) -> Program:
    if len(words) < 2:
        raise UsageError("PROGRAM `-m` must be followed by a module name, got nothing")
    name = words[1]
    place = cwd.joinpath(*name.split("."))
    for candidate in (place.with_suffix(".py"), place / "__main__.py"):
        if candidate.is_file():
            path: Path | None = candidate
            break
    else:
        path = None
        try:
            spec = importlib.util.find_spec(name)
            if spec and spec.submodule_search_locations is not None:
                spec = importlib.util.find_spec(f"{name}.__main__")
            if spec and spec.origin and spec.origin.endswith(".py"):
                path = Path(spec.origin)
        except (ImportError, ValueError):
            pass
    if path is None:
        raise UsageError(
            f"PROGRAM -m must name a module that can be found from {cwd}, got {name!r}"
        )
    _parse(path)
    return Program(
        kind="module", name=name, path=path.resolve(), target=name, argv=tuple(words[2:]), cwd=cwd,
        files=local_files(path.resolve(), (cwd,)),
    )  # fmt: skip


def _source(path: Path, given: str) -> Path:
    if path.is_dir():
        raise UsageError(f"PROGRAM must be a Python file, got the folder {given!r}")
    if not path.is_file():
        raise UsageError(f"PROGRAM must be a file that exists, got {given!r} (looked for {path})")
    if path.suffix not in ("", ".py", ".pyw"):
        # A log would otherwise be run as a program, and an empty one is valid Python.
        raise UsageError(
            f"PROGRAM must be a Python file (.py), got {given!r}: a log is read by `sweeper check`"
        )
    return path.resolve()


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except PermissionError as error:
        raise UsageError(f"PROGRAM must be readable, got {path}: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        place = f"{path}:{line}" if line else str(path)
        raise UsageError(
            f"PROGRAM must be valid Python, got {error.__class__.__name__} in {place}: {error}"
        ) from None
