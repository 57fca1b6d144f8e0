"""Patches torch itself: the loss, Tensor.backward, Module.__call__ and an optimizer's zero_grad."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

calls = {"loss": 0, "backward": 0, "call": 0}
plain_loss, plain_backward, plain_call = F.cross_entropy, torch.Tensor.backward, nn.Module.__call__


def cross_entropy(input, target, **kwargs):
    calls["loss"] += 1
    return plain_loss(input.float(), target, **kwargs)


def backward(self, *args, **kwargs):
    calls["backward"] += 1
    return plain_backward(self, *args, **kwargs)


def __call__(self, *args, **kwargs):
    calls["call"] += 1
    return plain_call(self, *args, **kwargs)


F.cross_entropy, torch.Tensor.backward, nn.Module.__call__ = cross_entropy, backward, __call__
torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(50):
    rows = torch.randint(len(x), (32,))
    loss = nn.CrossEntropyLoss()(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
assert calls["loss"] >= 50 and calls["backward"] == 50 and calls["call"] >= 200, calls
print("loss", loss.item(), calls)
