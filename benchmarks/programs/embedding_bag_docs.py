"""Which module does this sentence document? A bag of embedded words."""

import asyncio.base_events
import decimal
import inspect
import re
import unittest.case

import numpy as np
import torch
from torch import nn

torch.manual_seed(6)
rng = np.random.default_rng(6)
MODULES = [asyncio.base_events, decimal, unittest.case]
rows, labels = [], []
for label, module in enumerate(MODULES):
    text = re.findall(r'"""(.*?)"""|#(.*)', inspect.getsource(module), re.S)
    pieces = " ".join(a or b for a, b in text)
    for sentence in re.split(r"[.\n]\s", pieces):
        found = re.findall(r"[a-z]+", sentence.lower())
        if len(found) > 4:
            rows.append(found[:30])
            labels.append(label)
keep = rng.permutation(len(rows))
vocabulary = {w: i for i, w in enumerate(sorted({w for r in rows for w in r}))}
data = [(torch.tensor([vocabulary[w] for w in rows[i]]), labels[i]) for i in keep]
cut = int(0.8 * len(data))


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(len(vocabulary), 24, mode="mean")
        self.hidden = nn.Linear(24, 32)
        self.out = nn.Linear(32, len(MODULES))

    def forward(self, ids, offsets):
        return self.out(torch.relu(self.hidden(self.bag(ids, offsets))))


def batch_of(items):
    lengths = [len(ids) for ids, _ in items]
    offsets = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    return torch.cat([ids for ids, _ in items]), offsets, torch.tensor([y for _, y in items])


model = Bag()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(8):
    model.train()
    order = rng.permutation(cut)
    for start in range(0, cut, 16):
        ids, offsets, y = batch_of([data[i] for i in order[start : start + 16]])
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(ids, offsets), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        ids, offsets, y = batch_of(data[cut:])
        accuracy = (model(ids, offsets).argmax(1) == y).float().mean().item()
    print(f"epoch {epoch} accuracy {accuracy:.3f}")
print(f"chance {y.bincount().max().item() / len(y):.4f}")
print(f"final accuracy {accuracy:.4f}")
