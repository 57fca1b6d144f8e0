"""Do something to a module as soon as it has been imported, without importing it ourselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Action = Callable[[ModuleType], None]


class _Finder(MetaPathFinder):
    """First in `sys.meta_path`; finds nothing itself, only adds an action after the import of the
    named modules."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.actions:
            return None
        found = (f.find_spec(fullname, path, target) for f in sys.meta_path if f is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            for action in tuple(self.actions.get(fullname, ())):
                action(module)

        spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec


_finder = _Finder()


def after_import(name: str, action: Action) -> None:
    """Call `action(module)` now if the module `name` is there already, else right after its
    import."""
    _finder.actions.setdefault(name, []).append(action)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    module = sys.modules.get(name)
    if module is not None:
        action(module)


def forget(action: Action) -> None:
    """Take back an action that was registered for any module."""
    for actions in _finder.actions.values():
        if action in actions:
            actions.remove(action)
