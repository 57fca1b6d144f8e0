"""Every dataclass that crosses a room's border, and the closed vocabularies.

Rooms, left to right: program, telemetry, detectors, diagnosis, remedies, search, execution,
verification, report. A room imports only from rooms to its left and from this module. Nothing here
imports torch, optuna or pandas.

Shape suffixes: ``T`` optimizer steps, ``S`` sampled steps, ``L`` layers (parameter tensors of two
or more dimensions, in the order of their first forward), ``A`` activation samples, ``M`` watched
modules, ``E`` evaluation phases.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class SweeperError(Exception):
    """Base of every error that the command line turns into one message; exit code 2 unless said."""


class UsageError(SweeperError):
    """The user asked for something that cannot be.

    Rule, offending value and place are in the message.
    """


class ProgramCrashed(SweeperError):
    """The program fails by itself, without any change of ours (exit code 6)."""


class Symptom(StrEnum):
    NON_FINITE = "non_finite"
    DIVERGENCE = "divergence"
    LOSS_SPIKE = "loss_spike"
    OSCILLATION = "oscillation"
    FLAT_LOSS = "flat_loss"
    CHANCE_LEVEL = "chance_level"
    VANISHING_GRADIENT = "vanishing_gradient"
    EXPLODING_GRADIENT = "exploding_gradient"
    STARVED_UPDATES = "starved_updates"
    COLLAPSED_REPRESENTATION = "collapsed_representation"
    DEAD_UNITS = "dead_units"
    SATURATED_UNITS = "saturated_units"
    BAD_INITIAL_LOSS = "bad_initial_loss"
    OVERFITTING = "overfitting"


class Cause(StrEnum):
    LEARNING_RATE_TOO_HIGH = "learning_rate_too_high"
    LEARNING_RATE_TOO_LOW = "learning_rate_too_low"
    SCHEDULE_DECAYS_TOO_FAST = "schedule_decays_too_fast"
    MISSING_WARMUP = "missing_warmup"
    UNBOUNDED_GRADIENT = "unbounded_gradient"
    CLIP_TOO_TIGHT = "clip_too_tight"
    OPTIMIZER_MISMATCH = "optimizer_mismatch"
    SATURATING_ACTIVATION = "saturating_activation"
    DEAD_ACTIVATION = "dead_activation"
    TOO_DEEP_WITHOUT_SHORTCUTS = "too_deep_without_shortcuts"
    MISSING_NORMALISATION = "missing_normalisation"
    BAD_INITIALISATION = "bad_initialisation"
    WEIGHT_DECAY_TOO_STRONG = "weight_decay_too_strong"
    DROPOUT_TOO_STRONG = "dropout_too_strong"
    BATCH_TOO_SMALL = "batch_too_small"
    BATCH_TOO_LARGE = "batch_too_large"
    OVERFITTING = "overfitting"
    INPUTS_NOT_STANDARDISED = "inputs_not_standardised"
    INPUT_OUTLIERS = "input_outliers"
    CLASS_IMBALANCE = "class_imbalance"
    SOFTMAX_BEFORE_LOSS = "softmax_before_loss"
    WRONG_LOSS = "wrong_loss"
    MISSING_ZERO_GRAD = "missing_zero_grad"
    TRAINED_IN_EVAL_MODE = "trained_in_eval_mode"
    FROZEN_PARAMETERS = "frozen_parameters"
    PARAMETERS_NOT_IN_OPTIMIZER = "parameters_not_in_optimizer"
    LABELS_WITHOUT_SIGNAL = "labels_without_signal"
    LABEL_NOISE = "label_noise"
    NON_FINITE_DATA = "non_finite_data"
    CONSTANT_INPUTS = "constant_inputs"
    CODE_FAULT = "code_fault"


INCURABLE = frozenset(
    {
        Cause.LABELS_WITHOUT_SIGNAL,
        Cause.LABEL_NOISE,
        Cause.NON_FINITE_DATA,
        Cause.CONSTANT_INPUTS,
        Cause.CODE_FAULT,
    }
)
"""Causes that no remedy can cure."""

CODE_FAULTS = frozenset(
    {
        Cause.SOFTMAX_BEFORE_LOSS,
        Cause.WRONG_LOSS,
        Cause.MISSING_ZERO_GRAD,
        Cause.TRAINED_IN_EVAL_MODE,
        Cause.FROZEN_PARAMETERS,
        Cause.PARAMETERS_NOT_IN_OPTIMIZER,
    }
)
"""Causes that are faults of the code: one remedy repairs them, others at best mask them."""

Scalar = bool | int | float | str
FixValue = Scalar | Mapping[str, Scalar]
Severity = Literal["info", "warning", "critical"]
Verdict = Literal[
    "healthy", "fixed", "improved", "not_fixable", "inconclusive", "crashed", "failing"
]  # fmt: skip
"""``failing`` is the word of `check`, which searches nothing."""


def jsonable(value: Any) -> Any:
    """Make a value strict JSON: non-finite floats become the strings NaN, Infinity, -Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run: a script with its arguments, a ``-m module``, or ``file.py:function``."""

    kind: Literal["script", "module", "function"]
    name: str
    """Short name for folders and titles: the script's stem, the module, or ``stem.function``."""
    path: Path
    """The source file, absolute."""
    target: str
    """Path, dotted module name, or function name, as the kind demands."""
    argv: tuple[str, ...] = ()
    cwd: Path
    files: tuple[Path, ...] = ()
    """Files of its own that it imports."""

    @property
    def identity(self) -> str:
        """12 hex digits over source text, target, arguments and the files that it imports."""
        text = json.dumps([self.kind, self.target if self.kind != "script" else "", *self.argv])
        digest = hashlib.sha256(self.path.read_bytes() + text.encode())
        for file in self.files:
            digest.update(file.read_bytes() if file.is_file() else b"")
        return digest.hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Fix:
    """A mapping remedy -> value; the empty fix is the baseline."""

    changes: Mapping[str, FixValue] = field(default_factory=dict)

    @property
    def canonical(self) -> str:
        return json.dumps(jsonable(dict(self.changes)), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """10 hex digits of the canonical JSON; names run folders."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:10]

    @property
    def label(self) -> str:
        """Short text for people, such as ``activation=relu, clip_norm=1``."""
        return ", ".join(f"{k}={_short(v)}" for k, v in sorted(self.changes.items())) or "unchanged"


def _short(value: FixValue) -> str:
    if isinstance(value, Mapping):
        return "/".join(
            _short(v) if isinstance(v, str) else f"{k} {_short(v)}" for k, v in value.items()
        )
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class LayerFact:
    """A parameterised module, in the order of first use in the traced forward."""

    name: str
    kind: str
    """Class name, such as Linear, Conv2d, LSTM, Embedding."""
    n_in: int = 0
    n_out: int = 0
    is_output: bool = False
    """Its output reaches the loss through no other weight: the head."""
    followed_by: str = ""
    """First norm or activation that its output meets:
    ``norm``, the activation's name, or nothing."""
    in_attention: bool = False


@dataclass(frozen=True, kw_only=True)
class ActivationSite:
    """A place where the traced forward applied an activation."""

    site: str
    """``module`` sites: the module's path; ``call`` sites: ``path|function|file:line``."""
    kind: Literal["module", "call"]
    function: str
    """Canonical name: relu, sigmoid, tanh, gelu, silu, elu, selu, leaky_relu, softplus, ..."""
    swappable: bool
    reason: str = ""
    """Why it may not be swapped: a gate, the output, inside attention."""


@dataclass(frozen=True, kw_only=True)
class WatchPoint:
    """Where a hidden representation can be seen: the input of ``hook``, a module."""

    layer: str
    """The weight layer that reads the representation (path)."""
    hook: str
    """The module whose first input is watched: that layer, or the dropout before it."""
    function: str
    """Activation that produced it, or nothing."""
    pooled: bool = False
    """The head reads it."""
    swappable: bool = False
    """An activation remedy replaces its activation."""


@dataclass(frozen=True, kw_only=True)
class OptimizerFact:
    name: str
    """Class name, such as SGD."""
    peak_lr: tuple[float, ...]
    """Largest rate of each parameter group:
    seen at a step, or promised by the group (initial_lr, max_lr)."""
    first_lr: float
    last_lr: float
    weight_decay: float
    momentum: float
    n_parameters: int
    n_frozen: int
    """Parameters handed over with requires_grad False."""
    n_without_grad: int
    """Parameters that require a gradient and never had one."""
    n_missing: int
    """Trainable parameters of its models that it does not hold."""
    has_weight_decay: bool = True
    """Its groups have the setting."""
    sparse: bool = False
    """Some of its gradients are sparse (embeddings)."""
    steps: int = 0
    """Steps of its own; several optimizers may step in turns or one after the other."""


@dataclass(frozen=True, kw_only=True)
class LoaderFact:
    index: int
    """Order of construction, stable over runs of one program."""
    batch_size: int | None
    n_samples: int | None
    n_batches: int | None
    trained: bool
    """A backward followed one of its batches."""
    reason: str = ""
    """Why its batch size cannot be changed, or empty."""
    shuffled: bool = False
    drop_last: bool = False


@dataclass(frozen=True, kw_only=True)
class ClipFact:
    kind: Literal["norm", "value"]
    max_norm: float
    norm_type: float
    calls: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the baseline run showed the program to be."""

    task: Literal["classification", "binary", "regression", "language_model", "unknown"] = "unknown"
    loss_function: str = ""
    """Name of the torch.nn.functional loss that trains, or empty."""
    loss_reduction: str = "mean"
    n_classes: int = 0
    class_prior: tuple[float, ...] = ()
    """Shares of the target classes over all training batches seen;
    token shares for language models, descending."""
    target_mean: float = math.nan
    target_variance: float = math.nan
    """Mean squared error of the best constant answer, the mean of each output."""
    target_square: float = math.nan
    """Mean square of the targets: what the answer zero costs."""
    output_activation: str = ""
    """softmax, log_softmax or sigmoid found between the model's head and the loss, or empty."""
    label_min: int = 0
    label_max: int = 0
    head_width: int = 0
    batch_size: int = 0
    """Samples per optimizer step (median)."""
    backwards_per_step: int = 1
    optimizers: tuple[OptimizerFact, ...] = ()
    loaders: tuple[LoaderFact, ...] = ()
    layers: tuple[LayerFact, ...] = ()
    activations: tuple[ActivationSite, ...] = ()
    watch_points: tuple[WatchPoint, ...] = ()
    norms: tuple[str, ...] = ()
    """Paths of normalisation modules."""
    dropout: tuple[float, ...] = ()
    """Rates with which modules, attention and called functions drop; those that are active."""
    n_dropout_calls: int = 0
    """Places where dropout is called as a function; the last entries of ``dropout``."""
    schedulers: tuple[str, ...] = ()
    lr_written_by_program: bool = False
    """The loop puts rates into the parameter groups (be they equal), no scheduler of torch does."""
    clips: tuple[ClipFact, ...] = ()
    grads_zeroed: bool = True
    """Gradients were cleared between steps."""
    trained_in_eval_mode: bool = False
    detached: bool = False
    """backward ran and no parameter of the optimizer ever had a gradient."""
    pretrained: bool = False
    """Weights came from load_state_dict or from_pretrained before training."""
    n_loaded: int = 0
    """Parameters of the models that did; 0 with ``pretrained`` in the facts of older runs: all."""
    compiled: bool = False
    """The program asked for torch.compile (switched off in trials)."""
    with_closure: bool = False
    """It steps with a closure, which computes the gradients inside of the step."""
    steps_in_backward: bool = False
    """Optimizers step inside of the backward pass, each with a part of the gradients."""
    trains_again: bool = False
    """It went on to train another model (folds, an ensemble): the run is its first training."""
    n_parameters: int = 0
    n_frozen: int = 0
    """Parameters of the models with requires_grad False, handed to an optimizer or not."""
    n_roots: int = 0
    """Root models found."""
    steps: int = 0
    """Optimizer steps of the run."""
    finished: bool = False
    """The program ended by itself: ``steps`` is its full length."""
    first_loss: float = math.nan
    """Lowest of the first three training losses of the unchanged program."""
    seconds_per_step: float = math.nan
    start_seconds: float = math.nan
    """From the start of the run to the first optimizer step."""
    input_features: int = 0
    input_dtype: str = ""
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Remedy -> why this program cannot take it, found while it ran."""

    def to_dict(self) -> dict[str, Any]:
        return jsonable(asdict(self))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Facts:
        known = {k: v for k, v in data.items() if k in cls.__dataclass_fields__}
        for name, kind in (
            ("optimizers", OptimizerFact), ("loaders", LoaderFact), ("layers", LayerFact),
            ("activations", ActivationSite), ("clips", ClipFact), ("watch_points", WatchPoint),
        ):  # fmt: skip
            known[name] = tuple(kind(**_floats(item)) for item in known.get(name, ()))
        for name in ("class_prior", "norms", "dropout", "schedulers"):
            known[name] = tuple(known.get(name, ()))
        return cls(**_floats(known))


def _floats(data: Mapping[str, Any]) -> dict[str, Any]:
    special = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    out: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, str):
            value = special.get(value, value)
        elif isinstance(value, list):
            value = tuple(special.get(v, v) if isinstance(v, str) else v for v in value)
        out[key] = value
    return out


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to make: everything a child process needs, as plain data."""

    program: Program
    fix: Fix
    seed: int
    """0 is the program's own seeding; k > 0 shifts every seed the program sets."""
    max_steps: int | None = None
    """Stop after so many optimizer steps of the first optimizer; None runs to the program's end."""
    max_seconds: float | None = None
    """Stop training softly after so many seconds (the baseline's cap)."""
    deadline_seconds: float = 600.0
    """The driver kills the run after this."""
    silence_seconds: float | None = None
    """The driver kills the run after so long without an optimizer step, counted from the first."""
    memory_bytes: int = 0
    """The driver kills the run when it and its processes hold more; 0 is without limit."""
    folder: Path
    """The run folder."""
    facts: Facts | None = None
    """Of the baseline; None in the baseline itself, which is traced."""
    fault: Mapping[str, FixValue] = field(default_factory=dict)
    """Fault -> value, put into the program before it starts; the run is then traced like a baseline
    and ``facts`` are those of the sound program."""
    planned_steps: int | None = None
    """The program's full length, for schedules; None if unknown."""
    stop_when_hopeless: bool = False
    """Trials end early once non-finite for good."""
    rungs: tuple[tuple[int, float], ...] = ()
    """Steps at which the run ends unless it stands at least so high (-inf: goes on however)."""
    compared_by: Literal["", "accuracy", "task_loss"] = ""
    """Series by which it stands at the rungs."""
    contain_files: bool = True
    """False only for ``sweeper run``: there the writes are the user's own."""
    allow_side_effects: bool = False
    """The user has consented to what no containment holds; trials (runs with facts) refuse it
    else."""
    watch: bool = True
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. ``outcome.json`` holds exactly this."""

    status: Literal[
        "finished", "budget", "hopeless", "behind", "program_error", "no_optimizer", "not_applied",
        "deadline", "killed", "out_of_memory", "infrastructure",
    ]  # fmt: skip
    steps: int = 0
    seconds: float = 0.0
    error: str = ""
    """Exception type and message, or the signal; empty when all went well."""
    traceback: str = ""
    exit_code: int = 0
    """What the program itself would have ended with."""
    containment: str = ""
    """Which file containment was on: overlay, redirect, or none."""
    start: Literal["", "fresh", "imports", "prepared"] = ""
    """From where the program was run: in a new process, in one forked after its imports, or in one
    forked after all that its runs have in common. The record is the same."""
    device: str = "cpu"
    longest_gap: float = 0.0
    """Longest seconds without an optimizer step between the first one and the end."""
    standings: tuple[float, ...] = ()
    """At the rungs that the run reached: higher is better, NaN where nothing was measured."""
    peak_memory: int = 0
    """Largest resident size of the process in bytes; 0 for unknown."""
    versions: Mapping[str, str] = field(default_factory=dict)
    applied: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Remedy -> what it confirmed about itself while it ran (counts, classes, values)."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Remedy -> why it could not apply in this run."""
    watch_errors: Sequence[str] = ()
    """Tracebacks of the recorder's own failures: signals may be missing;
    the program was not disturbed."""

    @property
    def ran(self) -> bool:
        """True when there are signals worth judging."""
        return self.status in ("finished", "budget", "hopeless", "behind")


@dataclass(frozen=True, kw_only=True)
class LayerSeries:
    """Per-layer statistics on the sampling schedule."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    """Number of elements of each parameter tensor."""
    step: Floats  # [S]
    grad_norm: (
        Floats  # [S, L] Frobenius norm after unscaling, before clipping; NaN where no gradient
    )
    weight_norm: Floats  # [S, L] before the step
    update_norm: Floats  # [S, L] real change of the parameter over the step
    first_update_sum: Floats  # [S] signed sum of the first layer's change (the sources' own signal)
    adam_below_eps: (
        Floats  # [S, L] share of entries with sqrt(vhat) < 10 eps; NaN when not Adam-like
    )

    @property
    def update_ratio(self) -> Floats:
        """``||W(t+1) - W(t)|| / ||W(t)||``, [S, L]."""
        import numpy as np

        with np.errstate(invalid="ignore", over="ignore"):  # a run that left finite numbers
            result: Floats = self.update_norm / (self.weight_norm + 1e-12)
        return result


@dataclass(frozen=True, kw_only=True)
class ActivationSeries:
    """Statistics of hidden outputs on one batch, on the activation schedule.

    The schedule: start, 10 %, 30 %, end.
    """

    names: tuple[str, ...]
    """Module path or call site."""
    functions: tuple[str, ...]
    """Activation name, or ``pooled`` for the representation the head reads."""
    step: Floats  # [A]
    n_samples: Floats  # [A] rows that the statistics are over
    cosine: Floats  # [A, M] mean pairwise cosine of the rows
    erank: Floats  # [A, M] effective rank, centred
    dead_share: Floats  # [A, M] share of units dead on every row; NaN where it does not apply
    saturated_share: (
        Floats  # [A, M] share of units saturated on > 95 % of rows; NaN where it does not apply
    )


@dataclass(frozen=True, kw_only=True)
class EvalSeries:
    """The program's own evaluation phases (no gradient), as the seams saw them."""

    step: Floats  # [E]
    n: Floats  # [E] samples
    loss: Floats  # [E] NaN where the program computed none
    accuracy: Floats  # [E] NaN where none was seen
    skill: Floats  # [E] accuracy skill over the evaluated prior, or R squared; NaN where unknown
    fresh_share: (
        Floats  # [E] share of the evaluated rows that were never trained on; NaN where unknown
    )
    rare_n: Floats  # [E] samples outside of the commonest class; NaN where unknown
    rare_correct: Floats  # [E] those of them that were answered right


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What the final model makes of its first training batches, dropout off; NaN for unknown."""

    n: int = 0
    """Targets behind it."""
    skill: float = math.nan
    """Over the constant answer of these batches, normalisation as in training."""
    loss: float = math.nan
    eval_skill: float = math.nan
    """The same in eval mode."""
    eval_loss: float = math.nan
    recall: tuple[float, ...] = ()
    """Of each class that occurs, in eval mode."""
    class_counts: tuple[int, ...] = ()
    batch: int = 0
    """Samples of the one batch that was to be learnt by heart from fresh weights; 0 when it was not
    asked (the model had learned) or could not be."""
    batch_skill: float = math.nan
    """Best skill on that batch."""
    batch_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run, read back from its folder (or a foreign log with fewer signals)."""

    folder: Path | None
    fix: Fix
    seed: int
    max_steps: int | None
    outcome: Outcome
    facts: Facts
    steps: Mapping[str, Floats]
    """Series [T], each at every optimizer step, NaN where unknown. Keys: ``step`` (0-based),
    ``loss`` (the trained scalar, accumulation undone), ``task_loss`` (the loss function's mean
    value), ``n`` (samples), ``accuracy`` (of the batch, before its update), ``majority`` (largest
    predicted-class share in the batch), ``r2_error`` (squared error sum, regression), ``fresh_n``,
    ``fresh_correct``, ``fresh_loss`` (only samples never trained on before; fresh_loss is their
    mean loss), ``rare_n``, ``rare_correct`` (samples outside of the commonest class, where classes
    are unequal), ``grad_norm`` (global 2-norm before clipping), ``clipped_norm`` (after), ``lr``
    (in force at the step, first group), ``skipped`` (1 where a GradScaler skipped)."""
    layers: LayerSeries | None
    activations: ActivationSeries | None
    evals: EvalSeries | None
    rows: Literal["steps", "entries", "epochs"] = "steps"
    """What a row of ``steps`` is: an optimizer step that the seams saw; or an entry, or an epoch,
    of a foreign log, whose numbers are in ``step`` and whose facts are mostly unknown."""
    replay: Replay | None = None
    """Of a baseline; None where nothing could be replayed."""

    @property
    def foreign(self) -> bool:
        """Read from a log: what the seams would have seen is unknown, not absent."""
        return self.rows != "steps"

    def series(self, key: str) -> Floats:
        """A per-step series, all NaN when the record lacks it."""
        import numpy as np

        if key in self.steps:
            return self.steps[key]
        n = len(next(iter(self.steps.values()))) if self.steps else 0
        return np.full(n, np.nan)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a detector found."""

    symptom: Symptom
    severity: float
    """0 to 1; 0.5 and above is critical."""
    reason: str
    """One sentence with value, threshold and place."""
    steps: tuple[int, int]
    """First and last step it holds for."""
    layers: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Numbers: at least ``value`` and ``threshold``."""

    @property
    def critical(self) -> bool:
        return self.severity >= 0.5


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A cause with its belief and evidence."""

    cause: Cause
    belief: float
    """0 to 1."""
    reason: str
    remedies: tuple[str, ...] = ()
    """Names of remedies that treat it, most direct first."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def curable(self) -> bool:
        return self.cause not in INCURABLE


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Findings of one run and the hypotheses that explain them, most believed first."""

    findings: tuple[Finding, ...]
    hypotheses: tuple[Hypothesis, ...]
    insufficient: Mapping[str, str] = field(default_factory=dict)
    """Detector -> what data it lacked."""

    @property
    def failing(self) -> bool:
        return any(f.critical for f in self.findings)


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One searchable parameter of a remedy."""

    kind: Literal["float", "int", "choice"]
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    choices: Sequence[Scalar] = ()
    hard_low: float = -math.inf
    hard_high: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether a run is restored, and its score.

    Restored by design: finite and quiet, gradients healthy, learning.
    """

    restored: bool
    score: float
    """Finite, larger is better; skill in [-1, 1] for runs that kept finite,
    below -1 for those that did not."""
    skill: float
    """Share of the way from the constant answer to a perfect one; NaN when the run gave none."""
    metric_name: str
    metric: float
    reasons: tuple[str, ...]
    """Why it is not restored; empty when it is."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """Named graded constraints, <= 0 is satisfied (optuna)."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fix tried in the study (one seed)."""

    number: int
    phase: Literal["baseline", "control", "screening", "joint", "elimination", "verification"]
    fix: Fix
    seed: int
    outcome: Outcome
    judgement: Judgement | None
    """None when there was nothing to judge (crash, not applied)."""
    folder: Path
    not_applied: Mapping[str, str] = field(default_factory=dict)
    """Remedies of the fix whose effect was not confirmed, with reasons."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class VerifiedFix:
    """A fix with its evidence over fresh seeds."""

    fix: Fix
    verified: bool
    restored: int
    seeds: int
    wilson: Interval
    metric_name: str
    metric: Interval
    """Median over seeds with a bootstrap interval."""
    baseline_metric: float
    paired_difference: Interval
    """To the unchanged control at the same seeds."""
    skill: float
    steps: int
    """Training steps spent on one run of it."""
    trials: tuple[Trial, ...] = ()
    necessary: Mapping[str, bool] = field(default_factory=dict)
    """Remedy -> the fix fails without it (leave-one-out)."""
    repairs: str = ""
    """The believed fault of the code that one of its changes repairs, or nothing."""
