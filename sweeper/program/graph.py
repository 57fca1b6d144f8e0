"""The data flow of one training forward, from the first optimizer to the first backward.

A TorchFunctionMode sees every torch function that the program calls with gradients enabled. From
the graph follow the layers in order of use, which activations are hidden ones (their output reaches
another weight) and which are gates or outputs, what sits between head and loss, and where hidden
representations can be watched.
"""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch._jit_internal
import torch._tensor
import torch.nn.functional
import torch.overrides
from torch import nn
from torch.overrides import TorchFunctionMode

from sweeper.program._dropout_calls import rate_of

MAX_OPERATIONS = 20_000
"""A forward with more operations than this is traced up to here only (memory of the trace)."""

WEIGHT_OPERATIONS = frozenset(
    [
        "linear",
        "bilinear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "embedding",
        "embedding_bag",
        "lstm",
        "gru",
        "rnn_tanh",
        "rnn_relu",
        "lstm_cell",
        "gru_cell",
        "rnn_tanh_cell",
        "rnn_relu_cell",
        "multi_head_attention_forward",
        "scaled_dot_product_attention",
        "matmul",
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "mv",
        "addmv",
        "einsum",
        "__matmul__",
        "__rmatmul__",
    ]
)
NORM_OPERATIONS = frozenset(
    ["batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"]
)
ACTIVATIONS = {
    "relu": "relu", "relu_": "relu", "relu6": "relu6", "leaky_relu": "leaky_relu",
    "leaky_relu_": "leaky_relu", "prelu": "prelu", "elu": "elu", "elu_": "elu", "selu": "selu",
    "selu_": "selu", "celu": "celu", "gelu": "gelu", "silu": "silu", "mish": "mish",
    "softplus": "softplus", "softsign": "softsign", "hardtanh": "hardtanh",
    "hardswish": "hardswish", "hardsigmoid": "hardsigmoid", "tanh": "tanh", "tanh_": "tanh",
    "sigmoid": "sigmoid", "sigmoid_": "sigmoid", "logsigmoid": "logsigmoid",
}  # fmt: skip
OUTPUT_OPERATIONS = frozenset(
    ("softmax", "log_softmax", "_softmax", "_log_softmax", "sigmoid", "logsigmoid")
)
GATE_OPERATIONS = frozenset(
    ("mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply", "addcmul")
)
ACTIVATION_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Tanh,
    nn.Sigmoid, nn.LogSigmoid,
)  # fmt: skip
_SKIPPED_FILES = {
    __file__, *(str(m.__file__) for m in (
        torch.nn.functional, torch.overrides, torch._tensor, torch._jit_internal,
    )),
}  # fmt: skip
VIEWS = frozenset(("t", "transpose", "permute", "mT", "T", "H", "view", "reshape", "contiguous"))
"""What gives a parameter another shape: the matrix in a product is still the parameter."""


@dataclass
class Node:
    """One call of a torch function."""

    index: int
    operation: str
    module: int  # id of the innermost module that was running, 0 outside
    site: str  # file:line of the caller
    inputs: list[int]  # indices of the nodes whose outputs it reads, -1 for the outside
    parameter: bool  # reads an nn.Parameter
    consumers: list[int] = field(default_factory=list)
    n_tensor_inputs: int = 0
    weighs: bool = False  # a function of the program's own that is given a matrix of parameters
    dropout: float = 0.0  # the rate with which it drops


class ModuleStack:
    """Which module is running, through the framework's global hooks."""

    def __init__(self) -> None:
        self.running: list[nn.Module] = []
        self._handles: list[Any] = []

    def __enter__(self) -> ModuleStack:
        hooks = torch.nn.modules.module
        self._handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.running.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        # A forward that raised may have left inner modules on the stack.
        while self.running and self.running.pop() is not module:
            pass


