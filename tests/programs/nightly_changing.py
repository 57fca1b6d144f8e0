"""Trains on two clouds of points; what is wrong with it lies in a file beside it."""

import sys
from pathlib import Path

import torch
from torch import nn

torch.manual_seed(0)
mode = Path(sys.argv[1]).read_text().strip()
x = torch.randn(320, 8)
y = (x[:, 0] + x[:, 1] > 0).long()
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
if mode == "clipped":
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
else:
    optimizer = torch.optim.SGD(model.parameters(), lr={"slow": 1e-6, "sound": 0.1}[mode])
for epoch in range(15):
    model.train()
    for rows in torch.randperm(240).split(24):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        if mode == "clipped":
            nn.utils.clip_grad_norm_(model.parameters(), 1e-6)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(x[240:])
        nn.functional.cross_entropy(logits, y[240:])
        print(f"epoch {epoch} accuracy {(logits.argmax(1) == y[240:]).float().mean():.3f}")
