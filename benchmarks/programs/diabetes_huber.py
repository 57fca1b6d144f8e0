"""Progression of diabetes: noisy targets, a small table, the Huber loss."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(13)
table = load_diabetes()
x = torch.tensor(table.data * 20, dtype=torch.float32)
y = torch.tensor((table.target - 150) / 75, dtype=torch.float32)
order = torch.randperm(len(x))
train, test = order[:330], order[330:]
loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
criterion = nn.SmoothL1Loss()
for epoch in range(30):
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb).squeeze(-1), yb)
        loss.backward()
        optimizer.step()
    if epoch % 6 == 5:
        model.eval()
        with torch.no_grad():
            out = model(x[test]).squeeze(-1)
        r2 = 1 - ((out - y[test]) ** 2).mean() / y[test].var(unbiased=False)
        print(f"epoch {epoch} r2 {r2.item():.4f}")
print("chance 0")
print(f"final r2 {r2.item():.4f}")
