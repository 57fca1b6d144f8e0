"""Two models, two optimizers with rates of their own, in turns."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(0)
images = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
loader = DataLoader(images, batch_size=64, shuffle=True)
generator = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
discriminator = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=4e-4, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
for epoch in range(2):
    for real in loader:
        fake = generator(torch.randn(len(real), 16))
        optimizer_d.zero_grad()
        loss_d = bce(discriminator(real), torch.ones(len(real), 1)) \
            + bce(discriminator(fake.detach()), torch.zeros(len(real), 1))
        loss_d.backward()
        optimizer_d.step()
        optimizer_g.zero_grad()
        loss_g = bce(discriminator(fake), torch.ones(len(real), 1))
        loss_g.backward()
        optimizer_g.step()
    print(epoch, loss_d.item(), loss_g.item())
