"""Writes a checkpoint and a log beside itself and deletes an old checkpoint."""
from pathlib import Path

import torch

here = Path(__file__).parent
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with open(here / "log.csv", "w") as log:
    log.write("step,loss\n")
    for step in range(15):
        x = torch.randn(8, 4)
        loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log.write(f"{step},{loss.item()}\n")
torch.save(model.state_dict(), here / "model.pt")
(here / "old.pt").unlink()
print("wrote", torch.load(here / "model.pt")["weight"].shape)
