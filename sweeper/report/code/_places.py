"""Finding, with certainty or not at all, the places that edits are about."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass

from sweeper.report.code._calls import check_plain
from sweeper.report.code._script import Script, Unsure
from sweeper.types import Facts

SCHEDULERS = "torch.optim.lr_scheduler."
KNOWN_PACKAGES = {"torch", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "tqdm", "PIL"}
"""They build no modules, or only those that the file names."""
SCALERS = ("torch.cuda.amp.GradScaler", "torch.amp.GradScaler", "torch.GradScaler")


def optimizer_call(script: Script, facts: Facts) -> ast.Call:
    """The one place where the program's one optimizer is built."""
    if len(facts.optimizers) != 1:
        raise Unsure(f"the program builds {len(facts.optimizers)} optimizers")
    name = facts.optimizers[0].name
    calls = script.calls(f"torch.optim.{name}")
    if len(calls) != 1:
        count = f"{len(calls)} places build" if calls else "no place in the file builds"
        raise Unsure(f"{count} a torch.optim.{name}")
    check_plain(calls[0])
    return calls[0]


def target_of(script: Script, call: ast.Call) -> ast.expr:
    """What the result of a call is assigned to: a name or an attribute."""
    holder = script.parents[call]
    if isinstance(holder, ast.Assign) and len(holder.targets) == 1:
        target = holder.targets[0]
        if isinstance(target, (ast.Name, ast.Attribute)):
            return target
    raise Unsure(f"the result of line {call.lineno} is not simply assigned to a name")


@dataclass(frozen=True)
class Step:
    """The statement that steps the optimizer."""

    statement: ast.stmt
    optimizer: str
    """How the optimizer is called there."""
    scaler: str = ""
    """How the gradient scaler is called there, or nothing."""


def step_of(script: Script, facts: Facts) -> Step:
    """The one statement that steps the optimizer."""
    target = script.source(target_of(script, optimizer_call(script, facts)))
    schedules = {
        script.source(t)
        for call in ast.walk(script.tree)
        if isinstance(call, ast.Call) and script.dotted(call.func).startswith(SCHEDULERS)
        for t in _targets(script, call)
    }
    scalers = {script.source(t) for call in script.calls(*SCALERS) for t in _targets(script, call)}
    steps = []
    for node in ast.walk(script.tree):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            continue
        function, arguments = node.value.func, node.value.args
        if not (isinstance(function, ast.Attribute) and function.attr == "step"):
            continue
        receiver = script.source(function.value)
        if receiver in scalers and len(arguments) == 1:
            steps.append(Step(node, script.source(arguments[0]), receiver))
        elif receiver not in schedules and receiver not in scalers:
            if arguments or node.value.keywords:
                raise Unsure(f"line {node.lineno} steps with a closure or an argument")
            steps.append(Step(node, receiver))
    own = [s for s in steps if s.optimizer == target] or steps
    if len(own) != 1:
        count = f"{len(own)} places step" if own else "no place in the file steps"
        raise Unsure(f"{count} the optimizer")
    return own[0]


def _targets(script: Script, call: ast.Call) -> list[ast.expr]:
    try:
        return [target_of(script, call)]
    except Unsure:
        return []


def parameters_there(script: Script, facts: Facts, step: Step) -> str:
    """The optimizer's parameters, as an expression that holds where it steps."""
    call = optimizer_call(script, facts)
    first = call.args[0] if call.args else None
    if (
        isinstance(first, ast.Call)
        and isinstance(first.func, ast.Attribute)
        and first.func.attr == "parameters"
        and not first.args
        and isinstance(first.func.value, ast.Name)
        and seen_from(script, first.func.value, step.statement)
    ):
        return script.source(first)
    return f"[p for group in {step.optimizer}.param_groups for p in group['params']]"


def model_name(script: Script, facts: Facts, place: ast.stmt) -> str:
    """The model as it is called at a place: whose parameters the optimizer was given."""
    call = optimizer_call(script, facts)
    first = call.args[0] if call.args else None
    if (
        isinstance(first, ast.Call)
        and isinstance(first.func, ast.Attribute)
        and first.func.attr == "parameters"
        and isinstance(first.func.value, ast.Name)
        and seen_from(script, first.func.value, place)
    ):
        return first.func.value.id
    raise Unsure("how the model is called there is not certain")


def seen_from(script: Script, name: ast.Name, place: ast.AST) -> bool:
    """Whether a name means the same at a place: same function, or a module's name that no function
    around the place binds again."""
    here, there = script.scope(name), script.scope(place)
    if here is there:
        return True
    scopes = [there, *(n for n in script.above(there) if isinstance(n, ast.FunctionDef))]
    bound = {
        n.id if isinstance(n, ast.Name) else n.arg
        for scope in scopes
        if not isinstance(scope, ast.Module)
        for n in ast.walk(scope)
        if (isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)) or isinstance(n, ast.arg)
    }
    return isinstance(here, ast.Module) and name.id not in bound


def only(calls: list[ast.Call], what: str) -> ast.Call:
    """The one call of its kind."""
    if len(calls) != 1:
        count = f"{len(calls)} places build" if calls else "no place in the file builds"
        raise Unsure(f"{count} {what}")
    check_plain(calls[0])
    return calls[0]


def check_whole(script: Script, seen: int, built: int, what: str) -> None:
    """Raise Unsure where the run saw more than the file can have built: a library did.

    A place in a loop or a class builds many, so the count alone proves nothing without one.
    """
    strangers = sorted(
        {path.partition(".")[0] or "the program's other files" for path in script.modules}
        - KNOWN_PACKAGES
        - {*sys.stdlib_module_names}
    )
    if seen > built and strangers:
        raise Unsure(f"{what} may also be built by {strangers[0]}")
