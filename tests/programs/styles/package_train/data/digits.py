import torch
from sklearn.datasets import load_digits


def batches(size, steps):
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    for _ in range(steps):
        rows = torch.randint(len(x), (size,))
        yield x[rows], y[rows]
