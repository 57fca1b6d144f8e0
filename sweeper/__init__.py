"""Run a failing PyTorch training program as it is, say what is wrong,
and prove which changes cure it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.trainer_callback import SweeperCallback
    from sweeper.watching import Watched, watch

__version__ = "0.1.0"
__all__ = ["SweeperCallback", "Watched", "__version__", "watch"]

_LAZY = {
    "SweeperCallback": "sweeper.trainer_callback",
    "Watched": "sweeper.watching",
    "watch": "sweeper.watching",
}
"""Name -> module: importing the package loads neither torch nor transformers."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