def call_site() -> str:
    """``file:line`` of the first frame that is neither ours nor torch's dispatch."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename in _SKIPPED_FILES:
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def tensors_in(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Tensors in nested lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth < 3 and isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item, depth + 1)
    elif depth < 3 and isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item, depth + 1)


# Not annotated in torch.
push_mode: Callable[[TorchFunctionMode], None] = torch.overrides._push_mode
_pop: Callable[[], TorchFunctionMode] = torch.overrides._pop_mode
modes_in_force: Callable[[], list[TorchFunctionMode]] = (
    torch.overrides._get_current_function_mode_stack
)


def enter_below(mode: TorchFunctionMode) -> None:
    """Push a mode under those of the program, which leave by popping the topmost.

    The one of `torch.set_default_device` stays the lowest, as torch demands.
    """
    above = [_pop() for _ in range(torch._C._len_torch_function_stack())]
    default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    if above and above[-1] is default:
        push_mode(above.pop())
    push_mode(mode)
    for known in reversed(above):
        push_mode(known)


def leave(mode: TorchFunctionMode) -> None:
    """Take a mode out of the stack, wherever it is."""
    stack = [_pop() for _ in range(torch._C._len_torch_function_stack())]
    for known in reversed(stack):
        if known is not mode:
            push_mode(known)


class TraceMode(TorchFunctionMode):
    """Records nodes while what is computed will have gradients.

    Args:
        stack: which module is running.
        holders: id of a parameter without a module -> the module that stands for it.
        wanted: whether to record now.
        only_graph: record only what has gradients (before the model's first call is known).
    """

    def __init__(
        self,
        stack: ModuleStack,
        holders: Mapping[int, nn.Module],
        wanted: Callable[[], bool],
        only_graph: bool = False,
    ) -> None:
        super().__init__()
        self.stack, self.holders, self.wanted = stack, dict(holders), wanted
        self.only_graph = only_graph
        self.nodes: list[Node] = []
        self.producer: dict[int, int] = {}
        self._alive: list[weakref.ref[torch.Tensor]] = []
        """Of the tensors in ``producer``: whose memory is given back may share its id with a later
        one. Holding them instead would double the memory of the first forward."""
        self._views: set[int] = set()  # ids of views of parameters in ``holders``
        self.modules: dict[int, nn.Module] = {}
        self.module_order: list[int] = []
        self.active = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.active and self.wanted():
            self.record(_name_of(func), args, kwargs or {}, result)
        return result

    def record(
        self, operation: str, args: Any, kwargs: Any, result: Any, own_function: bool = False
    ) -> None:
        outputs = list(tensors_in(result))
        if not outputs or operation in ("__get__", "detach", "backward", "requires_grad_"):
            return
        if own_function and all(id(t) in self.producer for t in outputs):
            return  # known from inside (a checkpoint)
        if self.only_graph and not any(t.requires_grad for t in outputs):
            return
        if len(self.nodes) >= MAX_OPERATIONS:
            self.active = False
            return
        inputs = [*tensors_in(args), *tensors_in(kwargs)]
        weights = [t for t in inputs if isinstance(t, nn.Parameter) or id(t) in self.holders]
        node = Node(
            index=len(self.nodes),
            operation=operation,
            module=self._module(operation, own_function, weights),
            site=call_site(),
            inputs=[self.producer.get(id(t), -1) for t in inputs],
            parameter=bool(weights),
            n_tensor_inputs=sum(t.dim() > 0 for t in inputs),
            weighs=own_function and any(t.dim() >= 2 for t in weights),
            dropout=rate_of(operation, args, kwargs),
        )
        for source in node.inputs:
            if source >= 0:
                self.nodes[source].consumers.append(node.index)
        self.nodes.append(node)
        for tensor in outputs:
            self.producer[id(tensor)] = node.index
            self._alive.append(weakref.ref(tensor, functools.partial(self._forget, id(tensor))))
            if operation in VIEWS and inputs and id(inputs[0]) in self.holders:
                self.holders[id(tensor)] = self.holders[id(inputs[0])]
                self._views.add(id(tensor))

    def _module(self, operation: str, own_function: bool, weights: list[torch.Tensor]) -> int:
        """id of the module that an operation belongs to, 0 for none."""
        module = self.stack.running[-1] if self.stack.running else None
        if own_function or operation in WEIGHT_OPERATIONS:
            module = next((h for t in weights if (h := self.holders.get(id(t)))), module)
        if module is None:
            return 0
        if id(module) not in self.modules:
            self.modules[id(module)] = module
            self.module_order.append(id(module))
        return id(module)

    def close(self) -> None:
        self.active = False
        self._alive.clear()
        self.producer.clear()

    def _forget(self, key: int, gone: object) -> None:
        self.producer.pop(key, None)
        if key in self._views:
            self._views.discard(key)
            del self.holders[key]


def _name_of(func: Any) -> str:
    """Name of a torch function; of an attribute's getter that of the attribute, where it is a view
    (``x.T``)."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        attribute = getattr(getattr(func, "__self__", None), "__name__", "")
        return attribute if attribute in VIEWS else name
    return name


class Graph:
    """Questions to a finished trace."""

    def __init__(self, nodes: list[Node], losses: list[tuple[str, int]]) -> None:
        self.nodes = nodes
        self.losses = [(name, index) for name, index in losses if index >= 0]
        """(name of the loss function or nothing, node that it is given)"""
        self.loss_inputs = [index for _, index in self.losses]
        self.live = self._ancestors(self.loss_inputs)

    def _ancestors(self, start: list[int]) -> set[int]:
        found, todo = set(start), list(start)
        while todo:
            for source in self.nodes[todo.pop()].inputs:
                if source >= 0 and source not in found:
                    found.add(source)
                    todo.append(source)
        return found

    def is_weight(self, node: Node) -> bool:
        return node.weighs or node.operation in WEIGHT_OPERATIONS

    def head(self) -> set[int]:
        """Weight operations from which the loss is reached through no other weight operation."""
        found: set[int] = set()
        seen, todo = set(self.loss_inputs), list(self.loss_inputs)
        while todo:
            node = self.nodes[todo.pop()]
            if self.is_weight(node):
                found.add(node.index)
                continue
            for source in node.inputs:
                if source >= 0 and source not in seen:
                    seen.add(source)
                    todo.append(source)
        return found

    def output_activation(self, loss: str) -> str:
        """The softmax, log_softmax or sigmoid nearest to the loss of that name, behind the head;
        or nothing."""
        todo = [index for name, index in self.losses if name == loss] or list(self.loss_inputs)
        seen = set(todo)
        while todo:
            node = self.nodes[todo.pop(0)]
            if node.operation in OUTPUT_OPERATIONS:
                return node.operation.lstrip("_")
            if self.is_weight(node):
                continue
            for source in node.inputs:
                if source >= 0 and source not in seen:
                    seen.add(source)
                    todo.append(source)
        return ""

    def fate(self, start: Node) -> str:
        """What an activation's output is: ``hidden`` (reaches a weight), ``gate`` or ``output``."""
        seen, todo = {start.index}, [start.index]
        reaches = False
        while todo:
            node = self.nodes[todo.pop()]
            for index in node.consumers:
                if index in seen:
                    continue
                seen.add(index)
                consumer = self.nodes[index]
                if self.is_weight(consumer):
                    reaches = True
                    continue
                if consumer.operation in GATE_OPERATIONS and consumer.n_tensor_inputs > 1:
                    return "gate"
                todo.append(index)
        return "hidden" if reaches else "output"

    def followed_by(self, start: Node) -> str:
        """``norm`` or the activation that the output of a weight operation meets first."""
        seen, todo = {start.index}, [start.index]
        while todo:
            node = self.nodes[todo.pop(0)]
            for index in node.consumers:
                if index in seen:
                    continue
                seen.add(index)
                consumer = self.nodes[index]
                if consumer.operation in NORM_OPERATIONS:
                    return "norm"
                if consumer.operation in ACTIVATIONS:
                    return ACTIVATIONS[consumer.operation]
                if not self.is_weight(consumer):
                    todo.append(index)
        return ""

    def upstream(self, start: Node) -> Iterator[Node]:
        """Nodes that feed a weight operation, nearest first, up to other weight operations."""
        seen, todo = {start.index}, [i for i in start.inputs if i >= 0]
        while todo:
            index = todo.pop(0)
            if index in seen:
                continue
            seen.add(index)
            node = self.nodes[index]
            yield node
            if not self.is_weight(node):
                todo.extend(i for i in node.inputs if i >= 0)
