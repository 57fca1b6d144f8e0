"""Two blobs by a small network: every part of a training script, on the lines where people put it."""
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
y = torch.randint(0, 3, (192,))
x = torch.randn(192, 6) + y[:, None]
train_loader = DataLoader(TensorDataset(x[:160], y[:160]), batch_size=16, shuffle=True)
test_loader = DataLoader(TensorDataset(x[160:], y[160:]), batch_size=32)

model = nn.Sequential(
    nn.Linear(6, 24), nn.Sigmoid(), nn.Dropout(0.2),
    nn.Linear(24, 24), nn.Sigmoid(),
    nn.Linear(24, 3),
)
criterion = nn.CrossEntropyLoss()
learning_rate = 0.05  # once for all
optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)

for epoch in range(4):
    model.train()
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in test_loader)
    print(f"epoch {epoch} accuracy {correct / 32:.3f}")
