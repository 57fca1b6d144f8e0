"""The redirection (`sweeper.program._redirect`) for what opens files without Python's own calls.

| what | why |
|---|---|
| `sqlite3`, `torch`, `safetensors`, `h5py`, ... (`_CALLS`) | they open paths in C, C++ or Rust |
| `subprocess.Popen` | working directory and arguments that this run wrote become real places |
| `PYTHONPATH` with a `sitecustomize` | Python programs that the program starts are redirected too |
| a finder at the end of `sys.meta_path` | modules this run wrote can be imported |
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from sweeper.program._after_import import after_import, forget
from sweeper.program._redirect import Redirect
from sweeper.program._shadow import raw
from sweeper.program._spawned import INSTALLERS, make_site, python_path

VARIABLE = "SWEEPER_REDIRECT"
"""Names the arguments of `Redirect` as JSON, for Python programs that the program starts."""
_SETTINGS = ("scratch", "free", "working_folder", "site")

# Module -> (dotted name inside it, index and name of the path argument, access).
_CALLS: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "importlib.util": (("spec_from_file_location", 1, "location", "read"),),
    "sqlite3": (
        ("connect", 0, "database", "database"),
        ("dbapi2.connect", 0, "database", "database"),
    ),
    "h5py": (("File.__init__", 1, "name", "by mode"),),
    "pyarrow": (
        ("OSFile", 0, "path", "by mode"),
        ("memory_map", 0, "path", "by mode"),
    ),
    "pyarrow.parquet": (
        ("write_table", 1, "where", "replace"),
        ("read_table", 0, "source", "read"),
        ("ParquetFile.__init__", 1, "source", "read"),
        ("ParquetWriter.__init__", 1, "where", "replace"),
    ),
    "pyarrow.feather": (
        ("write_feather", 1, "dest", "replace"),
        ("read_table", 0, "source", "read"),
        ("read_feather", 0, "source", "read"),
    ),
    "cv2": (("imwrite", 0, "filename", "replace"), ("imread", 0, "filename", "read")),
    "tokenizers": (
        ("Tokenizer.save", 1, "path", "replace"),
        ("Tokenizer.from_file", 0, "path", "read"),
        ("models.Model.save", 1, "folder", "folder"),
    ),
    "safetensors": (
        ("serialize_file", 1, "filename", "replace"),
        ("safe_open", 0, "filename", "read"),
        ("_safe_open_handle", 0, "filename", "read"),
    ),
    "torch": (
        ("serialization._open_zipfile_writer_file", 0, "name", "replace"),
        ("_C.PyTorchFileWriter", 0, "", "replace"),
        ("UntypedStorage.from_file", 0, "filename", "mapping"),
        ("from_file", 0, "filename", "mapping"),
        ("_C._autograd._ProfilerResult.save", 1, "", "replace"),
        ("jit.load", 0, "f", "read"),
        ("jit.ScriptModule.save", 1, "f", "replace"),
        ("jit.RecursiveScriptModule.save", 1, "f", "replace"),
    ),
}


def install(redirect: Redirect) -> None:
    """Everything: Python's calls, the libraries, and the way into spawned Python programs."""
    redirect.install()
    for name, calls in _CALLS.items():
        action = _patch_of(redirect, calls)
        after_import(name, action)
        redirect.at_uninstall(functools.partial(forget, action))
    redirect.set(subprocess.Popen, "__init__", _popen(redirect, subprocess.Popen.__init__))
    finder = _WrittenModules(redirect)
    sys.meta_path.append(finder)
    redirect.at_uninstall(functools.partial(sys.meta_path.remove, finder))
    redirect.site = redirect.site or make_site(redirect.scratch)
    for key, value in _environment(redirect, os.environ).items():
        redirect.at_uninstall(functools.partial(_restore_variable, key, os.environ.get(key)))
        os.environ[key] = value


def install_from_environment() -> None:
    """In a Python program that a redirected one has started."""
    settings = json.loads(os.environ[VARIABLE])
    install(Redirect(cwd=raw.getcwd(), **settings))


