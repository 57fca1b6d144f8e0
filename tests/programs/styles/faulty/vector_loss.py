"""backward of a loss that is not a scalar."""
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(20):
    loss = torch.nn.functional.mse_loss(model(torch.ones(8, 4)), torch.zeros(8, 1), reduction="none")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
