import argparse

import torch
from torch import nn

from . import model as models
from .data import batches


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = models.Net(args.width)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x, y in batches(32, args.steps):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("loss", loss.item())


if __name__ == "__main__":
    main()
