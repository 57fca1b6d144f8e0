"""A notebook's way: the model and its optimizer exist, then the training is watched from inside."""
import sys

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import sweeper

torch.manual_seed(0)
x = torch.randn(320, 20)
y = x[:, :3].argmax(1)
loader = DataLoader(TensorDataset(x[:256], y[:256]), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def train():
    for epoch in range(4):
        model.train()
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(xb), yb)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            right = (model(x[256:]).argmax(1) == y[256:]).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.6f} accuracy {right:.4f}")


if len(sys.argv) > 1:
    with sweeper.watch(model, optimizer, folder=sys.argv[1]) as watched:
        train()
    print(watched)
else:
    train()
print(f"weights {sum(p.double().sum().item() for p in model.parameters()):.12f}")
