"""Which parameters are the body of a model: all but the output layer's.

Imports torch: child only.
"""

from __future__ import annotations

import torch
from torch import nn

from sweeper.program.models import module_by_path
from sweeper.types import Facts


def body(roots: list[nn.Module], facts: Facts | None) -> list[torch.nn.Parameter]:
    """Parameters outside the output layers; weights tied to an output layer belong to it."""
    by_path = module_by_path(roots)
    heads = [
        by_path[x.name]
        for x in (facts.layers if facts else ())
        if x.is_output and x.name in by_path
    ]
    if not heads:
        own = [
            m for r in roots for m in r.modules() if any(True for _ in m.parameters(recurse=False))
        ]
        heads = own[-1:]
    kept = {id(p) for head in heads for p in head.parameters(recurse=False)}
    every = {id(p): p for r in roots for p in r.parameters() if id(p) not in kept}
    return list(every.values())
