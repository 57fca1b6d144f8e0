"""transformers.Trainer: a small GPT-2 learns the characters of standard-library documentation, with accumulation."""
import argparse
import inspect
import json
import string
import sys
import tempfile
import unittest

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--steps", type=int, default=80)
args = parser.parse_args()
set_seed(0)
sys.stdout.reconfigure(line_buffering=True)  # the progress bars of saving go to the other stream

LENGTH = 48
docs = [inspect.getdoc(m) or "" for _, m in inspect.getmembers(unittest.TestCase)] + [inspect.getdoc(argparse), inspect.getdoc(json)]
text = "\n".join(d.lower() for d in docs)
characters = {c: i for i, c in enumerate(string.ascii_lowercase + " \n.,()")}
text = [c for c in text if c in characters]
pieces = [text[i : i + LENGTH] for i in range(0, len(text), LENGTH)][:-1]


def row(piece, drop):
    ids = [characters[c] for c in piece]
    # Pieces of different lengths: what is behind the end is not predicted.
    length = LENGTH - drop
    return {
        "input_ids": torch.tensor(ids), "labels": torch.tensor(ids[:length] + [-100] * drop),
        "attention_mask": torch.tensor([1] * length + [0] * drop),
    }


rows = [row(piece, (7 * i) % 24) for i, piece in enumerate(pieces)]
cut = len(rows) * 3 // 4
print(f"evaluates {len(rows) - cut} rows")
model = GPT2LMHeadModel(GPT2Config(
    vocab_size=len(characters), n_positions=LENGTH, n_embd=64, n_layer=1, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
))
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=tempfile.mkdtemp(), learning_rate=args.lr, max_steps=args.steps, per_device_train_batch_size=16, per_device_eval_batch_size=64,
        gradient_accumulation_steps=2, lr_scheduler_type="cosine", warmup_steps=0.1, logging_steps=1, eval_strategy="steps",
        eval_steps=20, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
    ),
    train_dataset=rows[:cut],
    eval_dataset=rows[cut:],
)
trainer.train()
for entry in trainer.state.log_history:
    print({k: v for k, v in entry.items() if "runtime" not in k and "per_second" not in k})
