"""torch.compile of a model, of a method and of a function."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = torch.compile(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), mode="max-autotune")
model.compile()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)


@torch.compile(dynamic=True)
def loss_of(rows):
    return nn.functional.cross_entropy(model(x[rows]), y[rows])


for step in range(50):
    loss = loss_of(torch.randint(len(x), (32,)))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
print("loss", loss.item())
