"""The seams: every patch of torch, numpy and random that sweeper makes, in one table.

Official hooks where there are any: ``register_optimizer_step_pre_hook`` / ``..._post_hook``
(steps), forward hooks on a model's entry. Patches, because no hook exists:

| patched | why |
|---|---|
| ``__init__`` of every ``torch.optim.Optimizer`` subclass | built: outermost constructor only |
| ``Optimizer.__init_subclass__`` | the same for classes that are made later |
| ``Optimizer.add_param_group`` | what a fix put into a group may come in one of the program's |
| ``Module.__call__``, only until the models are found | first forward after the first optimizer |
| ``DataLoader.__init__`` | batch size |
| ``DataLoader.__iter__`` | epochs |
| ``_BaseDataLoaderIter.__next__`` | which loader trains |
| losses of ``torch.nn.functional`` | logits and targets; facts of the loss and what is before it |
| ``torch.autograd.backward`` and ``torch.Tensor.backward`` | the scalar that is trained |
| ``torch.autograd.grad`` | the same, where a program hands out gradients itself |
| ``GradScaler.scale``, ``GradScaler.step`` | undo the factor; count skipped steps |
| ``torch.utils.checkpoint.checkpoint`` | its forward trains although gradients are off |
| ``torch.autograd.Function.apply`` | a link of the data flow that torch does not announce |
| ``torch.nn.utils.clip_grad_norm_`` | facts; a fix's clip replaces the program's |
| ``torch.nn.utils.clip_grad_value_`` | the same |
| ``torch.Tensor.__eq__``, ``torch.Tensor.eq``, ``torch.eq`` | the program's own accuracy in eval |
| ``torch.Tensor.__sub__``, ``__rsub__``, ``sub``, ``torch.sub`` | its own errors in eval |
| metrics of ``sklearn.metrics``, once imported | its own scores |
| ``LRScheduler.__init__`` | facts |
| ``Module.load_state_dict`` | pretrained weights are never reinitialised |
| ``torch.save`` | a saved model carries no hook of the watcher |
| ``torch.compile``, ``Module.compile`` | off: seams need eager code |
| ``torch.distributed.init_process_group`` | one process needs no port; more cannot be watched |
| ``torch.multiprocessing.spawn`` | one process is run here; more cannot be watched |
| ``torch.manual_seed``, ``torch.seed``, those of GPUs, ``torch.Generator`` | fresh seeds |
| ``numpy.random.seed``, ``default_rng``, ``RandomState``, ``SeedSequence`` | fresh seeds |
| ``numpy.random.PCG64`` and the other bit generators | the same |
| ``random.seed``, ``random.Random.seed`` | the same |
| ``tempfile._Random`` | names of temporary files stay free of a run's seed |

`install` puts trampolines in place once; they do nothing until `installed` names a session. They
are installed before any other import, so that ``from torch.nn.functional import cross_entropy``
takes the trampoline too. Optimizers, calls and loaders are patched here, losses to comparisons in
``_seams_gradients.py``, the table's rows from ``LRScheduler`` on in ``_seams_facts.py``,
``_seams_processes.py`` and ``seeds.py``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from sweeper.program import _seams_gradients
from sweeper.program._aliases import patch_aliases
from sweeper.program._seams_facts import patch_model_facts
from sweeper.program._seams_processes import patch_processes
from sweeper.program._seams_scores import patch_scores
from sweeper.program._steps import Outermost, closure_of, with_closure
from sweeper.program.seeds import patch_seeds
from sweeper.program.session import Session

_current: Session | None = None
_undo: list[tuple[Any, str, Any, Any]] = []
"""Owner, name, what it held, and what it holds now."""
_handles: list[Callable[[], None]] = []
"""Take back what is no patch."""
_depth = {"optimizer": 0, "loader": 0}
_outermost = Outermost()


_asked: Callable[[], None] | None = None


def ask(question: Callable[[], None] | None) -> None:
    """Call ``question()`` whenever a seam looks for a session while none is watched: it may fork
    (`sweeper.program.fork_point`), and in the child a session is watched afterwards."""
    global _asked
    _asked = question


def current() -> Session | None:
    """The session that is watched, unless an observer is computing."""
    if _current is None and _asked is not None:
        _asked()
    return _current if _current is not None and not _current.observing else None


def _comparing() -> Session | None:
    """The same for comparisons, which nobody looks at before the first step."""
    return None if _current is None else current()


@contextmanager
def installed(session: Session, *, inside: bool = False, amid: bool = False) -> Iterator[Session]:
    """Watch with ``session`` inside the block.

    Every patch is undone at its end if this call made them.

    Args:
        inside: the process is not a run of ours, and has imported anything before. Seeds and
            processes are left alone; names that modules hold already (``from torch.nn.functional
            import ...``) are patched too.
        amid: a seam is asking at this moment (`ask`), maybe of a constructor under way.
    """
    global _current
    own = not _undo
    try:
        install(inside=inside)
        if own and inside:
            patch_aliases([(o, n, old) for o, n, old, _ in _undo], _patch)
        previous, _current = _current, session
        for key in () if amid else _depth:
            _depth[key] = 0
        _seams_gradients.reset()
        _watch_calls(session)
        try:
            yield session
        finally:
            _unwatch_calls()
            _seams_gradients.reset()
            _outermost.clear()
            _current = previous
    finally:
        if own:
            uninstall()


def watching() -> bool:
    """Whether a session is watched in this process."""
    return _current is not None


def install(*, inside: bool = False) -> None:
    """Put the trampolines in place (once per process); ``inside`` as for `installed`."""
    if _undo:
        return
    _patch_optimizers()
    _patch_data()
    _seams_gradients.patch_gradients(_patch, current, _comparing)
    _handles.append(patch_scores(_patch, _comparing))
    patch_model_facts(_patch, current)
    if not inside:
        patch_processes(_patch, current)
        patch_seeds(_patch, lambda: _current is not None)
    _handles.append(register_optimizer_step_pre_hook(_before_step).remove)
    _handles.append(register_optimizer_step_post_hook(_after_step).remove)


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
        _handles.pop()()


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

    def make_add_group(original: Any) -> Any:
        @functools.wraps(original)
        def add_param_group(self: Any, param_group: dict[str, Any]) -> None:
            session = current()
            if session and not _depth["optimizer"] and isinstance(param_group, dict):
                held = param_group.get("params", ())
                param_group["params"] = [held] if isinstance(held, torch.Tensor) else list(held)
                session.seam_group_added(self, param_group)
            original(self, param_group)

        return add_param_group

    _patch(Optimizer, "__init_subclass__", make_init_subclass)
    _patch(Optimizer, "add_param_group", make_add_group)


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
    closure = closure_of(args, kwargs) if kwargs or len(args) > 1 else None
    if closure is not None:
        return with_closure(args, kwargs, session.seam_closure(optimizer, closure))
    if not session.models.found:
        session.models.find(None)
    session.seam_before_step(optimizer)
    return None


def _after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    session = current()
    if session and _outermost.ends(optimizer):
        session.seam_after_step(optimizer)


_calls: list[tuple[Any, Any]] = []
"""(our ``Module.__call__``, what it is in place of), while models are looked for."""


def _watch_calls(session: Session) -> None:
    """Until the models are found and one has been called with gradients: the hooks that finding
    them registers must hold for that very call. Where a remedy stands around the first passes,
    until these are over.
    """
    plain = torch.nn.Module.__call__

    def __call__(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if current() is not session or not session.optimizers:
            return plain(module, *args, **kwargs)
        if not session.models.entered:
            session.models.called(module, args, kwargs)
        if session.models.entered and not session.passes.watched:
            _unwatch_calls()
        return session.passes.run("forward", functools.partial(plain, module, *args, **kwargs))

    _calls.append((__call__, plain))
    torch.nn.Module.__call__ = __call__  # type: ignore[method-assign]


def _unwatch_calls() -> None:
    # A program may have put its own in place meanwhile, around ours: then ours stays and is idle.
    while _calls and torch.nn.Module.__call__ is _calls[-1][0]:
        torch.nn.Module.__call__ = _calls.pop()[1]  # type: ignore[method-assign]


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
