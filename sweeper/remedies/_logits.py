"""Finding what a model's last softmax or sigmoid was given. Imports torch: child only.

The model keeps its softmax, so that what the program does with its output (argmax, probabilities)
stays as it was. Where the program takes the output for logits elsewhere too (``sigmoid(model(x))``,
``model(x) > 0``), it is given what it would have with logits (`Outputs`).
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn

from sweeper.remedies._surgery import every_module, inside_attention

VIEWS = (
    "View",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Alias",
    "ToCopy",
    "Clone",
    "Transpose",
    "Permute",
    "TBackward",
)


class Tap:
    """Forward hook that remembers the last input and output of a squashing module; nothing of it is
    pickled."""

    def __init__(self) -> None:
        self.input: torch.Tensor | None = None
        self.output: weakref.ref[torch.Tensor] | None = None

    def __call__(self, module: nn.Module, args: Any, output: torch.Tensor) -> None:
        self.input, self.output = args[0], weakref.ref(output)

    def __reduce__(self) -> tuple[type[Tap], tuple[()]]:
        return Tap, ()


class Outputs:
    """Forward hook that knows the last outputs of the models again; nothing of it is pickled."""

    def __init__(self) -> None:
        self._known: list[weakref.ref[torch.Tensor]] = []

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            self._known = [*self._known[-3:], weakref.ref(output)]

    def __reduce__(self) -> tuple[type[Outputs], tuple[()]]:
        return Outputs, ()

    def squashed_again(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Around sigmoid and softmax: probabilities stay what they are."""
        given = args[0] if args else kwargs.get("input")
        if isinstance(given, torch.Tensor) and self._is_output(given):
            return given.clone()
        return function(*args, **kwargs)

    def compared(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Around ``output > 0``: a logit above zero is a probability above a half."""
        if len(args) == 2 and not kwargs and self._is_output(args[0]):
            limit = args[1]
            if isinstance(limit, (int, float)) and limit == 0:
                return function(args[0], 0.5)
        return function(*args, **kwargs)

    def _is_output(self, given: Any) -> bool:
        if not isinstance(given, torch.Tensor) or not given.is_floating_point():
            return False
        outputs = (ref() for ref in self._known)
        if not any(output is not None and _same(output, given) for output in outputs):
            return False
        return given.numel() > 0 and float(given.min()) >= 0 and float(given.max()) <= 1


def tap(roots: list[nn.Module]) -> list[Tap]:
    """Listen to every Softmax and Sigmoid module outside attention."""
    taps = []
    skipped = inside_attention(roots)
    for module in every_module(roots):
        if isinstance(module, (nn.Softmax, nn.Softmax2d, nn.Sigmoid)) and id(module) not in skipped:
            taps.append(Tap())
            module.register_forward_hook(taps[-1])
    return taps


def before_squashing(
    given: torch.Tensor, taps: list[Tap], loss: str
) -> tuple[torch.Tensor | None, str]:
    """The logits behind what the loss was given, and how they were found; None when it was given
    logits.

    From a module: its own input. From a function: log p, whose softmax is p again (logit p for a
    sigmoid).
    """
    for known in taps:
        output = known.output() if known.output is not None else None
        if output is not None and known.input is not None and _same(output, given):
            return known.input.reshape(given.shape), "module"
    kind = _squashed(given, loss)
    if not kind:
        return None, ""
    wide = given.float() if given.dtype in (torch.float16, torch.bfloat16) else given
    tiny = torch.finfo(wide.dtype).tiny
    if kind == "softmax":
        return wide.clamp_min(tiny).log(), "log"
    return torch.logit(wide, eps=torch.finfo(wide.dtype).eps), "logit"


def _same(output: torch.Tensor, given: torch.Tensor) -> bool:
    """One tensor or a view of all of it in the same order."""
    if output is given:
        return True
    return (
        output.numel() == given.numel()
        and output.data_ptr() == given.data_ptr()
        and output.is_contiguous()
        and given.is_contiguous()
    )


def _squashed(given: torch.Tensor, loss: str) -> str:
    """``softmax``, ``sigmoid`` or nothing: by the autograd graph, or by the values where there is
    none."""
    node = given.grad_fn
    for _ in range(8):
        name = type(node).__name__ if node is not None else ""
        if name.startswith("Softmax"):
            return "softmax"
        if name.startswith("Sigmoid"):
            return "sigmoid"
        if node is None or not any(view in name for view in VIEWS):
            break
        node = node.next_functions[0][0]
    if given.requires_grad or given.numel() == 0 or not given.is_floating_point():
        return ""
    if float(given.min()) < 0 or float(given.max()) > 1:
        return ""
    if loss != "cross_entropy":
        return "sigmoid"
    sums = given.sum(1 if given.dim() > 1 else 0)
    return "softmax" if bool(((sums - 1).abs() < 1e-3).all()) else "sigmoid"
