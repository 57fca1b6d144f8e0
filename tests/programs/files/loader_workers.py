"""Workers that augment with every generator, a convolution with batch norm, checkpoints on disk."""
import os
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    def __init__(self):
        self.labels = torch.arange(96) % 3
        self.base = torch.randn(3, 1, 8, 8)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        noise = np.random.rand() + random.random() + torch.rand(()).item()
        label = self.labels[index]
        return self.base[label] + 0.1 * noise + 0.3 * torch.randn(1, 8, 8), label


def seed_worker(number):
    np.random.seed(torch.initial_seed() % 2**32)
    random.seed(number)


if __name__ == "__main__":
    torch.manual_seed(11)
    loader = DataLoader(
        Pictures(), batch_size=16, shuffle=True, num_workers=2, worker_init_fn=seed_worker
    )
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for epoch in range(3):
        for pictures, labels in loader:
            loss = nn.functional.cross_entropy(model(pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"{epoch} {loss.item():.9f}")
        torch.save(model.state_dict(), "checkpoint.tmp")
        os.replace("checkpoint.tmp", "checkpoint.pt")
    print(sum(p.sum().item() for p in torch.load("checkpoint.pt").values()))
