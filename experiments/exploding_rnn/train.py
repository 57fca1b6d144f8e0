"""Character language model of Python's own help topics: a plain net over long sequences."""

from pydoc_data.topics import topics

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)

SEQUENCE_LENGTH = 200
BATCH_SIZE = 16
HIDDEN = 128

text = "\n".join(topics[name] for name in sorted(topics))
text = "".join(c if " " <= c <= "~" or c == "\n" else " " for c in text)
characters = sorted(set(text))
index = {c: i for i, c in enumerate(characters)}
data = torch.tensor([index[c] for c in text])
split = len(data) * 9 // 10
train_data, test_data = data[:split], data[split:]


class CharRNN(nn.Module):
    """A rectified recurrent net that starts from the identity (Le, Jaitly and Hinton, 2015)."""

    def __init__(self, n_characters):
        super().__init__()
        self.embedding = nn.Embedding(n_characters, 64)
        self.rnn = nn.RNN(64, HIDDEN, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(HIDDEN, n_characters)
        nn.init.eye_(self.rnn.weight_hh_l0)
        nn.init.normal_(self.rnn.weight_ih_l0, std=0.01)
        nn.init.zeros_(self.rnn.bias_hh_l0)
        nn.init.zeros_(self.rnn.bias_ih_l0)

    def forward(self, x):
        output, _ = self.rnn(self.embedding(x))
        return self.head(output)


def get_batch(source):
    starts = torch.randint(len(source) - SEQUENCE_LENGTH - 1, (BATCH_SIZE,))
    rows = torch.stack([source[i : i + SEQUENCE_LENGTH + 1] for i in starts])
    return rows[:, :-1], rows[:, 1:]


def batch_loss(x, y):
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def evaluate(n_batches=20):
    model.eval()
    total = sum(batch_loss(*get_batch(test_data)).item() for _ in range(n_batches))
    model.train()
    return total / n_batches


model = CharRNN(len(characters))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for step in range(400):
    x, y = get_batch(train_data)
    loss = batch_loss(x, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if (step + 1) % 50 == 0:
        print(f"step {step + 1}  loss {loss.item():.4f}")

print(f"final loss {evaluate():.4f}")
