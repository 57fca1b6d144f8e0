"""Several parameter groups: a slower body without weight decay, a faster head; later one more group is added."""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(0)
data = load_breast_cancer()
x = torch.tensor(data.data, dtype=torch.float32)
x = (x - x.mean(0)) / x.std(0)
y = torch.tensor(data.target, dtype=torch.float32).unsqueeze(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(30, 16)
        self.body = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        return self.head(self.body(torch.relu(self.stem(x))))


model = Net()
model.stem.requires_grad_(False)
optimizer = torch.optim.AdamW([
    {"params": model.body.parameters(), "lr": 1e-3, "weight_decay": 0.0},
    {"params": model.head.parameters()},
], lr=1e-2, weight_decay=0.05)
for epoch in range(3):
    if epoch == 1:
        model.stem.requires_grad_(True)
        optimizer.add_param_group({"params": model.stem.parameters(), "lr": 5e-4})
    for i in range(0, 512, 32):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[i:i + 32]), y[i:i + 32])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
