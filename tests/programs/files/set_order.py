"""A vocabulary in the order of a set, which follows the hash seed, and a tiny language model."""
import torch
from torch import nn

text = "the quick brown fox jumps over the lazy dog and the slow red hen walks under a busy bee".split()
words = list(set(text))
ids = torch.tensor([words.index(word) for word in text * 20])
torch.manual_seed(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(len(words), 16)
        self.rnn = nn.GRU(16, 24, batch_first=True)
        self.head = nn.Linear(24, len(words))

    def forward(self, batch):
        return self.head(self.rnn(self.table(batch))[0])


model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
print(words)
for step in range(30):
    starts = torch.randint(0, len(ids) - 9, (8,))
    batch = torch.stack([ids[start : start + 9] for start in starts])
    logits = model(batch[:, :-1])
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    print(step, loss.item())
