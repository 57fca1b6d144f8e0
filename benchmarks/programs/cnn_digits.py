"""Handwritten digits by a convolutional network with batch normalisation and dropout."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(1)


class Digits(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images.astype(np.float32) / 8.0 - 1.0, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i][None], int(self.labels[i])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(24)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(24 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(self.drop(x.flatten(1)))


def evaluate(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(dim=1) == y).sum().item()
            total += len(y)
    return right / total


def main():
    data = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        data.images, data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    train_loader = DataLoader(Digits(x_train, y_train), batch_size=64, shuffle=True)
    test_loader = DataLoader(Digits(x_test, y_test), batch_size=256)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.3)
    for epoch in range(6):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        scheduler.step()
        print("epoch", epoch, "test accuracy", evaluate(model, test_loader))
    print("chance", max(np.bincount(y_test)) / len(y_test))
    print(f"final accuracy {evaluate(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
