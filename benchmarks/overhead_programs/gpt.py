"""A small character-level GPT with a learning rate that the loop writes itself."""

import math
import sys

import torch
import torch.nn.functional as F
from measure import measured
from torch import nn

torch.manual_seed(0)
steps = int(sys.argv[1])
vocabulary, block, batch, width, heads, depth = 65, 64, 12, 128, 4, 4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(self.ln1(x)).split(width, dim=2)
        q, k, v = (s.view(n, t, heads, c // heads).transpose(1, 2) for s in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(n, t, c))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(block, width)
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block_ in self.blocks:
            x = block_(x)
        logits = self.head(self.norm(x))
        return logits, F.cross_entropy(logits.view(-1, vocabulary), targets.view(-1))


# A text with structure: characters of a second-order Markov chain.
table = torch.randint(0, vocabulary, (vocabulary, vocabulary, 3))
text = [0, 1]
for choice in torch.randint(0, 3, (50_000,)).tolist():
    text.append(int(table[text[-2], text[-1], choice]))
text = torch.tensor(text)

model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
with measured():
    for step in range(steps):
        rate = 1e-3 * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        start = torch.randint(0, len(text) - block - 1, (batch,))
        x = torch.stack([text[i : i + block] for i in start])
        y = torch.stack([text[i + 1 : i + block + 1] for i in start])
        logits, loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
print(f"final loss {loss.item():.4f}")
