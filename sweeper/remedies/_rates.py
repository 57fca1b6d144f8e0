"""Customary learning rates, the first value to try for an optimizer. No torch here."""

from __future__ import annotations

import math

from sweeper.types import Facts

CUSTOMARY_RATES = {
    "sgd": 0.1,
    "sgd_momentum": 0.01,
    "adam": 1e-3,
    "adamw": 1e-3,
    "rmsprop": 1e-3,
    "nadam": 2e-3,
    "radam": 1e-3,
    "adagrad": 0.01,
}
"""Sources: Adam 1e-3 (Kingma and Ba 2015, and torch's default), AdamW, RAdam, NAdam and Adagrad
torch's defaults; RMSprop 1e-3 (Hinton's lecture 6e; torch's 1e-2 is ten times that). SGD with
momentum 0.9: 0.01 (Bengio 2012, arXiv 1206.5533, section 3.1.1; torch's examples). Plain SGD: 0.1,
because momentum 0.9 multiplies the effective rate by 10."""

ATTENTION_RATE = 3e-4
"""Adam-like optimizers on models with attention: Brown et al. 2020 table 2.1 (6e-4 to 1e-4 by
size), Devlin et al. 2019 (1e-4 to pre-train)."""

FINETUNE_RATE = 3e-5
"""Adam-like optimizers on loaded weights with attention: Devlin et al. 2019, appendix A.3 (2e-5 to
5e-5)."""

ADAM_LIKE = ("adam", "adamw", "nadam", "radam", "adamax")


def customary_rate(optimizer: str, facts: Facts) -> float:
    """The customary peak rate of an optimizer for this program; NaN when there is none.

    ``optimizer`` is a value of the optimizer remedy, or `_hints.optimizer_name`.
    """
    if optimizer in ADAM_LIKE and any(layer.in_attention for layer in facts.layers):
        return FINETUNE_RATE if facts.pretrained else ATTENTION_RATE
    return CUSTOMARY_RATES.get(optimizer, math.nan)
