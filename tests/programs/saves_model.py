"""Keeps the best model as a whole and loads it back the safe way, which allows known classes only."""
import io

import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(128, 8)
y = (x.sum(1) > 0).long()
model = nn.Sequential(
    nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
file = io.BytesIO()
for step in range(12):
    i = torch.randint(0, 128, (32,))
    loss = nn.functional.cross_entropy(model(x[i]), y[i])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 6:
        torch.save({"model": model, "step": step}, file)

file.seek(0)
with torch.serialization.safe_globals([nn.Sequential, nn.Linear, nn.ReLU, nn.Dropout]):
    best = torch.load(file)["model"]
print("loaded", sum(p.numel() for p in best.parameters()))
