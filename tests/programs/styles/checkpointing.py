"""Gradient checkpointing: python checkpointing.py {reentrant,plain}."""
import sys

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
reentrant = sys.argv[1] == "reentrant"


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(n, 2 * n), nn.Linear(2 * n, n), nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(self.down(F.gelu(self.up(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(64, 32)
        self.blocks = nn.ModuleList([Block(32) for _ in range(3)])
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=reentrant)
        return self.head(x)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for step in range(40):
    rows = torch.randint(len(x), (32,))
    loss = F.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
