"""The seams: every patch of torch, numpy and random that sweeper makes, in one table.

Official hooks where there are any: ``register_optimizer_step_pre_hook`` / ``..._post_hook``
(steps), forward hooks on a model's entry. Patches, because no hook exists:

| patched | why |
|---|---|
| ``__init__`` of every ``torch.optim.Optimizer`` subclass | built: outermost constructor only |
| ``Optimizer.__init_subclass__`` | the same for classes that are made later |
| ``Module.__call__``, only until the models are found | first forward after the first optimizer |
| ``DataLoader.__init__`` | batch size |
| ``DataLoader.__iter__`` | epochs |
| ``_BaseDataLoaderIter.__next__`` | which loader trains |
| losses of ``torch.nn.functional`` | logits and targets; facts of the loss and what is before it |
| ``torch.autograd.backward`` and ``torch.Tensor.backward`` | the scalar that is trained |
| ``GradScaler.scale``, ``GradScaler.step`` | undo the factor; count skipped steps |
| ``torch.nn.utils.clip_grad_norm_`` | facts; a fix's clip replaces the program's |
| ``torch.nn.utils.clip_grad_value_`` | the same |
| ``torch.Tensor.__eq__``, ``torch.Tensor.eq``, ``torch.eq`` | the program's own accuracy in eval |
| ``LRScheduler.__init__`` | facts |
| ``Module.load_state_dict`` | pretrained weights are never reinitialised |
| ``torch.compile``, ``Module.compile`` | off: seams need eager code |
| ``torch.manual_seed``, ``torch.seed``, ``torch.Generator`` | fresh seeds |
| ``numpy.random.seed``, ``numpy.random.default_rng``, ``random.seed`` | fresh seeds |

`install` puts trampolines in place once; they do nothing until `installed` names a session. They
are installed before any other import, so that ``from torch.nn.functional import cross_entropy``
takes the trampoline too. The table's last rows, from ``LRScheduler`` on, are put in place by
``_seams_facts.py``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from sweeper.program._aliases import patch_aliases
from sweeper.program._seams_facts import patch_model_facts, patch_seeds
from sweeper.program._steps import Outermost, closure_of, with_closure
from sweeper.program.graph import tensors_in
from sweeper.program.session import LossCall, Session

LOSSES = (
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss",
    "gaussian_nll_loss", "multi_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss",
    "hinge_embedding_loss",
)  # fmt: skip

_current: Session | None = None
_undo: list[tuple[Any, str, Any, Any]] = []
"""Owner, name, what it held, and what it holds now."""
_handles: list[Any] = []
_depth = {"optimizer": 0, "loss": 0, "backward": 0, "loader": 0}
_scaled: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
_outermost = Outermost()


def current() -> Session | None:
    """The session that is watched, unless an observer is computing."""
    return _current if _current is not None and not _current.observing else None


@contextmanager
def installed(session: Session, *, reseed: bool = True, aliases: bool = False) -> Iterator[Session]:
    """Watch with ``session`` inside the block.

    Every patch is undone at its end if this call made them.

    Args:
        reseed: also the seams at which seeds are set.
        aliases: also names that modules hold already (``from torch.nn.functional import ...``),
            for a block in a process that imported anything before.
    """
    global _current
    own = not _undo
    try:
        install(reseed=reseed)
        if own and aliases:
            patch_aliases([(o, n, old) for o, n, old, _ in _undo], _patch)
        previous, _current = _current, session
        for key in _depth:
            _depth[key] = 0
        _watch_calls(session)
        try:
            yield session
        finally:
            _unwatch_calls()
            _scaled.clear()
            _outermost.clear()
            _current = previous
    finally:
        if own:
            uninstall()


def watching() -> bool:
    """Whether a session is watched in this process."""
    return _current is not None


def install(*, reseed: bool = True) -> None:
    """Put the trampolines in place (once per process)."""
    if _undo:
        return
    _patch_optimizers()
    _patch_data()
    _patch_losses()
    _patch_backward()
    _patch_clips()
    _patch_comparison()
    patch_model_facts(_patch, current)
    if reseed:
        patch_seeds(_patch, lambda: _current is not None)
    _handles.append(register_optimizer_step_pre_hook(_before_step))
    _handles.append(register_optimizer_step_post_hook(_after_step))


def uninstall() -> None:
    """Undo every patch, last first; what others put in its place meanwhile stays."""
    while _undo:
        owner, name, original, ours = _undo.pop()
        if _held(owner, name) is not ours:
            continue
        if original is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
    while _handles:
        _handles.pop().remove()


_ABSENT = object()


def patch(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace ``owner.name`` by ``make(original)`` until the trampolines are undone."""
    _patch(owner, name, make)


