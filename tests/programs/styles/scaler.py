"""torch.amp.GradScaler whose first factors overflow; the program clips after unscaling. Argument: fused optimizer or not."""
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
fused = sys.argv[1:] == ["fused"]
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=fused)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
for step in range(60):
    rows = torch.arange(step * 24, step * 24 + 24) % len(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = 30 * nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    if not fused:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    scaler.step(optimizer)
    scaler.update()
print("loss", loss.item(), "scale", scaler.get_scale())
