"""One model, two optimizers: sparse embeddings by SparseAdam, the rest by Adam."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.long), torch.tensor(digits.target)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(17, 4, sparse=True)
        self.hidden = nn.Linear(256, 32)
        self.out = nn.Linear(32, 10)

    def forward(self, pixels):
        return self.out(torch.relu(self.hidden(self.table(pixels).flatten(1))))


model = Net()
optimizers = [torch.optim.SparseAdam(model.table.parameters(), lr=1e-2),
              torch.optim.Adam([*model.hidden.parameters(), *model.out.parameters()], lr=1e-3)]
for step in range(50):
    rows = torch.randint(len(x), (32,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
print("loss", loss.item())
