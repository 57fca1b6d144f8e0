"""The seams between a loss and a step: losses, backward passes, scalers, clips; and what the
program compares without gradients.

The table of every patch is in `sweeper.program.seams`, which calls `patch_gradients`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from sweeper.program import checkpoints
from sweeper.program.session import LossCall, Session

Patch = Callable[[Any, str, Callable[[Any], Any]], None]
Current = Callable[[], Session | None]

LOSSES = (
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss",
    "gaussian_nll_loss", "multi_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss",
    "hinge_embedding_loss",
)  # fmt: skip

_depth = {"loss": 0, "backward": 0}
_scaled: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
_plain: dict[str, Any] = {}
"""torch's own loss functions; a program may put others in their place."""


def reset() -> None:
    """Forget what belonged to one session."""
    for key in _depth:
        _depth[key] = 0
    _scaled.clear()


def patch_gradients(patch: Patch, current: Current, comparing: Current) -> None:
    """Everything in this module; ``comparing`` is ``current`` for comparisons."""
    for name in LOSSES:
        _plain[name] = getattr(F, name)
        patch(F, name, _loss_maker(name, current))
    _patch_backward(patch, current)
    _patch_scaler(patch, current)
    _patch_clips(patch, current)
    _patch_comparison(patch, comparing)
    checkpoints.patch_checkpoints(patch, current)


def _loss_maker(name: str, current: Current) -> Callable[[Any], Any]:
    def wrap(original: Any) -> Any:
        names = tuple(inspect.signature(original).parameters)
        first, second = names[:2]

        @functools.wraps(original)
        def loss(*args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None or _depth["loss"] or not session.hears_losses:
                return original(*args, **kwargs)
            _depth["loss"] += 1
            try:
                # Not Signature.bind, which costs as much as a small loss.
                options = dict(zip(names, args, strict=False)) | kwargs
                known = len(args) <= len(names) and len(options) == len(args) + len(kwargs)
                if not known or first not in options or second not in options:
                    return original(*args, **kwargs)  # which says what is wrong with the call
                call = LossCall(
                    function=name, input=options.pop(first), target=options.pop(second),
                    options=options,
                )  # fmt: skip
                call = session.seam_loss(call)
                value = _plain[call.function](call.input, call.target, **call.options)
                session.notify("loss_computed", call, value)
                return value
            finally:
                _depth["loss"] -= 1

        return loss

    return wrap


def _patch_backward(patch: Patch, current: Current) -> None:
    def make(original: Any) -> Any:
        @functools.wraps(original)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None or _depth["backward"]:
                return original(tensors, *args, **kwargs)
            loss = tensors if isinstance(tensors, torch.Tensor) else next(iter(tensors), None)
            if isinstance(loss, torch.Tensor):
                known = _scaled.pop(id(loss), None)
                session.seam_backward(known[1] if known else loss)
            _depth["backward"] += 1
            session.in_backward = True
            try:
                if not session.passes.watched:
                    return original(tensors, *args, **kwargs)
                call = functools.partial(original, tensors, *args, **kwargs)
                return session.passes.run("backward", call)
            finally:
                _depth["backward"] -= 1
                session.in_backward = False

        return backward

    def make_grad(original: Any) -> Any:
        @functools.wraps(original)
        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            session = current()
            if session and not _depth["backward"]:
                session.seam_grad(outputs, inputs)
            return original(outputs, inputs, *args, **kwargs)

        return grad

    patch(torch.autograd, "backward", make)
    patch(torch.Tensor, "backward", make)
    patch(torch.autograd, "grad", make_grad)


def _patch_scaler(patch: Patch, current: Current) -> None:
    from torch.amp.grad_scaler import GradScaler

    def make_scale(original: Any) -> Any:
        @functools.wraps(original)
        def scale(self: Any, outputs: Any) -> Any:
            result = original(self, outputs)
            if current() and isinstance(outputs, torch.Tensor) and result is not outputs:
                _scaled.clear()
                _scaled[id(result)] = (result, outputs.detach())
            return result

        return scale

    def make_step(original: Any) -> Any:
        @functools.wraps(original)
        def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None:
                return original(self, optimizer, *args, **kwargs)
            before = session.step
            # A fused optimizer unscales inside of its step, too late to look at gradients: without
            # its mark the scaler does it ahead, and leaves the step out where they overflow.
            fused = vars(optimizer).pop("_step_supports_amp_scaling", None)
            try:
                result = original(self, optimizer, *args, **kwargs)
            finally:
                if fused is not None:
                    optimizer._step_supports_amp_scaling = fused
            if session.step == before and _overflowed(self, optimizer):
                main = session.primary or next(iter(session.optimizers), None)
                if getattr(optimizer, "optimizer", optimizer) is main:
                    session.notify("step_skipped", optimizer)
            return result

        return step

    patch(GradScaler, "scale", make_scale)
    patch(GradScaler, "step", make_step)


def _overflowed(scaler: Any, optimizer: Any) -> bool:
    """The scaler found gradients that are not finite; a step may be missing for other reasons, such
    as gradients that we gather over several of the program's steps."""
    found = scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"]
    return any(float(value) for value in found.values())


def _patch_clips(patch: Patch, current: Current) -> None:
    import torch.nn.utils.clip_grad as clip_module

    def make_norm(original: Any) -> Any:
        @functools.wraps(original)
        def clip_grad_norm_(
            parameters: Any, max_norm: float, norm_type: float = 2.0, *args: Any, **kwargs: Any
        ) -> Any:
            session = current()
            if session is None:
                return original(parameters, max_norm, norm_type, *args, **kwargs)
            tensors = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
            called = session.seam_clip_call("norm", float(max_norm), float(norm_type))
            if called is None:
                return original(tensors, float("inf"), norm_type, *args, **kwargs)
            max_norm = called
            skip = session.seam_program_clip("norm", tensors, float(max_norm), float(norm_type))
            limit = float("inf") if skip else max_norm
            total = original(tensors, limit, norm_type, *args, **kwargs)
            session.notify(
                "program_clipped",
                "norm",
                float(max_norm),
                float(norm_type),
                None if skip else total,
            )
            return total

        return clip_grad_norm_

    def make_value(original: Any) -> Any:
        @functools.wraps(original)
        def clip_grad_value_(parameters: Any, clip_value: float, *args: Any, **kwargs: Any) -> None:
            session = current()
            if session is None:
                original(parameters, clip_value, *args, **kwargs)
                return
            tensors = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
            called = session.seam_clip_call("value", float(clip_value), float("inf"))
            if called is None:
                return
            clip_value = called
            if not session.seam_program_clip("value", tensors, float(clip_value), float("inf")):
                original(tensors, clip_value, *args, **kwargs)
            session.notify("program_clipped", "value", float(clip_value), float("inf"), None)

        return clip_grad_value_

    for owner in (clip_module, torch.nn.utils):
        patch(owner, "clip_grad_norm_", make_norm)
        patch(owner, "clip_grad_value_", make_value)


def _patch_comparison(patch: Patch, current: Current) -> None:
    def make(original: Any) -> Any:
        @functools.wraps(original)
        def eq(*args: Any, **kwargs: Any) -> Any:
            session = current()
            # With gradients on too: many programs compare after their no_grad block has ended.
            if session is not None and len(args) > 1:
                session.notify("compared", *args[:2])
            return original(*args, **kwargs)

        return eq

    patch(torch.Tensor, "__eq__", make)
    patch(torch.Tensor, "eq", make)
    patch(torch, "eq", make)
