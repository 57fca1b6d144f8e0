"""What a program imports, read from its source and imported ahead of the fork.

Only modules of the standard library and of installed packages are imported: the user's own files
may do anything when imported, and belong to the run.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sweeper.program.local_imports import local_files

NEVER = frozenset({"antigravity", "this", "__future__", "__main__", "sweeper"})
"""Modules that act when imported, and ourselves."""

LAZY = {"torch": ("torch._dynamo",)}
"""Modules that a package imports only when it is first used: constructing the first optimizer
imports torch._dynamo, most of the time of a short run."""


def imported_names(source: str) -> list[tuple[str, str]]:
    """(module, attribute) pairs of every absolute import statement, in order; attribute is empty
    for ``import x``.

    Statements inside functions and branches count too: most of them run. A source that does not
    parse has none.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found: list[tuple[str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.extend((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.extend((node.module, alias.name) for alias in node.names)
    return list(dict.fromkeys(found))


def is_installed(name: str) -> bool:
    """True when a module's top package belongs to the standard library or to site-packages."""
    top = name.partition(".")[0]
    if top in NEVER:
        return False
    if top in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    roots = [Path(root).resolve() for root in _installed_roots()]
    return bool(places) and all(
        any(root in Path(place).resolve().parents for root in roots) for place in places
    )


def _installed_roots() -> Iterator[str]:
    paths = sysconfig.get_paths()
    yield from (paths["purelib"], paths["platlib"])
    yield from site.getsitepackages()
    if site.ENABLE_USER_SITE:
        yield site.getusersitepackages()


def preload(path: Path) -> list[str]:
    """Import what a program and the files of its own beside it name; return the modules imported.
    Every failure is the program's to meet."""
    done: list[str] = []
    names: dict[tuple[str, str], None] = {}
    for file in (path, *local_files(path, (path.parent,))):
        with contextlib.suppress(OSError, UnicodeError):
            names |= dict.fromkeys(imported_names(file.read_text(encoding="utf-8")))
    for name, attribute in names:
        if not is_installed(name):
            continue
        module = _quietly(name)
        if module is None:
            continue
        done.append(name)
        if attribute and attribute != "*":
            # Packages such as transformers load a submodule only when its attribute is asked for.
            with contextlib.suppress(BaseException):
                if not hasattr(module, attribute):
                    importlib.import_module(f"{name}.{attribute}")
    for name, lazy in LAZY.items():
        if name in sys.modules:
            done.extend(module for module in lazy if _quietly(module) is not None)
    return list(dict.fromkeys(done))


def _quietly(name: str) -> ModuleType | None:
    # sys.stderr is left as it is: a package that makes its log handler now would keep a replacement
    # for ever.
    try:
        return importlib.import_module(name)
    except BaseException:  # an import may even call sys.exit; that belongs to the run
        return None
