"""Benign or malignant, by one wide layer and a sigmoid of the program's own."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(8)
table = load_breast_cancer()
x = torch.tensor(table.data, dtype=torch.float32)
x = (x - x.mean(0)) / x.std(0)
y = torch.tensor(table.target, dtype=torch.float32).unsqueeze(1)
order = torch.randperm(len(x))
train, test = order[:420], order[420:]


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(30, 1024)
        self.out = nn.Linear(1024, 1)

    def forward(self, x):
        return torch.sigmoid(self.out(torch.tanh(self.inside(x))))


model = Wide()
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
for epoch in range(25):
    model.train()
    for rows in train[torch.randperm(len(train))].split(20):
        loss = nn.functional.binary_cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = ((model(x[test]) > 0.5).float() == y[test]).float().mean().item()
    print(f"epoch {epoch} loss {loss.item():.4f} accuracy {accuracy:.4f}")
share = y[test].mean().item()
print(f"chance {max(share, 1 - share):.4f}")
print(f"final accuracy {accuracy:.4f}")
