"""Is it a nine? One digit in ten is."""

import torch
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)
digits = load_digits()
x = torch.tensor((digits.data - 4.9) / 6.0, dtype=torch.float32)
y = torch.tensor(digits.target == 9).float()
order = torch.randperm(len(x))
train, test = order[:1300], order[1300:]
loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=26, shuffle=True)
model = nn.Sequential(nn.Linear(64, 40), nn.LeakyReLU(0.1), nn.Dropout(0.1), nn.Linear(40, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
criterion = nn.BCEWithLogitsLoss()
for epoch in range(10):
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb).squeeze(1), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        named = (model(x[test]).squeeze(1) > 0).int()
    score = balanced_accuracy_score(y[test].int(), named)
    print(f"epoch {epoch} balanced accuracy {score:.4f}")
print("chance 0.5")
print(f"final balanced_accuracy {score:.4f}")
