"""Swallows every Exception, handles signals, prints a megabyte, uses tqdm, writes checkpoints and keeps the last two."""
import atexit
import os
import signal
import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_iris
from torch import nn
from tqdm import tqdm

folder = Path(os.environ.get("CHECKPOINTS") or tempfile.mkdtemp())
signal.signal(signal.SIGINT, lambda *_: sys.exit("interrupted"))
signal.signal(signal.SIGTERM, lambda *_: print("caught SIGTERM"))
atexit.register(print, "bye")
torch.manual_seed(0)
x, y = load_iris(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05)
bar = tqdm(range(50), desc="training")
for step in bar:
    try:
        rows = torch.randint(len(x), (30,))
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / f"step{step}.pt")
            for old in sorted(folder.glob("step*.pt"), key=os.path.getmtime)[:-2]:
                old.unlink()
    except Exception as error:
        print("ignored", error)
    bar.set_postfix(loss=loss.item())
    print("z" * 25_000)
optimizer.load_state_dict(torch.load(folder / "step49.pt")["optimizer"])
sys.exit(3)
