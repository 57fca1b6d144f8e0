"""Digits as eight rows in time: 1-d convolutions, group normalisation, RMSprop, accumulation."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(14)
digits = load_digits()
x = torch.tensor(digits.images / 16.0, dtype=torch.float32)
y = torch.tensor(digits.target)
order = torch.randperm(len(x))
train, test = order[:1440], order[1440:]


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(8, 32, 3, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            nn.Conv1d(32, 32, 3, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
        )
        self.head = nn.Linear(32 * 8, 10)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


model = Rows()
optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4)
accumulate = 2
for epoch in range(7):
    model.train()
    optimizer.zero_grad()
    for i, rows in enumerate(train[torch.randperm(len(train))].split(20)):
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows]) / accumulate
        loss.backward()
        if i % accumulate == accumulate - 1:
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[test]).argmax(1) == y[test]).float().mean().item()
    print(f"epoch {epoch} accuracy {accuracy:.4f}")
print(f"chance {y[test].bincount().max().item() / len(test):.4f}")
print(f"final accuracy {accuracy:.4f}")
