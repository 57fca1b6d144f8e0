"""Swallows exceptions, exits by sys.exit, installs a signal handler, prints a lot."""
import signal
import sys

import torch

signal.signal(signal.SIGTERM, lambda *a: print("caught SIGTERM"))
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
bare = "--bare" in sys.argv
done = 0
for step in range(200):
    try:
        x = torch.randn(8, 4)
        loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done += 1
        print("x" * 5000)
    except Exception:
        print("swallowed")
    except BaseException:
        if not bare:
            raise
        print("swallowed even that")
print(f"steps {done}")
sys.exit(3)
