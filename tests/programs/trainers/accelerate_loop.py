"""A plain loop under accelerate: prepare, accumulate, backward, clip_grad_norm_, gather_for_metrics."""
import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--accumulate", type=int, default=2)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--faulty", action="store_true", help="eval mode, gradients never cleared, nll_loss of logits, a frozen layer, the head alone")
args = parser.parse_args()

set_seed(0)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=args.accumulate)
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)
order = torch.randperm(len(x))
x, y = x[order], y[order]
train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=16, shuffle=True)
test = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=128)

model = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Dropout(0.1), nn.Linear(48, 10))
trained = model.parameters()
if args.faulty:
    model[0].requires_grad_(False)
    trained = model[-1].parameters()
optimizer = torch.optim.SGD(trained, lr=args.lr, momentum=0.9, weight_decay=1e-4)
steps = args.epochs * -(-len(train) // args.accumulate)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=args.lr, total_steps=steps + 1)
criterion = nn.NLLLoss() if args.faulty else nn.CrossEntropyLoss()
model, optimizer, train, test, scheduler = accelerator.prepare(model, optimizer, train, test, scheduler)

for epoch in range(args.epochs):
    model.train(not args.faulty)
    step_loss = 0.0
    for inputs, targets in train:
        with accelerator.accumulate(model):
            loss = criterion(model(inputs), targets)
            accelerator.backward(loss)
            step_loss += loss.item() / args.accumulate
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                accelerator.print(f"step {step_loss:.6f} lr {scheduler.get_last_lr()[0]:.8f}")
                step_loss = 0.0
            optimizer.step()
            scheduler.step()
            if not args.faulty:
                optimizer.zero_grad()
    model.eval()
    right = total = 0
    for inputs, targets in test:
        with torch.no_grad():
            guesses = model(inputs).argmax(dim=-1)
        guesses, targets = accelerator.gather_for_metrics((guesses, targets))
        right += (guesses == targets).sum().item()
        total += len(targets)
    accelerator.print(f"epoch {epoch} accuracy {right / total:.6f}")