def _patch(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    own = _held(owner, name)
    replacement = make(getattr(owner, name))
    setattr(owner, name, replacement)
    _undo.append((owner, name, own, replacement))


def _held(owner: Any, name: str) -> Any:
    """What the owner itself holds under the name: a class may inherit it."""
    if isinstance(owner, type):
        return owner.__dict__.get(name, _ABSENT)
    return getattr(owner, name, _ABSENT)


# -- optimizers and steps --------------------------------------------------------------------------


def _patch_optimizers() -> None:
    def all_subclasses(cls: type[Any]) -> Iterator[type[Any]]:
        for sub in cls.__subclasses__():
            yield sub
            yield from all_subclasses(sub)

    for cls in {*all_subclasses(Optimizer)}:
        if "__init__" in cls.__dict__:
            _patch(cls, "__init__", _outermost_constructor)

    def make_init_subclass(original: Any) -> Any:
        def __init_subclass__(cls: type, /, **kwargs: Any) -> None:
            original.__func__(cls, **kwargs) if hasattr(original, "__func__") else None
            if "__init__" in cls.__dict__:
                _patch(cls, "__init__", _outermost_constructor)

        return classmethod(__init_subclass__)

    _patch(Optimizer, "__init_subclass__", make_init_subclass)


def _outermost_constructor(original: Any) -> Any:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        outermost = not _depth["optimizer"]
        _depth["optimizer"] += 1
        try:
            original(self, *args, **kwargs)
        finally:
            _depth["optimizer"] -= 1
        session = current()
        # A wrapper (accelerate) holds an optimizer instead of having parameters of its own.
        if outermost and session and "param_groups" in self.__dict__:
            session.seam_optimizer(self)

    return __init__


def _before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
    session = current()
    if session is None or not _outermost.begins(optimizer):
        return None
    closure = closure_of(args, kwargs)
    if closure is not None:
        return with_closure(args, kwargs, session.seam_closure(optimizer, closure))
    if not session.roots:
        session.find_models(None)
    session.seam_before_step(optimizer)
    return None


def _after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    session = current()
    if session and _outermost.ends(optimizer):
        session.seam_after_step(optimizer)


_plain_call: list[Any] = []


def _watch_calls(session: Session) -> None:
    """Until the models are found and one has been called with gradients:
    the hooks that finding them registers must hold for that very call.
    """
    plain = torch.nn.Module.__call__
    _plain_call.append(plain)

    def __call__(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if current() is session and session.optimizers:
            session.seam_module_called(module, tensors_in([args, kwargs]))
            if session.entered:
                _unwatch_calls()
        return plain(module, *args, **kwargs)

    torch.nn.Module.__call__ = __call__  # type: ignore[method-assign]


def _unwatch_calls() -> None:
    if _plain_call:
        torch.nn.Module.__call__ = _plain_call.pop()


# -- data ------------------------------------------------------------------------------------------


def _patch_data() -> None:
    signature = inspect.signature(DataLoader.__init__)
    indices: dict[int, int] = {}

    def make_init(original: Any) -> Any:
        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            session = current()
            if session is None or _depth["loader"]:
                original(self, *args, **kwargs)
                return
            bound = signature.bind(self, *args, **kwargs)
            arguments = dict(bound.arguments)
            arguments.pop("self")
            index = len(session.loaders)
            arguments = session.seam_loader_arguments(index, arguments)
            _depth["loader"] += 1
            try:
                original(self, **arguments)
            finally:
                _depth["loader"] -= 1
            session.loaders.append(self)
            session.notify("loader_built", index, self)

        return __init__

    def make_iter(original: Any) -> Any:
        @functools.wraps(original)
        def __iter__(self: Any) -> Any:
            iterator = original(self)
            session = current()
            if session:
                index = next((i for i, x in enumerate(session.loaders) if x is self), None)
                if index is None:  # it was built before the watching began
                    index = len(session.loaders)
                    session.loaders.append(self)
                    session.notify("loader_built", index, self)
                indices[id(iterator)] = index
                session.notify("epoch_started", index)
            return iterator

        return __iter__

    def make_next(original: Any) -> Any:
        @functools.wraps(original)
        def __next__(self: Any) -> Any:
            batch = original(self)
            session = current()
            if session and id(self) in indices:
                session.notify("batch_loaded", indices[id(self)])
            return batch

        return __next__

    _patch(DataLoader, "__init__", make_init)
    _patch(DataLoader, "__iter__", make_iter)
    _patch(_BaseDataLoaderIter, "__next__", make_next)


# -- losses and backward ---------------------------------------------------------------------------


def _patch_losses() -> None:
    def make(name: str) -> Callable[[Any], Any]:
        def wrap(original: Any) -> Any:
            signature = inspect.signature(original)

            @functools.wraps(original)
            def loss(*args: Any, **kwargs: Any) -> Any:
                session = current()
                if session is None or _depth["loss"]:
                    return original(*args, **kwargs)
                _depth["loss"] += 1
                try:
                    bound = signature.bind(*args, **kwargs).arguments
                    first, second = list(signature.parameters)[:2]
                    options = {k: v for k, v in bound.items() if k not in (first, second)}
                    call = LossCall(
                        function=name, input=bound[first], target=bound[second], options=options
                    )
                    call = session.seam_loss(call)
                    changed = globals()["F"].__dict__[call.function]
                    value = getattr(changed, "__wrapped__", changed)(
                        call.input, call.target, **call.options
                    )
                    session.notify("loss_computed", call, value)
                    return value
                finally:
                    _depth["loss"] -= 1

            return loss

        return wrap

    for name in LOSSES:
        _patch(F, name, make(name))


def _patch_backward() -> None:
    def make(original: Any) -> Any:
        @functools.wraps(original)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            session = current()
            if session is None or _depth["backward"]:
                return original(tensors, *args, **kwargs)
            loss = tensors if isinstance(tensors, torch.Tensor) else next(iter(tensors), None)
            if isinstance(loss, torch.Tensor):
                known = _scaled.pop(id(loss), None)
                session.notify("backward", known[1] if known else loss)
            _depth["backward"] += 1
            try:
                return original(tensors, *args, **kwargs)
            finally:
                _depth["backward"] -= 1

        return backward

    _patch(torch.autograd, "backward", make)
    _patch(torch.Tensor, "backward", make)

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
            before = session.step if session else 0
            result = original(self, optimizer, *args, **kwargs)
            if session and session.step == before:
                main = session.primary or next(iter(session.optimizers), None)
                if getattr(optimizer, "optimizer", optimizer) is main:
                    session.notify("step_skipped", optimizer)
            return result

        return step

    _patch(GradScaler, "scale", make_scale)
    _patch(GradScaler, "step", make_step)


# -- clips -----------------------------------------------------------------------------------------


def _patch_clips() -> None:
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
        _patch(owner, "clip_grad_norm_", make_norm)
        _patch(owner, "clip_grad_value_", make_value)


# -- the program's own accuracy --------------------------------------------------------------------


def _patch_comparison() -> None:
    def make(original: Any) -> Any:
        @functools.wraps(original)
        def eq(left: Any, right: Any, *args: Any, **kwargs: Any) -> Any:
            session = _current
            # With gradients on too: many programs compare after their no_grad block has ended.
            if session is not None and not session.observing:
                session.notify("compared", left, right)
            return original(left, right, *args, **kwargs)

        return eq

    _patch(torch.Tensor, "__eq__", make)
    _patch(torch.Tensor, "eq", make)
    _patch(torch, "eq", make)
