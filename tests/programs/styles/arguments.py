"""argparse, a main guard, sys.exit at the end, and a model saved whole."""
import argparse
import logging
import os
import sys

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

log = logging.getLogger(__name__)


class Net(nn.Module):
    def __init__(self, hidden, dropout):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(30, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden),
                                 nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())

    def forward(self, x):
        return self.net(x).squeeze(1)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--hidden", type=int, default=24)
    parser.add_argument("--out", default="model.pt")
    return parser.parse_args(argv)


def main():
    args = parse()
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(0)
    x, y = load_breast_cancer(return_X_y=True)
    x = torch.tensor(StandardScaler().fit_transform(x), dtype=torch.float32)
    loader = DataLoader(TensorDataset(x, torch.tensor(y, dtype=torch.float32)), batch_size=32, shuffle=True)
    model = Net(args.hidden, 0.2)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    criterion = nn.BCELoss()
    for epoch in range(args.epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
        log.info("epoch %d loss %.4f", epoch, loss.item())
    torch.save(model, args.out)
    restored = torch.load(args.out, weights_only=False)
    assert type(restored) is Net and os.path.getsize(args.out) > 1000
    return 0 if loss.item() < 10 else 1


if __name__ == "__main__":
    sys.exit(main())
