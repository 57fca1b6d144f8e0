"""The place where the training loss is named: a module or a function of torch."""

from __future__ import annotations

import ast
from typing import Final

from sweeper.report.code._places import only
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts

MODULES: Final = {
    "cross_entropy": "CrossEntropyLoss", "nll_loss": "NLLLoss", "mse_loss": "MSELoss",
    "l1_loss": "L1Loss", "smooth_l1_loss": "SmoothL1Loss", "huber_loss": "HuberLoss",
    "binary_cross_entropy": "BCELoss", "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}  # fmt: skip
"""Function of torch.nn.functional -> module of torch.nn."""
EVALUATED = (
    "a loss that the program also evaluates with changes there too, which the fix file leaves as "
    "it is"
)


def loss_call(script: Script, facts: Facts) -> ast.Call:
    """The constructor of the loss module, or the one call of the loss as a function."""
    name = facts.loss_function
    if name not in MODULES:
        raise Unsure(f"the loss ({name or 'not known'}) is not one of torch.nn")
    functions = script.calls(f"torch.nn.functional.{name}")
    modules = script.calls(f"torch.nn.{MODULES[name]}")
    if functions and modules:
        raise Unsure("the loss is there as a module and as a function")
    return only(modules or functions, f"a {name}")


def is_function(script: Script, call: ast.Call) -> bool:
    """The call computes the loss; else it builds the module that does."""
    return script.dotted(call.func).startswith("torch.nn.functional.")
