"""The loop computes its rate and writes it into the groups at every iteration."""
import math

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 48), nn.GELU(), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95))
peak, warmup, total = 6e-3, 8, 60
for it in range(total):
    lr = peak * (it + 1) / warmup if it < warmup else peak * 0.5 * (1 + math.cos(math.pi * (it - warmup) / (total - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = lr
    rows = torch.randint(len(x), (48,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.4f}")
