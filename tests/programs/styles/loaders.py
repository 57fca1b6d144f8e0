"""Every way to build a training DataLoader: python loaders.py {plain,workers,sampler,batch_sampler,unbatched,iterable}."""
import sys

import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import (BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset,
                              WeightedRandomSampler)

torch.manual_seed(1)
wine = load_wine()
x = ((wine.data - wine.data.mean(0)) / wine.data.std(0)).astype(np.float32)
y = wine.target


class Wines(Dataset):
    def __len__(self):
        return len(x)

    def __getitem__(self, i):
        return torch.from_numpy(x[i]), int(y[i])


class Stream(IterableDataset):
    def __iter__(self):
        for i in torch.randperm(len(x)):
            yield torch.from_numpy(x[i]), int(y[i])


kind = sys.argv[1]
if kind == "plain":
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=16, shuffle=True)
elif kind == "workers":
    loader = DataLoader(Wines(), batch_size=16, shuffle=True, num_workers=2, drop_last=True)
elif kind == "sampler":
    weights = 1.0 / np.bincount(y)[y]
    loader = DataLoader(Wines(), 16, sampler=WeightedRandomSampler(weights.tolist(), 160))
elif kind == "batch_sampler":
    loader = DataLoader(Wines(), batch_sampler=BatchSampler(RandomSampler(range(len(x))), 16, drop_last=True))
elif kind == "unbatched":
    loader = DataLoader(Wines(), batch_size=None, sampler=BatchSampler(RandomSampler(range(len(x))), 16, True))
    loader.dataset.__class__.__getitem__ = lambda self, rows: (torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
else:
    loader = DataLoader(Stream(), batch_size=16)

model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(5):
    total = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: {total:.3f}")
