"""A character model whose output layer shares the embedding's weight."""
import sys

import torch
from torch import nn

torch.manual_seed(0)
text = sys.copyright + (torch.__doc__ or "")
letters = sorted(set(text))
codes = torch.tensor([letters.index(c) for c in text])


class Model(nn.Module):
    def __init__(self, width=32, context=12):
        super().__init__()
        self.embed = nn.Embedding(len(letters), width)
        self.mix = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(letters), bias=False)
        self.out.weight = self.embed.weight

    def forward(self, ids):
        h = self.embed(ids)
        return self.out(self.norm(h + self.mix(h)))


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
for step in range(50):
    start = torch.randint(len(codes) - 13, (16,))
    window = torch.stack([codes[s:s + 13] for s in start])
    logits = model(window[:, :-1])
    loss = nn.functional.cross_entropy(logits.reshape(-1, len(letters)), window[:, 1:].reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
