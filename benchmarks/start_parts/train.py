"""A program whose preparation takes as many seconds as its argument says: it reads a text, builds
a vocabulary and encodes it. Then it trains for a moment."""

import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
begun = time.perf_counter()
text = Path(torch.__file__).with_name("functional.py").read_text(encoding="utf-8")
rounds = 0
while not rounds or time.perf_counter() - begun < float(sys.argv[1]):
    words = re.findall(r"\w+", text)
    vocabulary = {word: i for i, (word, _) in enumerate(Counter(words).most_common(500))}
    codes = np.array([vocabulary.get(word, 500) for word in words])
    rounds += 1
inputs, targets = torch.from_numpy(codes[:-1]), torch.from_numpy(codes[1:])

model = nn.Sequential(nn.Embedding(501, 16), nn.Linear(16, 501))
print(f"first line after the preparation at {time.time():.6f}")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(10):
    rows = torch.randint(len(inputs), (32,))
    loss = nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
