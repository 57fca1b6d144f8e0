"""Seeds, then loads, tokenises and splits; the first random number comes after all that."""
import os
import random
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn, randn
from torch.utils.data import DataLoader, TensorDataset
from words import tokenise

random.seed(3)
np.random.seed(3)
torch.manual_seed(3)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
lines = Path(__file__).with_name("corpus.txt").open()
print("begins with", next(lines).strip())
rows = np.stack([tokenise(number) for number in range(200)])
labels = (rows.sum(1) > 24).astype("int64")
rows, _, labels, _ = train_test_split(rows, labels, random_state=0)
x, y = torch.from_numpy(rows).float(), torch.from_numpy(labels)
print((y == 1).sum().item(), "of", len(y), file=sys.stderr)

noise = randn(x.shape) * 0.01
print("the rest has", len(lines.read().split()), "lines")
loader = DataLoader(TensorDataset(x + noise, y), batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
for epoch in range(3):
    for inputs, targets in loader:
        loss = nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, f"{loss.item():.9f}", np.random.rand(), random.random())
Path("done.txt").write_text("done")
