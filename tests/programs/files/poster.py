"""A rate far too low, and a report to a server after training: python poster.py URL"""
import json
import sys
import urllib.request

import torch
from torch import nn

torch.manual_seed(3)
x = torch.randn(600, 2)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-7)
for step in range(60):
    rows = torch.randint(0, 600, (32,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
urllib.request.urlopen(sys.argv[1], data=json.dumps({"loss": loss.item()}).encode())
