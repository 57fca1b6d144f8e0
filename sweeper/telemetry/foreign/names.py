"""What a column's name says: its role, whose samples it is about, how far it is from the plain
word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "loss", "accuracy", "error", "perplexity", "lr", "grad_norm", "step", "epoch", "time",
    "phase", "run", "key", "value",
]  # fmt: skip
Split = Literal["train", "held_out", ""]

HELD_OUT = ("val", "valid", "validation", "eval", "evaluation", "dev", "test", "testing",
            "holdout", "heldout", "vali", "evaluate", "validate")  # fmt: skip
"""Words for samples that are not trained on, the usual ones first."""
TRAIN = ("train", "training", "trn", "tr")
_LOSS = {"loss": 0, "losses": 0, "nll": 1, "xent": 1, "crossentropy": 1, "ce": 1, "bce": 1,
         "logloss": 1, "cost": 2, "criterion": 2, "objective": 3, "mse": 3, "mae": 4,
         "rmse": 4, "elbo": 4}  # fmt: skip
"""Word -> distance from the plain word."""
_NOT_LOSS = {"scale", "scaler", "weight", "best", "min", "max", "std", "var", "time", "count",
             "lr", "grad", "gradient", "delta", "diff", "improvement", "hessian"}  # fmt: skip
_ACCURACY = {"accuracy": 0, "acc": 0, "accuracies": 1, "prec": 3, "acc1": 0, "top1": 1}
_MEAN = {"mean", "avg", "average", "running", "smoothed", "smooth", "ema", "total", "sum", "all",
         "inner", "batch", "step", "epoch", "iter", "iteration", "metrics", "metric", "scalar",
         "scalars", "summary", "performance", "stats", "final", "log", "history", "vs",
         "iterations", "steps", "epochs", "raw", "overall", "main", "model", "per", "value",
         "reduced", "lm", "categorical", "sparse", "binary", "token", "cls", "classification",
         "class", "entropy", "cross", "squared", "error", "absolute"}  # fmt: skip
"""Words that change nothing about what a loss or an accuracy is."""
_STEPS = {("global", "step"): 0, ("num", "updates"): 1, ("step",): 1, ("steps",): 1,
          ("iteration",): 2, ("iterations",): 2, ("iter",): 2, ("iters",): 2, ("it",): 3,
          ("iter", "num"): 2, ("trainer", "global", "step"): 0,
          ("update",): 3, ("updates",): 3, ("batch",): 4,
          ("batches",): 4, ("batch", "idx"): 4, ("batch", "i"): 4, ("batch", "id"): 4,
          ("minibatch",): 4, ("total", "steps"): 2, ("n", "iter"): 2, ("niter",): 2,
          ("i",): 6, ("t",): 6, ("idx",): 6, ("index",): 7, ("step", "num"): 2,
          ("global", "steps"): 0, ("global", "iter"): 1, ("global", "iteration"): 1,
          ("optimizer", "step"): 1, ("timesteps",): 2, ("total", "timesteps"): 2,
          ("num", "timesteps"): 2, ("env", "steps"): 3}  # fmt: skip
_EPOCHS = {("epoch",): 0, ("epochs",): 0, ("ep",): 1, ("current", "epoch"): 1,
           ("epoch", "num"): 1, ("trainer", "epoch"): 1}  # fmt: skip
_TIMES = {("time",), ("wall", "time"), ("timestamp",), ("timestamps",), ("date",), ("datetime",),
          ("runtime",), ("elapsed",), ("relative", "time"), ("created", "at")}  # fmt: skip
_PHASES = {("phase",), ("split",), ("mode",), ("stage",), ("subset",), ("partition",), ("set",),
           ("dataset", "split")}  # fmt: skip
_RUNS = {("run",), ("run", "id"), ("run", "name"), ("runid",), ("runname",), ("experiment",),
         ("experiment", "name"), ("exp",), ("exp", "name"), ("trial",), ("trial", "id"),
         ("fold",), ("seed",), ("model",), ("model", "name"), ("version",),
         ("run", "uuid")}  # fmt: skip
_KEYS = {("key",), ("metric",), ("tag",), ("metric", "name"), ("metric", "key"), ("variable",)}
_VALUES = {("value",), ("metric", "value"), ("val",)}
_GRADIENT = {"grad", "gradient", "gradients", "grads", "g"}
_JOINED = re.compile(rf"({'|'.join([*HELD_OUT, *TRAIN])})(loss|losses|acc|accuracy|error|err|ppl)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORDS = re.compile(r"[a-z]+|\d+|%")


@dataclass(frozen=True)
class Reading:
    """What a name says."""

    role: Role
    split: Split
    rank: int
    """Distance from the plain word; the smallest is taken first."""
    held_out: int = 0
    """Position of the word for held-out samples in `HELD_OUT`."""
    per_epoch: bool = False
    adversary: Literal["critic", "maker", ""] = ""
    """One of two models trained against each other."""
    percent: bool = False
    reinforcement: bool = False
    """Rewards, returns, policies: a loss there does not measure how well it goes."""


def words_of(name: str) -> tuple[str, ...]:
    """Lower-case words and numbers of a name; camel case and joined words are taken apart."""
    text = _CAMEL.sub(" ", name[:400]).lower()
    found: list[str] = []
    for word in _WORDS.findall(text):
        joined = _JOINED.fullmatch(word)
        found.extend(joined.groups() if joined else (word,))
    return tuple(found)


def read_name(name: str) -> Reading | None:
    """The role that a column's name suggests, or None."""
    if name.endswith(("__MIN", "__MAX")):
        return None  # W&B exports give each series with its envelope
    words = words_of(name)
    if not words:
        return None
    bare = tuple(w for w in words if not w.isdigit())
    axis = tuple(w for w in bare if w not in TRAIN)
    for role, known in (("step", _STEPS), ("epoch", _EPOCHS)):
        if axis in known:
            return Reading(role, "", known[axis])  # type: ignore[arg-type]
    for other, forms in (
        ("time", _TIMES), ("phase", _PHASES), ("run", _RUNS), ("key", _KEYS), ("value", _VALUES),
    ):  # fmt: skip
        if bare in forms:
            return Reading(other, "", 0)  # type: ignore[arg-type]
    held = [HELD_OUT.index(w) for w in words if w in HELD_OUT]
    split: Split = "held_out" if held else "train" if set(words) & set(TRAIN) else ""
    rest = tuple(w for w in words if w not in HELD_OUT and w not in TRAIN)
    common = {
        "split": split,
        "held_out": min(held, default=0),
        "per_epoch": "epoch" in rest or "epochs" in rest,
        "percent": bool({"%", "pct", "percent"} & set(words)),
        "reinforcement": _reinforcement(rest),
        "adversary": _adversary(rest),
    }
    found = _measure(rest)
    return Reading(role=found[0], rank=found[1], **common) if found else None  # type: ignore[arg-type]


