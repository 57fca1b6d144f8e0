"""From which module of the standard library is this line of code? A GRU over its characters."""

import argparse
import inspect
import random
import statistics
import tarfile
import typing

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

random.seed(2)
torch.manual_seed(2)
MODULES = [argparse, statistics, tarfile, typing]
lines = []
for label, module in enumerate(MODULES):
    own = {x.strip() for x in inspect.getsource(module).splitlines() if len(x.strip()) > 20}
    lines += [(text[:48], label) for text in random.sample(sorted(own), 500)]
random.shuffle(lines)
chars = sorted({c for text, _ in lines for c in text})
index = {c: i + 1 for i, c in enumerate(chars)}


def collate(batch):
    rows = [torch.tensor([index[c] for c in text]) for text, _ in batch]
    lengths = torch.tensor([len(r) for r in rows])
    return pad_sequence(rows, batch_first=True), lengths, torch.tensor([y for _, y in batch])


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(chars) + 1, 32, padding_idx=0)
        self.gru = nn.GRU(32, 64, batch_first=True)
        self.head = nn.Linear(64, len(MODULES))

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        _, state = self.gru(packed)
        return self.head(state[-1])


train = DataLoader(lines[:1600], batch_size=32, shuffle=True, collate_fn=collate)
test = DataLoader(lines[1600:], batch_size=200, collate_fn=collate)
model = Tagger()
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
criterion = nn.CrossEntropyLoss()
for epoch in range(7):
    model.train()
    for ids, lengths, y in train:
        optimizer.zero_grad()
        loss = criterion(model(ids, lengths), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for ids, lengths, y in test:
            right += (model(ids, lengths).argmax(1) == y).sum().item()
    print(f"epoch {epoch}: {right / 400:.3f}")
counts = torch.tensor([y for _, y in lines[1600:]]).bincount()
print(f"chance {counts.max().item() / 400:.4f}")
print(f"final accuracy {right / 400:.4f}")
