"""A small MLP on generated clusters: steps of about a millisecond."""

import sys

import torch
from measure import measured
from torch import nn

torch.manual_seed(0)
steps = int(sys.argv[1])
centres = torch.randn(10, 64) * 1.5
labels = torch.randint(0, 10, (8192,))
inputs = centres[labels] + torch.randn(8192, 64)

model = nn.Sequential(
    nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_function = nn.CrossEntropyLoss()

with measured():
    for _step in range(steps):
        index = torch.randint(0, len(inputs), (128,))
        loss = loss_function(model(inputs[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"final loss {loss.item():.4f}")
