"""A module, and beside it parameters of their own (an uncertainty, a prototype table) in the same optimizer."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
x, y = load_diabetes(return_X_y=True)
x, y = torch.tensor(x).double() * 20, (torch.tensor(y).double() / 100).unsqueeze(1)
net = nn.Sequential(nn.Linear(10, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 4)).double()
prototypes = nn.Parameter(torch.randn(4, 1, dtype=torch.double))
log_sigma = nn.Parameter(torch.zeros((), dtype=torch.double))
optimizer = torch.optim.Adam([{"params": net.parameters()}, {"params": [prototypes, log_sigma], "lr": 1e-2}], lr=3e-3)
for step in range(60):
    rows = torch.randint(len(x), (34,))
    prediction = F.softmax(net(x[rows]), 1) @ prototypes
    loss = F.mse_loss(prediction, y[rows]) * torch.exp(-log_sigma) + log_sigma
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item(), log_sigma.item())
