"""The models of a run: which are trained, when remedies may operate on them, and which come after.

Models are found at the first call after the first optimizer. A run is one training: where a program
goes on to train another model (folds, an ensemble, a student after its teacher), the run is over,
because curves of two trainings in one would look like a divergence. Only after a few trial steps
the next model counts as part of it; then what changes a model does not reach it, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sweeper.program.graph import tensors_in
from sweeper.program.hooks import Hook
from sweeper.program.lazy import give_shapes
from sweeper.program.loose import LooseParameters, loose_parameters
from sweeper.program.models import copies_of, find_roots, optimizer_parameters, shapes_of

if TYPE_CHECKING:
    from sweeper.program.session import Session

ModelCallback = Callable[[list[nn.Module]], None]
SHORTEST = 10
"""Steps from which a training counts as one (the least that can be judged)."""
ANOTHER = "the program trains another model later, which would be left as it is"
COPY = "the program keeps a copy of the model, which would no longer match it"


class Models:
    """Roots and entries of the trained models, and the callbacks that may change them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.roots: list[nn.Module] = []
        self.entries: list[nn.Module] = []
        """Modules whose calls are watched: the roots, and the part that is called by itself."""
        self.callbacks: list[tuple[str, ModelCallback]] = []
        """(remedy, what it does to the roots)"""
        self.operating = ""
        """The remedy whose callback runs."""
        self.reaching: dict[str, None] = {}
        """Remedies that change a model or what it is given."""
        self.found = False
        self.given: list[nn.Module] = []
        """Modules that somebody named as the trained ones, whatever holds them."""
        self.entered = False
        """A module was called with gradients, or a step came without: nothing is looked for."""
        self._hooks: list[Any] = []

    @property
    def callable(self) -> bool:
        """There is a model that the program calls."""
        return any(not isinstance(root, LooseParameters) for root in self.roots)

    def optimizer_built(self) -> None:
        """A program without modules has nothing that could be called: its tensors are all."""
        if self.found:
            return
        parameters = optimizer_parameters(self.session.optimizers)
        if parameters and not find_roots(parameters):
            self.find(None)

    def called(
        self, module: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """A module is about to be called; heard until one has been called with gradients."""
        training = torch.is_grad_enabled()
        if self.entered or not self.session.optimizers or (self.found and not training):
            return
        wanted = {id(p) for p in optimizer_parameters(self.session.optimizers)}
        if not any(id(p) in wanted for p in module.parameters()):
            return  # a metric, a loss, an unrelated teacher
        if not self.found:
            # A first call in inference mode would make tensors that can never be trained.
            with torch.inference_mode(False):
                with self.session.unwatched():
                    give_shapes(module, args, kwargs or {})
                self.find(module, tensors_in([args, kwargs]))
        # A validation may have come first, and have called the whole where training calls a part.
        self._enter(module)
        self.entered = training or not self.roots

    def find(self, first_called: nn.Module | None, inputs: Iterable[torch.Tensor] = ()) -> None:
        """Fill ``roots`` and let remedies and observers at them.

        Random state is kept aside meanwhile.
        """
        if self.found:
            return
        self.found = True
        session, parameters = self.session, optimizer_parameters(self.session.optimizers)
        self.roots = self._find_roots(parameters, inputs)
        session.states.spread(self.roots)
        if (loose := loose_parameters(parameters, self.roots)) is not None:
            self.roots.append(loose)
        gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(9_000_001 + session.seed)
            if gpus:
                torch.cuda.manual_seed_all(9_000_001 + session.seed)
            self._operate()
        for module in (*self.roots, *([first_called] if first_called is not None else ())):
            # The program may call parts, not the whole:
            # a LightningModule's layers, an encoder by itself.
            self._enter(module)
        session.notify("models_found", self.roots)

    def _find_roots(
        self, parameters: list[torch.Tensor], inputs: Iterable[torch.Tensor]
    ) -> list[nn.Module]:
        found = find_roots(parameters, inputs)
        if not self.given:
            return found
        inside = {id(m) for root in self.given for m in root.modules()}
        around = {id(r) for r in found if any(id(m) in inside for m in r.modules())}
        return [*self.given, *(r for r in found if id(r) not in around)]

    def _enter(self, module: nn.Module) -> None:
        if any(module is entry for entry in self.entries):
            return
        self.entries.append(module)
        called = Hook(self.session.entry_called, on_copies=True)
        self._hooks.append(module.register_forward_pre_hook(called, with_kwargs=True))
        self._hooks.append(module.register_forward_hook(Hook(self.session.entry_returned)))

    def looked_up(self, parameters: Iterable[torch.Tensor]) -> bool:
        """Whether one of them is the table of an embedding with sparse gradients."""
        wanted = {id(p) for p in parameters}
        return any(
            isinstance(part, (nn.Embedding, nn.EmbeddingBag))
            and part.sparse
            and id(part.weight) in wanted
            for root in self.roots
            for part in root.modules()
        )

    def close(self) -> None:
        """Leave the program's modules as they were found."""
        while self._hooks:
            self._hooks.pop().remove()

    def _operate(self) -> None:
        for remedy, callback in self.callbacks:
            before = [shapes_of(root) for root in self.roots]
            copies = [self._following(root) for root in self.roots]
            self.operating = remedy
            callback(self.roots)
            self.operating = ""
            for root, shapes, known in zip(self.roots, before, copies, strict=True):
                changed = shapes_of(root)
                if remedy and changed != shapes and any(shapes_of(c) != changed for c in known):
                    self.session.refuse(remedy, COPY)

    def _following(self, root: nn.Module) -> list[nn.Module]:
        """Living models of the same kind that may be averages or targets of ``root``: not trained
        themselves, not loaded from elsewhere."""
        return [
            copy
            for copy in copies_of(root, self.roots)
            if not any(p.grad is not None or p in self.session.states for p in copy.parameters())
        ]

    def succeeded(self, optimizer: torch.optim.Optimizer) -> None:
        """``optimizer`` took over from the one that trained so far."""
        parameters = optimizer_parameters([optimizer])
        known = {id(p) for root in self.roots for p in root.parameters()}
        if any(id(p) in known for p in parameters):
            return  # a new optimizer for the same model
        if self.session.step >= SHORTEST:
            self.session.trains_again = True
            self.session.stop("finished")
            return
        for remedy in self.reaching:
            self.session.refuse(remedy, ANOTHER)
        self.session.notify("another_model")


def holders_of(roots: Iterable[nn.Module]) -> dict[int, nn.Module]:
    """id of a loose parameter -> the module that stands for it."""
    return {
        key: holder
        for root in roots
        if isinstance(root, LooseParameters)
        for key, holder in root.holders().items()
    }
