"""The program clips by itself: python clip_by_program.py {norm,value}."""
import sys

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

torch.manual_seed(0)
x, y = load_diabetes(return_X_y=True, scaled=False)
x = torch.tensor(x, dtype=torch.float32)
x, y = (x - x.mean(0)) / x.std(0), torch.tensor(y, dtype=torch.float32).unsqueeze(1)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = nn.MSELoss()
for epoch in range(5):
    for i in range(0, 440, 40):
        loss = criterion(model(x[i:i + 40]), y[i:i + 40])
        optimizer.zero_grad()
        loss.backward()
        if sys.argv[1] == "norm":
            clip_grad_norm_(model.parameters(), max_norm=20.0)
        else:
            clip_grad_value_(model.parameters(), 2.0)
        optimizer.step()
    print(epoch, loss.item())
