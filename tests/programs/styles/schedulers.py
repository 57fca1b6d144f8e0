"""Every scheduler of torch.optim.lr_scheduler: python schedulers.py NAME {batch,epoch}."""
import sys

import torch
from sklearn.datasets import load_iris
from torch import nn
from torch.optim import lr_scheduler as s
from torch.optim.swa_utils import SWALR
from torch.utils.data import DataLoader, TensorDataset

name, every = sys.argv[1:3]
torch.manual_seed(2)
x, y = load_iris(return_X_y=True)
data = TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
loader = DataLoader(data, batch_size=15, shuffle=True)
model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
epochs = 6
n = epochs * len(loader) if every == "batch" else epochs
make = {
    "LambdaLR": lambda: s.LambdaLR(optimizer, lambda t: min(1.0, t / (n / 3))),  # warm-up from zero
    "MultiplicativeLR": lambda: s.MultiplicativeLR(optimizer, lambda t: 0.9),
    "StepLR": lambda: s.StepLR(optimizer, n // 3, gamma=0.5),
    "MultiStepLR": lambda: s.MultiStepLR(optimizer, [n // 3, 2 * n // 3]),
    "ConstantLR": lambda: s.ConstantLR(optimizer, 0.25, n // 3),
    "LinearLR": lambda: s.LinearLR(optimizer, 0.1, 1.0, n // 2),
    "ExponentialLR": lambda: s.ExponentialLR(optimizer, 0.9),
    "PolynomialLR": lambda: s.PolynomialLR(optimizer, n, power=2.0),
    "CosineAnnealingLR": lambda: s.CosineAnnealingLR(optimizer, n),
    "CosineAnnealingWarmRestarts": lambda: s.CosineAnnealingWarmRestarts(optimizer, max(1, n // 3)),
    "CyclicLR": lambda: s.CyclicLR(optimizer, 0.01, 0.1, max(1, n // 4)),
    "OneCycleLR": lambda: s.OneCycleLR(optimizer, 0.1, total_steps=n),
    "ReduceLROnPlateau": lambda: s.ReduceLROnPlateau(optimizer, patience=1, threshold=0.2),
    "SequentialLR": lambda: s.SequentialLR(
        optimizer, [s.LinearLR(optimizer, 0.01, 1.0, n // 3), s.CosineAnnealingLR(optimizer, n - n // 3)], [n // 3]),
    "ChainedScheduler": lambda: s.ChainedScheduler(
        [s.ConstantLR(optimizer, 0.1, n // 3), s.ExponentialLR(optimizer, 0.95)]),
    "SWALR": lambda: SWALR(optimizer, swa_lr=0.02, anneal_epochs=max(1, n // 2)),
}
scheduler = make[name]()
for epoch in range(epochs):
    for inputs, targets in loader:
        loss = nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if every == "batch":
            scheduler.step(*([loss.item()] if name == "ReduceLROnPlateau" else []))
    if every == "epoch":
        scheduler.step(*([loss.item()] if name == "ReduceLROnPlateau" else []))
    print(epoch, round(loss.item(), 3), optimizer.param_groups[0]["lr"])
