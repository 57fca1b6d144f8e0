"""Names of torch that several edits know."""

from __future__ import annotations

from sweeper.remedies.activation import MODULES

KNOWN = MODULES | {
    "relu6": "ReLU6", "celu": "CELU", "softplus": "Softplus", "softsign": "Softsign",
    "hardtanh": "Hardtanh", "hardswish": "Hardswish", "hardsigmoid": "Hardsigmoid",
    "sigmoid": "Sigmoid", "logsigmoid": "LogSigmoid",
}  # fmt: skip
"""Canonical name -> module of torch.nn; without PReLU, whose weight would go."""
