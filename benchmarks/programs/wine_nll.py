"""Three growers of wine by thirteen measurements; log-softmax and nll_loss, a small table."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(12)
wine = load_wine()
x_train, x_test, y_train, y_test = train_test_split(
    wine.data, wine.target, test_size=60, random_state=1, stratify=wine.target
)
scaler = StandardScaler().fit(x_train)
x_train = torch.tensor(scaler.transform(x_train), dtype=torch.float)
x_test = torch.tensor(scaler.transform(x_test), dtype=torch.float)
y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)


class WineNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(13, 20)
        self.fc2 = nn.Linear(20, 20)
        self.fc3 = nn.Linear(20, 3)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.log_softmax(self.fc3(x), dim=1)


net = WineNet()
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=8, shuffle=True)
for _epoch in range(20):
    net.train()
    for xb, yb in train_loader:
        opt.zero_grad()
        loss = F.nll_loss(net(xb), yb)
        loss.backward()
        opt.step()
net.eval()
with torch.no_grad():
    correct = (net(x_test).argmax(1) == y_test).float().mean().item()
print(f"chance {y_test.bincount().max().item() / len(y_test):.4f}")
print(f"final accuracy {correct:.4f}")
