"""A LightningModule under Trainer.fit: scheduler, clipping, accumulation and a validation step."""
import argparse
import logging
import tempfile
import warnings

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--accumulate", type=int, default=2)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--activation", default="ReLU")
parser.add_argument("--depth", type=int, default=2)
parser.add_argument("--faulty", action="store_true", help="softmax before the loss, eval mode, a frozen layer, the head alone, rare classes")
args = parser.parse_args()
warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters()
        layers, width = [], 64
        for _ in range(args.depth):
            layers += [nn.Linear(width, 48), getattr(nn, args.activation)()]
            width = 48
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Sequential(nn.Linear(width, 10), nn.Softmax(-1)) if args.faulty else nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.dropout(self.body(x)))

    def on_train_epoch_start(self):
        if args.faulty:
            self.eval()

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        print(f"batch {batch_idx} loss {outputs['loss'].item():.6f}")

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        accuracy = (logits.argmax(1) == y).float().mean()
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_accuracy", accuracy)

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            metrics = self.trainer.callback_metrics
            print(f"epoch {self.current_epoch} accuracy {metrics['val_accuracy']:.6f} loss {metrics['val_loss']:.6f}")

    def configure_optimizers(self):
        trained = self.parameters()
        if args.faulty:
            self.body[0].requires_grad_(False)
            trained = self.head.parameters()
        optimizer = torch.optim.AdamW(trained, lr=args.lr, weight_decay=0.01)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


L.seed_everything(0, verbose=False)
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)
order = torch.randperm(len(x))
x, y = x[order], y[order]
if args.faulty:
    common = (y > 2) | (torch.arange(len(y)) % 4 == 0)
    x, y = x[common], y[common]
train = DataLoader(TensorDataset(x[:-397], y[:-397]), batch_size=16, shuffle=True)
test = DataLoader(TensorDataset(x[-397:], y[-397:]), batch_size=128)
trainer = L.Trainer(
    max_epochs=args.epochs, accelerator="cpu", devices=1, gradient_clip_val=1.0, accumulate_grad_batches=args.accumulate,
    default_root_dir=tempfile.mkdtemp(), enable_progress_bar=False, enable_model_summary=False, logger=False,
)
trainer.fit(Classifier(), train, test)
