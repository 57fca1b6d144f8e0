"""Activations called as functions and as methods, a gate written by hand, and a hand-written loss at the end."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
x, y = load_diabetes(return_X_y=True)
x, y = torch.tensor(x).float() * 20, (torch.tensor(y).float() / 100).unsqueeze(1)


class Net(nn.Module):
    def __init__(self, n=24):
        super().__init__()
        self.a, self.b, self.value, self.gate, self.out = (
            nn.Linear(10, n), nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, 1))

    def forward(self, x):
        x = torch.tanh(self.a(x))
        x = F.relu(self.b(x), inplace=True)
        x = torch.sigmoid(self.gate(x)) * self.value(x)
        return self.out(x.clamp(-3, 3).sigmoid())


model = Net()
optimizer = torch.optim.NAdam(model.parameters(), lr=5e-3)
for step in range(50):
    rows = torch.randint(len(x), (44,))
    error = model(x[rows]) - y[rows]
    loss = (error ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
