"""Training in processes that the program starts itself: python spawned.py NPROCS."""
import sys

import torch
import torch.multiprocessing as mp
from sklearn.datasets import load_iris


def train(rank, steps):
    torch.manual_seed(rank)
    x, y = load_iris(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        rows = torch.randint(150, (30,))
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("rank", rank, "loss", loss.item())


if __name__ == "__main__":
    mp.spawn(train, args=(50,), nprocs=int(sys.argv[1]))
