"""A torch.autograd.Function of the program's own: a rectifier with a straight-through rounding."""
import torch
from sklearn.datasets import load_wine
from torch import nn


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x.clamp_min(0) * 16).round() / 16

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x > 0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(13, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        return self.c(torch.relu(self.b(Rounded.apply(self.a(x)))))


torch.manual_seed(0)
x, y = load_wine(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32)
x, y = (x - x.mean(0)) / x.std(0), torch.tensor(y)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(50):
    rows = torch.randperm(len(x))[:32]
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
