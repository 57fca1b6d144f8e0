"""Activations called as functions, a hand-written gate, a scheduler per epoch, a loader."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


class Gated(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.value = nn.Linear(n, n)
        self.gate = nn.Linear(n, n)

    def forward(self, x):
        return torch.sigmoid(self.gate(x)) * self.value(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(20, 24)
        self.b = nn.Linear(24, 24)
        self.gated = Gated(24)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(24, 3)

    def forward(self, x):
        x = torch.sigmoid(self.a(x))
        x = self.b(x).tanh()
        x = self.gated(x)
        return self.out(self.drop(F.relu(x)))


x = torch.randn(256, 20)
y = (x[:, :3]).argmax(1)
loader = DataLoader(TensorDataset(x[:192], y[:192]), batch_size=16, shuffle=True)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
criterion = nn.CrossEntropyLoss()
for epoch in range(5):
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[192:]).argmax(1) == y[192:]).float().mean().item()
    print(f"epoch {epoch} loss {loss.item():.6f} accuracy {accuracy:.4f}")
