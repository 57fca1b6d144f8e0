"""No nn.Module at all: tensors with gradients and matrix products."""
import torch
from sklearn.datasets import load_digits

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
W1 = (torch.randn(64, 40) * 0.1).requires_grad_()
b1 = torch.zeros(40, requires_grad=True)
W2 = (torch.randn(40, 10) * 0.1).requires_grad_()
b2 = torch.zeros(10, requires_grad=True)
optimizer = torch.optim.SGD([W1, b1, W2, b2], lr=0.2)
for step in range(60):
    rows = torch.randint(len(x), (32,))
    hidden = torch.relu(x[rows] @ W1 + b1)
    logits = hidden @ W2 + b2
    loss = torch.nn.functional.cross_entropy(logits, y[rows])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 20 == 0:
        print(step, loss.item())
