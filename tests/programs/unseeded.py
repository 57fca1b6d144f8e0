"""Seeds itself in every way there is, and draws from each."""
import random

import numpy as np
import torch

torch.manual_seed(5)
np.random.seed(5)
random.seed(5)
rng = np.random.default_rng(5)
generator = torch.Generator().manual_seed(5)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(20):
    x = torch.randn(8, 4, generator=generator) + float(np.random.rand()) + random.random() + float(rng.random())
    loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True) + torch.randn(8, 1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(torch.initial_seed(), np.random.rand(), random.random(), rng.random(), torch.rand(1, generator=generator).item(), np.random.default_rng().random())
