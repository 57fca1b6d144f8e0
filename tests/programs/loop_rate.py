"""A loop in the manner of nanoGPT: the rate is computed and written at every iteration, batches are sliced by hand."""
import math

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(1337)
learning_rate, min_lr, warmup, max_iters = 6e-3, 6e-4, 10, 60
data = torch.randint(0, 8, (2000,)).cumsum(0) % 8
model = nn.Sequential(nn.Embedding(8, 16), nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 8))
decay = [p for p in model.parameters() if p.dim() >= 2]
rest = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=learning_rate)


def get_lr(it):
    if it < warmup:
        return learning_rate * (it + 1) / (warmup + 1)
    coeff = 0.5 * (1.0 + math.cos(math.pi * (it - warmup) / (max_iters - warmup)))
    return min_lr + coeff * (learning_rate - min_lr)


for it in range(max_iters):
    for group in optimizer.param_groups:
        group["lr"] = get_lr(it)
    for micro in range(2):
        ix = torch.randint(len(data) - 5, (16,))
        x = torch.stack([data[i : i + 4] for i in ix])
        y = torch.stack([data[i + 4] for i in ix])
        loss = F.cross_entropy(model(x), y) / 2
        loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    print(f"iter {it} loss {loss.item() * 2:.6f} lr {optimizer.param_groups[0]['lr']:.6f}")
