"""Bags of words of scikit-learn's own data set descriptions: which one is a sentence from?"""
import re

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from torch import nn

torch.manual_seed(0)
texts = [f().DESCR.lower() for f in (load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine)]
words = sorted({w for t in texts for w in re.findall(r"[a-z]+", t)})
number = {w: i for i, w in enumerate(words)}
samples = []
for label, text in enumerate(texts):
    ids = [number[w] for w in re.findall(r"[a-z]+", text)]
    samples += [(ids[i:i + 5 + i % 7], label) for i in range(0, len(ids) - 12, 6)]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(len(words), 16, mode="mean")
        self.fc = nn.Linear(16, 5)

    def forward(self, ids, offsets):
        return self.fc(self.bag(ids, offsets))


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
for step in range(60):
    batch = [samples[i] for i in torch.randint(len(samples), (24,))]
    ids = torch.tensor([w for s, _ in batch for w in s])
    offsets = torch.tensor([0] + [len(s) for s, _ in batch]).cumsum(0)[:-1]
    loss = nn.functional.cross_entropy(model(ids, offsets), torch.tensor([label for _, label in batch]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
