"""An optimizer that writes its own rate inside its step, so that no rate from outside can hold."""
import torch


class Stubborn(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = 0.01
        return super().step(closure)


torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = Stubborn(model.parameters(), lr=0.01)
for _ in range(20):
    x = torch.randn(8, 4)
    loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
