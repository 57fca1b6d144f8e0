"""Every optimizer of torch.optim, and one of the program's own: python optimizers.py NAME."""
import sys

import torch
from sklearn.datasets import load_iris
from torch import nn


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.sub_(torch.sign(m * group["betas"][0] + p.grad * (1 - group["betas"][0])), alpha=group["lr"])
                m.lerp_(p.grad, 1 - group["betas"][1])


torch.manual_seed(0)
x, y = load_iris(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
name = sys.argv[1]
sparse = name == "SparseAdam"
if sparse:  # words instead of measurements
    x = (x * 4).long() + torch.arange(4) * 40
    model = nn.Sequential(nn.Embedding(160, 8, sparse=True), nn.Flatten(), nn.Linear(32, 3))
    model[2].requires_grad_(False)
    parameters = list(model[0].parameters())
else:
    model = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3))
    parameters = [p for p in model.parameters() if name != "Muon" or p.dim() == 2]
optimizer = Lion(parameters) if name == "Lion" else getattr(torch.optim, name)(parameters, lr=0.01)
for step in range(60):
    rows = torch.randint(150, (25,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(name, loss.item())
