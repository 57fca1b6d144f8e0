"""What a program says of its own answers without torch's losses or ``==``: differences of tensors,
and scikit-learn's metrics of true and given values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from sweeper.program._after_import import after_import, forget

Patch = Callable[[Any, str, Callable[[Any], Any]], None]
METRICS = {
    "classes": (
        "accuracy_score", "balanced_accuracy_score", "classification_report", "cohen_kappa_score",
        "confusion_matrix", "f1_score", "fbeta_score", "jaccard_score", "matthews_corrcoef",
        "precision_recall_fscore_support", "precision_score", "recall_score",
    ),
    "scores": (
        "average_precision_score", "log_loss", "precision_recall_curve", "roc_auc_score",
        "roc_curve",
    ),
    "values": (
        "explained_variance_score", "mean_absolute_error", "mean_squared_error", "r2_score",
        "root_mean_squared_error",
    ),
}  # fmt: skip
"""What the second argument holds -> functions of scikit-learn; the first holds what is true."""
GIVEN = ("y_pred", "y_score", "y_proba", "probas_pred")


def patch_scores(patch: Patch, current: Callable[[], Any]) -> Callable[[], None]:
    """Both seams; ``current`` gives the session, or None while nothing is to be seen.

    To be called when patches are undone: a later import must find nothing to patch.
    """
    for owner, name in (
        (torch.Tensor, "__sub__"), (torch.Tensor, "__rsub__"), (torch.Tensor, "sub"),
        (torch, "sub"),
    ):  # fmt: skip
        patch(owner, name, functools.partial(_difference, current))

    def metrics(module: ModuleType) -> None:
        for kind, names in METRICS.items():
            for name in names:
                if hasattr(module, name):
                    patch(module, name, functools.partial(_metric, current, kind))

    after_import("sklearn.metrics", metrics)
    return functools.partial(forget, metrics)


def _difference(current: Callable[[], Any], original: Any) -> Any:
    @functools.wraps(original)
    def difference(*args: Any, **kwargs: Any) -> Any:
        session = current()
        if session is not None and len(args) > 1:
            left, right = args[:2]
            if isinstance(right, torch.Tensor) and not getattr(left, "requires_grad", True):
                session.notify("subtracted", left, right)
        return original(*args, **kwargs)

    return difference


def _metric(current: Callable[[], Any], kind: str, original: Any) -> Any:
    @functools.wraps(original)
    def metric(*args: Any, **kwargs: Any) -> Any:
        session = current()
        if session is not None:
            true = args[0] if args else kwargs.get("y_true")
            names = (name for name in GIVEN if name in kwargs)
            given = args[1] if len(args) > 1 else kwargs.get(next(names, ""))
            if true is not None and given is not None:
                session.notify("scored", kind, true, given)
        return original(*args, **kwargs)

    return metric
