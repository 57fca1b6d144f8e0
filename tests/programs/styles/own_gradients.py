"""torch.autograd.grad instead of backward; gradients are handed to the optimizer by hand."""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(0)
x, y = load_breast_cancer(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32)
x, y = (x - x.mean(0)) / x.std(0), torch.tensor(y)
model = nn.Sequential(nn.Linear(30, 16), nn.ELU(), nn.Linear(16, 2))
parameters = list(model.parameters())
optimizer = torch.optim.Adam(parameters, lr=5e-3)
for step in range(50):
    rows = torch.randint(len(x), (32,))
    inputs = x[rows].requires_grad_()
    loss = nn.functional.cross_entropy(model(inputs), y[rows])
    (slope,) = torch.autograd.grad(loss, inputs, create_graph=True)
    loss = loss + 0.1 * slope.pow(2).sum(1).mean()
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
        parameter.grad = gradient
    optimizer.step()
print("loss", loss.item())
