"""Tell benign from malignant tumours. The labels were joined in the wrong order."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)

data = load_breast_cancer()
features = StandardScaler().fit_transform(data.data)
# The labels come from another file, sorted differently: row i is no longer patient i.
labels = np.random.default_rng(7).permutation(data.target)
x_train, x_test, y_train, y_test = train_test_split(
    features, labels, test_size=0.25, random_state=0
)


def tensors(x, y):
    return TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


train_loader = DataLoader(tensors(x_train, y_train), batch_size=32, shuffle=True)
test_loader = DataLoader(tensors(x_test, y_test), batch_size=256)

model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(15):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
    print(f"epoch {epoch:2d}  loss {loss.item():.3f}  test accuracy {correct / len(y_test):.3f}")
