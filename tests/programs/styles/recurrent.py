"""Recurrent models over the rows of digits: python recurrent.py {LSTM,GRU,RNN,cell,packed}."""
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32).view(-1, 8, 8) / 16, torch.tensor(y)
kind = sys.argv[1]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        if kind == "cell":
            self.cell = nn.LSTMCell(8, 24)
        elif kind == "packed":
            self.rnn = nn.LSTM(8, 24, batch_first=True, bidirectional=True)
        else:
            self.rnn = getattr(nn, kind)(8, 24, num_layers=2, batch_first=True, dropout=0.1)
        self.out = nn.Linear(48 if kind == "packed" else 24, 10)

    def forward(self, x):
        if kind == "cell":
            h = c = x.new_zeros(len(x), 24)
            for t in range(8):
                h, c = self.cell(x[:, t], (h, c))
            return self.out(h)
        if kind == "packed":
            lengths = (x.abs().sum(2) > 0).sum(1).clamp_min(1)
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            _, (h, _) = self.rnn(packed)
            return self.out(torch.cat([h[0], h[1]], 1))
        return self.out(self.rnn(x)[0][:, -1])


model = Net()
optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3)
for step in range(40):
    rows = torch.randint(len(x), (32,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
print(kind, loss.item())
