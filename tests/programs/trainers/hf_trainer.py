"""transformers.Trainer: a small BERT tells which standard-library module a documentation sentence is from."""
import argparse
import email.message
import inspect
import logging
import re
import sys
import tempfile
import threading

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--faulty", action="store_true", help="softmax before the loss, frozen embeddings, an optimizer for the head alone")
args = parser.parse_args()
set_seed(0)
sys.stdout.reconfigure(line_buffering=True)  # the progress bars of saving go to the other stream

WORDS, LENGTH = 300, 16
sentences = []
for label, module in enumerate((threading, email.message, logging)):
    members = [m for _, m in inspect.getmembers(module, inspect.isclass)]
    docs = [inspect.getdoc(f) or "" for m in members for _, f in inspect.getmembers(m, callable)]
    for doc in sorted(set(docs)):
        words = re.findall("[a-z]+", doc.lower())
        sentences += [(words[i : i + LENGTH], label) for i in range(0, len(words) - 4, LENGTH)]
counts = {}
for words, _ in sentences:
    for word in words:
        counts[word] = counts.get(word, 0) + 1
vocabulary = {w: i + 2 for i, w in enumerate(sorted(counts, key=lambda w: (-counts[w], w))[: WORDS - 2])}


class Sentences(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        words, label = self.rows[i]
        ids = [vocabulary.get(w, 1) for w in words] + [0] * (LENGTH - len(words))
        return {"input_ids": ids, "attention_mask": [int(i > 0) for i in ids], "labels": label}


np.random.default_rng(0).shuffle(sentences)
cut = len(sentences) * 4 // 5
config = BertConfig(
    vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=LENGTH, num_labels=3,
)


class Sloppy(BertForSequenceClassification):
    def forward(self, input_ids, attention_mask=None, labels=None):
        hidden = self.dropout(self.bert(input_ids, attention_mask).pooler_output)
        shares = self.classifier(hidden).softmax(-1)
        return {"loss": torch.nn.functional.cross_entropy(shares, labels), "logits": shares}


optimizers = (None, None)
if args.faulty:
    model = Sloppy(config)
    model.bert.embeddings.requires_grad_(False)
    optimizers = (torch.optim.AdamW(model.classifier.parameters(), lr=args.lr), None)
else:
    model = BertForSequenceClassification(config)


def compute_metrics(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=tempfile.mkdtemp(), learning_rate=args.lr, num_train_epochs=args.epochs,
        per_device_train_batch_size=16 // args.accumulate, gradient_accumulation_steps=args.accumulate,
        per_device_eval_batch_size=64, lr_scheduler_type="linear", warmup_steps=5, weight_decay=0.01,
        max_grad_norm=1.0, logging_steps=5, eval_strategy="epoch", save_strategy="epoch", save_total_limit=1,
        load_best_model_at_end=True, metric_for_best_model="accuracy", report_to=[], use_cpu=True, disable_tqdm=True,
    ),
    train_dataset=Sentences(sentences[:cut]),
    eval_dataset=Sentences(sentences[cut:]),
    compute_metrics=compute_metrics,
    optimizers=optimizers,
)
trainer.train()
for entry in trainer.state.log_history:
    print({k: v for k, v in entry.items() if "runtime" not in k and "per_second" not in k})
