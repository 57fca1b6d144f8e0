"""A convolutional network on generated images, fed by a DataLoader."""

import sys

import torch
import torch.nn.functional as F
from measure import measured
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
        )
        self.fc1 = nn.Linear(128, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = self.features(x).mean((2, 3))
        return self.fc2(F.relu(self.fc1(x)))


torch.manual_seed(0)
steps = int(sys.argv[1])
labels = torch.randint(0, 10, (2048,))
images = torch.randn(10, 3, 32, 32)[labels] * 0.5 + torch.randn(2048, 3, 32, 32)
loader = DataLoader(TensorDataset(images, labels), batch_size=32, shuffle=True, drop_last=True)

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
done = 0
with measured():
    while done < steps:
        for x, y in loader:
            if done == steps:
                break
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            done += 1
print(f"final loss {loss.item():.4f}")
