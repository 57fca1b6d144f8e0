"""From which module of the standard library is this line of code? A small transformer encoder."""

import doctest
import inspect
import math
import pdb
import random
import smtplib
import zipfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

random.seed(3)
torch.manual_seed(3)
LENGTH = 24
texts, labels = [], []
for label, module in enumerate((doctest, pdb, smtplib, zipfile)):
    own = [x.strip() for x in inspect.getsource(module).splitlines() if len(x.strip()) > 16]
    own = random.sample(sorted(set(own)), 400)
    texts += own
    labels += [label] * len(own)
words = [list("".join(c if c.isalnum() else " " for c in t).split()) for t in texts]
counts = {}
for row in words:
    for w in row:
        counts[w] = counts.get(w, 0) + 1
vocabulary = {w: i + 2 for i, w in enumerate(sorted(w for w, n in counts.items() if n > 1))}
ids = torch.zeros(len(texts), LENGTH, dtype=torch.long)
for i, row in enumerate(words):
    for j, w in enumerate(row[:LENGTH]):
        ids[i, j] = vocabulary.get(w, 1)
y = torch.tensor(labels)
order = torch.randperm(len(y))
train, test = order[:1280], order[1280:]


class Encoder(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.tokens = nn.Embedding(len(vocabulary) + 2, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(LENGTH, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 4)

    def forward(self, ids):
        mask = ids == 0
        mask[:, 0] = False
        x = self.encoder(self.tokens(ids) + self.places, src_key_padding_mask=mask)
        keep = (~mask).unsqueeze(-1).float()
        return self.head((x * keep).sum(1) / keep.sum(1))


loader = DataLoader(TensorDataset(ids[train], y[train]), batch_size=32, shuffle=True)
model = Encoder()
optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.01)
total = 7 * len(loader)
scheduler = torch.optim.lr_scheduler.LambdaLR(
    optimizer,
    lambda s: min(1.0, (s + 1) / 30) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / total))),
)
for epoch in range(7):
    model.train()
    for xb, yb in loader:
        loss = nn.functional.cross_entropy(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(ids[test]).argmax(1) == y[test]).float().mean().item()
    print(f"epoch {epoch} accuracy {accuracy:.3f}")
print(f"chance {y[test].bincount().max().item() / len(test):.4f}")
print(f"final accuracy {accuracy:.4f}")