def is_reward(name: str) -> bool:
    """A name of reinforcement learning, whatever it measures."""
    return _reinforcement(words_of(name))


def _measure(words: tuple[str, ...]) -> tuple[Role, int] | None:
    """Role and distance of what a name measures, without its words for the split."""
    bare = tuple(w for w in words if not w.isdigit())
    known = set(bare)
    if known & {"lr", "learningrate"} or {"learning", "rate"} <= known:
        return None if known & {"decay", "scale", "min", "max"} else ("lr", len(words))
    if "gnorm" in known or "gradnorm" in known or ("norm" in known and known & _GRADIENT):
        layered = any(w in ("weight", "bias", "layer", "layers", "kernel") for w in bare)
        limit = known & {"max", "clip"} and not known & {"total", "global"}
        return None if layered or limit else ("grad_norm", len(known - {"total", "global"}))
    if bare in (("total", "norm"), ("global", "norm")):
        return "grad_norm", 3
    if known & {"ppl", "perplexity"}:
        return "perplexity", len(words)
    top = [int(w) for w in words if w.isdigit() and len(w) < 4]
    plain = known - _MEAN - {"top", "rate"}
    if "err" in known or ("error" in known and not known & {"mean", "squared", "absolute"}):
        return ("error", 1) if not plain - {"err", "error"} and top in ([], [1]) else None
    accuracy = [_ACCURACY[w] for w in bare if w in _ACCURACY]
    if accuracy or ("top" in known and top):
        far = 10 * (bool(top) and top[0] > 1)
        extra = len(known - set(_ACCURACY) - _MEAN - {"top"})
        return "accuracy", min(accuracy, default=1) + 2 * extra + far
    losses = [_LOSS[w] for w in bare if w in _LOSS]
    if {"cross", "entropy"} <= known or {"squared", "error"} <= known:
        losses.append(3)
    if losses and not known & _NOT_LOSS:
        return "loss", min(losses) + 2 * len(known - set(_LOSS) - _MEAN)
    return None


def _adversary(words: tuple[str, ...]) -> Literal["critic", "maker", ""]:
    known = set(words)
    if known & {"d", "disc", "discriminator", "dis", "netd"}:
        return "critic"
    return "maker" if known & {"g", "gen", "generator", "netg"} else ""


def _reinforcement(words: tuple[str, ...]) -> bool:
    known = set(words)
    episodes = known & {"rew", "reward", "rewards", "return", "returns"} and known & {
        "ep", "episode", "episodic", "mean", "rollout", "average", "avg"
    }  # fmt: skip
    acting = known & {"policy", "actor", "critic", "vf", "ppo"} and known & {"loss", "losses"}
    return bool(episodes or acting)
