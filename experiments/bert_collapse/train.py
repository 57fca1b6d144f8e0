"""Tell which package of the standard library a docstring belongs to, with a small BERT."""

import ast
import random
import re
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from transformers import BertConfig, BertModel

PACKAGES = ["asyncio", "email", "logging", "multiprocessing"]
MAX_LENGTH = 32
PAD, UNKNOWN = 0, 1

random.seed(0)
np.random.seed(0)
torch.manual_seed(0)


def read_docstrings(package):
    texts = set()
    for file in sorted((Path(sysconfig.get_path("stdlib")) / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node) or ""
                if len(text.split()) >= 4:
                    texts.add(text)
    return sorted(texts)


def words(text):
    return re.findall(r"[a-z]+|[^\sa-z]", text.lower())


samples = [(text, label) for label, name in enumerate(PACKAGES) for text in read_docstrings(name)]
random.shuffle(samples)
split = len(samples) * 4 // 5
counts = Counter(word for text, _ in samples[:split] for word in words(text))
known = sorted(word for word, n in counts.items() if n > 1)
vocabulary = {word: i for i, word in enumerate(known, start=2)}


def encode(rows):
    ids = torch.full((len(rows), MAX_LENGTH), PAD)
    for i, (text, _) in enumerate(rows):
        tokens = [vocabulary.get(word, UNKNOWN) for word in words(text)[:MAX_LENGTH]]
        ids[i, : len(tokens)] = torch.tensor(tokens)
    return TensorDataset(ids, torch.tensor([label for _, label in rows]))


train_set, test_set = encode(samples[:split]), encode(samples[split:])
train_loader = DataLoader(train_set, batch_size=8, shuffle=True)
test_loader = DataLoader(test_set, batch_size=128)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        config = BertConfig(
            vocab_size=len(vocabulary) + 2,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=MAX_LENGTH,
        )
        self.bert = BertModel(config)
        self.head = nn.Linear(config.hidden_size, len(PACKAGES))

    def forward(self, ids):
        output = self.bert(input_ids=ids, attention_mask=(ids != PAD).long())
        return self.head(output.pooler_output)


model = Classifier()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(
    model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01
)
scheduler = StepLR(optimizer, step_size=3, gamma=0.1)


def evaluate():
    model.eval()
    correct = 0
    with torch.no_grad():
        for ids, labels in test_loader:
            correct += (model(ids).argmax(dim=1) == labels).sum().item()
    return correct / len(test_set)


for epoch in range(4):
    model.train()
    total = 0.0
    for ids, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(ids), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    scheduler.step()
    print(f"epoch {epoch + 1}  loss {total / len(train_set):.4f}  accuracy {evaluate():.4f}")

print(f"final accuracy {evaluate():.4f}")
