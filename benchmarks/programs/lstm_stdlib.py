"""The next character of standard library code by an LSTM that carries its state along."""

import calendar
import inspect
import textwrap

import torch
from torch import nn

torch.manual_seed(11)
text = inspect.getsource(calendar) + inspect.getsource(textwrap)
symbols = sorted(set(text))
codes = torch.tensor([symbols.index(c) for c in text])
held_out, codes = codes[-6000:], codes[:-6000]
BATCH, LENGTH = 16, 32


class CharModel(nn.Module):
    def __init__(self, n, width=96):
        super().__init__()
        self.embed = nn.Embedding(n, 32)
        self.lstm = nn.LSTM(32, width, batch_first=True)
        self.decode = nn.Linear(width, n)

    def forward(self, x, state=None):
        out, state = self.lstm(self.embed(x), state)
        return self.decode(out), state


def batches(source):
    steps = (len(source) - 1) // (BATCH * LENGTH)
    x = source[: steps * BATCH * LENGTH].view(BATCH, -1)
    y = source[1 : steps * BATCH * LENGTH + 1].view(BATCH, -1)
    for i in range(steps):
        part = slice(i * LENGTH, (i + 1) * LENGTH)
        yield x[:, part], y[:, part]


model = CharModel(len(symbols))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
for epoch in range(4):
    model.train()
    state = None
    for x, y in batches(codes):
        optimizer.zero_grad()
        out, state = model(x, state)
        state = tuple(s.detach() for s in state)
        loss = criterion(out.reshape(-1, len(symbols)), y.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        losses = [
            criterion(model(x)[0].reshape(-1, len(symbols)), y.reshape(-1)).item()
            for x, y in batches(held_out)
        ]
    print(f"epoch {epoch} train {loss.item():.3f} held out {sum(losses) / len(losses):.3f}")
shares = held_out.bincount() / len(held_out)
print(f"chance {-(shares * shares.log()).nansum().item():.4f}")
print(f"final loss {sum(losses) / len(losses):.4f}")
