"""Small scripts and what a run of them would have shown."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

from sweeper.report.code import Change, as_code
from sweeper.types import (
    ActivationSite,
    Facts,
    Fix,
    FixValue,
    LayerFact,
    LoaderFact,
    OptimizerFact,
)

SGD = OptimizerFact(
    name="SGD", peak_lr=(0.1,), first_lr=0.1, last_lr=0.1, weight_decay=0.0, momentum=0.0,
    n_parameters=4, n_frozen=0, n_without_grad=0, n_missing=0,
)  # fmt: skip
LOADER = LoaderFact(
    index=0, batch_size=32, n_samples=320, n_batches=10, trained=True, shuffled=True
)
FACTS = Facts(
    task="classification", loss_function="cross_entropy", n_classes=3,
    class_prior=(0.5, 0.25, 0.25), head_width=3, batch_size=32, optimizers=(SGD,),
    loaders=(LOADER,), steps=100, finished=True,
    n_roots=1,
)  # fmt: skip
SCRIPT = """\
import torch
from torch import nn
from torch.utils.data import DataLoader

loader = DataLoader(data, batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
"""
LAYERS = (
    LayerFact(name="0", kind="Linear", n_in=4, n_out=8, followed_by="sigmoid"),
    LayerFact(name="2", kind="Linear", n_in=8, n_out=3, is_output=True),
)
SITES = (ActivationSite(site="1", kind="module", function="sigmoid", swappable=True),)


def facts(**fields: Any) -> Facts:
    """Of `SCRIPT`, with some of them otherwise; ``optimizer`` changes the one optimizer."""
    optimizer = fields.pop("optimizer", {})
    own = (replace(SGD, **optimizer),)
    return replace(FACTS, **{"optimizers": own, "layers": LAYERS, "activations": SITES, **fields})


def change(changes: dict[str, FixValue], source: str = SCRIPT, **fields: Any) -> Change:
    """The fix as a change of the source."""
    return as_code(Fix(changes=changes), facts(**fields), source.encode(), "train.py")


def edited(changes: dict[str, FixValue], source: str = SCRIPT, **fields: Any) -> list[str]:
    """Lines of the diff that were taken out or put in, such as ``-a`` and ``+b``."""
    made = change(changes, source, **fields)
    assert not made.instructions, made.instructions
    lines = difflib.ndiff(source.splitlines(), made.text.splitlines())
    return [line[0] + line[2:].strip() for line in lines if line[0] in "+-"]


def unsure(changes: dict[str, FixValue], source: str = SCRIPT, **fields: Any) -> str:
    """The reason why no place is certain; nothing of the script is changed then."""
    made = change(changes, source, **fields)
    assert made.diff == ""
    assert made.text == source
    (part,) = made.instructions
    assert part.lines, "a person is told what to type"
    return part.reason
