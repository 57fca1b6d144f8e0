"""An encoder, a decoder and a classifier, separate objects in a plain trainer class, trained by one optimizer."""
import itertools

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)


class Trainer:
    def __init__(self):
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 16), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 64), nn.Sigmoid())
        self.classifier = nn.Linear(16, 10)
        parts = (self.encoder, self.decoder, self.classifier)
        self.optimizer = torch.optim.Adam(itertools.chain(*(p.parameters() for p in parts)), lr=2e-3)

    def step(self, x, y):
        self.optimizer.zero_grad()
        code = self.encoder(x)
        rebuilt = F.mse_loss(self.decoder(code), x)
        rebuilt.backward(retain_graph=True)
        named = F.cross_entropy(self.classifier(code), y)
        named.backward()
        self.optimizer.step()
        return rebuilt.item(), named.item()


trainer = Trainer()
for i in range(60):
    rows = torch.randint(len(x), (32,))
    losses = trainer.step(x[rows], y[rows])
print(*losses)
