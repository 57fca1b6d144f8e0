"""Two phases: an autoencoder is trained, then a classifier with an optimizer of its own on its codes."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)


def train(model, inputs, targets, loss_of, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(steps):
        rows = torch.randint(len(inputs), (32,))
        loss = loss_of(model(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("loss", loss.item())


encoder = nn.Sequential(nn.Linear(64, 24), nn.Tanh())
train(nn.Sequential(encoder, nn.Linear(24, 64)), x, x, F.mse_loss, 40)
with torch.no_grad():
    codes = encoder(x)
train(nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10)), codes, y, F.cross_entropy, 40)