def _environment(redirect: Redirect, given: Mapping[str, str]) -> dict[str, str]:
    settings = {name: getattr(redirect, name) for name in _SETTINGS}
    inherited = {name: os.environ[name] for name in INSTALLERS if name in os.environ}
    return {
        **inherited,
        VARIABLE: json.dumps(settings),
        "PYTHONPATH": python_path(redirect.site, given),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _restore_variable(key: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(key, None)
    else:
        os.environ[key] = value


def _patch_of(
    redirect: Redirect, calls: Sequence[tuple[str, int, str, str]]
) -> Callable[[ModuleType], None]:
    def patch(module: ModuleType) -> None:
        for dotted, index, keyword, access in calls:
            *parts, name = dotted.split(".")
            owner: Any = module
            for part in parts:
                owner = getattr(owner, part, None)
            original = getattr(owner, name, None)
            if owner is None or original is None:
                continue  # another version of the library
            new = _with_place(redirect, original, index, keyword, access)
            # The first argument of a class's own method is the class, of an object's the object.
            by_class = isinstance(owner, type) and index == 0
            redirect.set(owner, name, staticmethod(new) if by_class else new)
            for other in list(sys.modules.values()):
                found = isinstance(other, ModuleType) and vars(other).get(name) is original
                if found and not other.__name__.startswith("_frozen"):  # the import system's own
                    redirect.set(other, name, new)

    return patch


def _with_place(
    redirect: Redirect, original: Callable[..., Any], index: int, keyword: str, access: str
) -> Callable[..., Any]:
    @functools.wraps(original, updated=())
    def call(*args: Any, **options: Any) -> Any:
        values = list(args)
        path = values[index] if index < len(values) else options.get(keyword)
        if access == "database":
            path = _database(redirect, path, bool(options.get("uri")))
        elif access == "mapping":  # UntypedStorage.from_file(filename, shared, nbytes)
            shared = options.get("shared", len(args) > 1 and args[1])
            path = redirect.place(path, "change" if shared else "read")
        elif access == "by mode":  # File(name, mode="r")
            mode = options.get("mode", values[index + 1] if index + 1 < len(values) else "r")
            path = redirect.place(path, "read" if mode in (None, "r", "rb") else "change")
        else:
            path = redirect.place(path, "change" if access == "folder" else access)
        if index < len(values):
            values[index] = path
        elif keyword in options:
            options[keyword] = path
        found = original(*values, **options)
        # The files that a tokenizer says it has saved.
        return [*map(redirect.view.original, found)] if access == "folder" else found

    return call


def _database(redirect: Redirect, database: Any, uri: bool) -> Any:
    """The place of an SQLite database, its journals copied with it."""
    text = os.fsdecode(database) if isinstance(database, (str, bytes, os.PathLike)) else ""
    if uri and text.startswith("file:"):
        parts = urllib.parse.urlsplit(text)
        path = urllib.parse.unquote(parts.path)
        if path in ("", ":memory:") or "mode=memory" in parts.query:
            return database
        if "mode=ro" in parts.query or "immutable=1" in parts.query:
            place = redirect.place(path, "read")
        else:
            place = _database(redirect, path, False)
        place = urllib.parse.quote(place)
        return f"file:{place}" + (f"?{parts.query}" if parts.query else "")
    if text in ("", ":memory:"):
        return database
    canonical = redirect.canonical(text)
    for suffix in ("-wal", "-journal"):
        if redirect.view.mode(canonical + suffix):
            redirect.view.writing(canonical + suffix)
    return redirect.view.writing(canonical)


def _popen(redirect: Redirect, original: Callable[..., None]) -> Callable[..., None]:
    def real(value: Any, folder: str) -> Any:
        if not isinstance(value, (str, bytes, os.PathLike)) or not os.fsdecode(value):
            return value
        canonical = redirect.canonical(os.path.join(folder, os.fsdecode(value)))
        place = redirect.view.reading(canonical)
        return place if place != canonical and redirect.view.mode(canonical) else value

    @functools.wraps(original)
    def init(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        folder = redirect.cwd
        if options.get("cwd") is not None:
            folder = redirect.canonical(options["cwd"])
            options["cwd"] = redirect.view.working(folder)
        if not isinstance(args, (str, bytes, os.PathLike)) and not options.get("shell"):
            args = [real(value, folder) for value in args]
        if options.get("env") is not None:
            options["env"] = {**options["env"], **_environment(redirect, options["env"])}
        original(self, args, *rest, **options)

    return init


class _WrittenModules(MetaPathFinder):
    """Finds modules in the shadows of the folders on `sys.path`, after all other finders."""

    def __init__(self, redirect: Redirect) -> None:
        self.redirect = redirect

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        view = self.redirect.view
        folders = [self.redirect.canonical(entry or ".") for entry in path or sys.path]
        shadows = [view.shadow(folder) for folder in folders if not view.is_free(folder)]
        spec = PathFinder.find_spec(fullname, [s for s in shadows if os.path.isdir(s)], target)
        # Without a loader it is a "namespace package": only some folder of that name.
        return spec if spec is not None and spec.loader is not None else None
