"""A model inside a wrapper: python wrapped.py {data_parallel,device_context,default_device}."""
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

kind = sys.argv[1]
torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
if kind == "default_device":
    torch.set_default_device("cpu")
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)


def make():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))


if kind == "device_context":
    with torch.device("cpu"):
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        print("before", nn.functional.cross_entropy(model(x[:100]), y[:100]).item())
else:
    model = nn.DataParallel(make()) if kind == "data_parallel" else make()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(50):
    rows = torch.randint(len(x), (32,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
