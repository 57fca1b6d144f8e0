"""optimizer.step(closure): python closures.py {LBFGS,SGD}."""
import sys

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(0)
data = load_breast_cancer()
x = torch.tensor(data.data, dtype=torch.float32)
x, y = (x - x.mean(0)) / x.std(0), torch.tensor(data.target)
model = nn.Sequential(nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 2))
if sys.argv[1] == "LBFGS":
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe")
else:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for step in range(25):
    rows = torch.arange(step * 64, step * 64 + 64) % len(x)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        return loss

    loss = optimizer.step(closure)
print("loss", loss.item())
