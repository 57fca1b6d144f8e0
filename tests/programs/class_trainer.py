"""Small images in a class of its own, with functions, a clip, a softmax and no zero_grad."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils import clip_grad_norm_


@dataclass
class Config:
    lr: float = 1e-3
    batch: int = 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc1 = nn.Linear(4 * 16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = torch.relu(self.fc1(x.flatten(1)))
        return F.softmax(self.head(x), dim=1)


class Trainer:
    def __init__(self, net, config):
        self.net, self.config = net, config
        self.optimizer = optim.Adam(net.parameters(), lr=config.lr)

    def fit(self, x, y):
        for _ in range(6):
            for i in range(0, len(x), self.config.batch):
                out = self.net(x[i : i + self.config.batch])
                loss = F.cross_entropy(out, y[i : i + self.config.batch])
                loss.backward()
                clip_grad_norm_(self.net.parameters(), 0.1)
                self.optimizer.step()
            with torch.no_grad():
                print("accuracy", (self.net(x).argmax(1) == y).float().mean().item())


def main():
    torch.manual_seed(0)
    y = torch.randint(0, 3, (128,))
    x = torch.randn(128, 1, 8, 8) + y[:, None, None, None]
    Trainer(Net(), Config()).fit(x, y)


if __name__ == "__main__":
    main()
