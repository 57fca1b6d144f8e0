"""The worst smoothness of a tumour's cells from the other measurements."""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn

torch.manual_seed(4)
table = load_breast_cancer()
column = list(table.feature_names).index("worst smoothness")
data = StandardScaler().fit_transform(table.data)
x = torch.tensor(data[:, [i for i in range(30) if i != column]], dtype=torch.float32)
y = torch.tensor(data[:, [column]], dtype=torch.float32)
order = torch.randperm(len(x))
train, test = order[:430], order[430:]

model = nn.Sequential(nn.Linear(29, 48), nn.Tanh(), nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
criterion = nn.MSELoss()
for epoch in range(40):
    for rows in train[torch.randperm(len(train))].split(32):
        optimizer.zero_grad()
        loss = criterion(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    if epoch % 5 == 4:
        with torch.no_grad():
            error = criterion(model(x[test]), y[test]).item()
        print(f"epoch {epoch} train {loss.item():.4f} test {error:.4f}")
print("chance 0")
print(f"final r2 {1 - error / y[test].var(unbiased=False).item():.4f}")
