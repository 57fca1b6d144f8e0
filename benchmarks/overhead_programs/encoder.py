"""A classifier on encoder layers of BERT's size: hidden 768, sequences of 64, batches of 8."""

import sys

import torch
from measure import measured
from torch import nn

torch.manual_seed(0)
steps = int(sys.argv[1])
vocabulary, length, batch = 8192, 64, 8


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(vocabulary, 768)
        self.positions = nn.Embedding(length, 768)
        layer = nn.TransformerEncoderLayer(
            768, 12, 3072, dropout=0.1, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(768, 4)

    def forward(self, ids):
        hidden = self.words(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.encoder(hidden)[:, 0])


labels = torch.randint(0, 4, (1024,))
ids = torch.randint(0, vocabulary // 2, (1024, length)) + labels[:, None] * (vocabulary // 8)

model = Classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
with measured():
    for _step in range(steps):
        index = torch.randint(0, len(ids), (batch,))
        loss = nn.functional.cross_entropy(model(ids[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
print(f"final loss {loss.item():.4f}")
