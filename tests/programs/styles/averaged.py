"""Averaged copies of the weights: python averaged.py {swa,ema}."""
import copy
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
loader = DataLoader(data, batch_size=64, shuffle=True)
model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
average = AveragedModel(model) if sys.argv[1] == "swa" else copy.deepcopy(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for inputs, targets in loader:
        loss = nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if sys.argv[1] == "ema":
            with torch.no_grad():
                for mean, new in zip(average.parameters(), model.parameters()):
                    mean.mul_(0.9).add_(new, alpha=0.1)
    if sys.argv[1] == "swa":
        average.update_parameters(model)
update_bn(loader, average)
average.eval()
print((average(data.tensors[0]).argmax(1) == data.tensors[1]).float().mean())
