"""The optimizer is given the head only, by mistake; the model stays in eval mode and gradients are never cleared."""
import torch
from sklearn.datasets import load_iris
from torch import nn

torch.manual_seed(0)
x, y = load_iris(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return torch.softmax(self.head(self.features(x)), dim=1)


model = Net().eval()
optimizer = torch.optim.Adam(model.head.parameters(), lr=0.01)
for step in range(60):
    rows = torch.randint(len(x), (30,))
    loss = nn.CrossEntropyLoss()(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()
print("loss", loss.item())
