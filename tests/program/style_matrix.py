"""Styles of training programs against remedies: does each remedy take hold in each style?

``python -m tests.program.style_matrix`` runs every style of `STYLES` unchanged, then under each
remedy at the first value that ``sweeper fix`` would try, and writes ``docs/styles.md``. With the
names of styles behind it, only those rows are made again. A cell is *took hold* (the run shows what
the remedy promises), or the reason why the remedy cannot apply; anything else is a defect. A remedy
that repairs a fault which the program has not is tried after that fault was injected.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.baseline import Baseline, run_baseline
from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.execution.trials import Bench, trial_of
from sweeper.faults import all_faults
from sweeper.inject import run_injected
from sweeper.program.target import parse_program
from sweeper.remedies import all_remedies
from sweeper.types import Fix, FixValue, Job, Outcome, Program, SweeperError

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs" / "styles"
PAGE = ROOT / "docs" / "styles.md"
TOOK_HOLD = "took hold"
ON_BROKEN = "took hold after the fault was injected"
DEFECT = "DEFECT"
VALUES: dict[str, FixValue] = {"clamp_outliers": 1.0}
"""Instead of a remedy's first suggestion: clean data has nothing outside of five."""

FAULTS = {
    "zero_grad": "no_zero_grad", "train_mode": "eval_mode", "unfreeze": "frozen_body",
    "add_missing_parameters": "missing_parameters", "drop_output_softmax": "softmax_output",
    "class_weights": "class_imbalance", "dropout": "dropout", "loss": "wrong_loss",
}  # fmt: skip
"""Remedy -> the fault that it repairs."""

SCHEDULERS = (
    "LambdaLR", "MultiplicativeLR", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR",
    "ExponentialLR", "PolynomialLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR",
    "OneCycleLR", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler", "SWALR",
)  # fmt: skip
OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD", "SparseAdam", "Muon",
)  # fmt: skip


ONE_OBJECT = ("schedulers.py", "optimizers.py")
"""Programs of which there are many that differ in one object only."""


@dataclass(frozen=True)
class Style:
    """One way to write a training program; ``words`` is what follows ``sweeper fix``."""

    name: str
    words: tuple[str, ...]
    faults: bool = True
    """Also inject faults."""

    @property
    def program(self) -> Program:
        return parse_program(self.words, PROGRAMS)


def _styles() -> tuple[Style, ...]:
    lines = {
        "tensors sliced by hand": "tensors_sliced.py",
        "DataLoader": "loaders.py plain",
        "DataLoader with workers": "loaders.py workers",
        "DataLoader with a sampler": "loaders.py sampler",
        "DataLoader with a batch_sampler": "loaders.py batch_sampler",
        "DataLoader without batching": "loaders.py unbatched",
        "DataLoader of an IterableDataset": "loaders.py iterable",
        "several parameter groups, one added later": "parameter_groups.py",
        "rate written by the loop": "loop_rate.py",
        "gradient accumulation": "accumulation.py",
        "autocast": "autocast.py",
        "autocast with GradScaler": "scaler.py",
        "autocast with GradScaler, fused Adam": "scaler.py fused",
        "clip_grad_norm_": "clip_by_program.py norm",
        "clip_grad_value_": "clip_by_program.py value",
        "closure, LBFGS": "closures.py LBFGS",
        "closure, SGD": "closures.py SGD",
        "two models in turns (GAN)": "gan.py",
        "two optimizers, sparse gradients": "two_optimizers.py",
        "one optimizer per parameter, in backward": "backward_hooks.py",
        "frozen body": "frozen.py",
        "head only, eval mode, nothing cleared": "missing_parameters.py",
        "tied weights": "tied_weights.py",
        "lazy layers": "lazy.py",
        "LSTM": "recurrent.py LSTM",
        "GRU": "recurrent.py GRU",
        "RNN": "recurrent.py RNN",
        "LSTMCell in a loop": "recurrent.py cell",
        "packed sequences": "recurrent.py packed",
        "CNN": "cnn.py",
        "torch's transformer": "transformer.py torch",
        "a transformer of its own": "transformer.py own",
        "EmbeddingBag": "embedding_bag.py",
        "activations as functions, own loss": "functional_activations.py",
        "autograd.Function of its own": "custom_function.py",
        "gradient checkpointing, reentrant": "checkpointing.py reentrant",
        "gradient checkpointing": "checkpointing.py plain",
        "-m package.module": "-m package_train.train --width 32",
        "argparse, main guard, sys.exit": "arguments.py --epochs 3 --out model.pt",
        "swallows, signals, prints, tqdm, checkpoints": "unruly.py",
        "several models, one optimizer": "several_models.py",
        "tensors without any module": "raw_tensors.py",
        "module and parameters beside it": "loose_parameter.py",
        "file.py:function": "function_target.py:fit",
        "torch.compile": "compiled.py",
        "optimizer replaced half way": "replaced_optimizer.py",
        "a second model later": "new_model_later.py",
        "patches torch itself": "patches_torch.py",
        "autograd.grad instead of backward": "own_gradients.py",
        "averaged weights (SWA)": "averaged.py swa",
        "averaged weights (EMA)": "averaged.py ema",
        "DataParallel": "wrapped.py data_parallel",
        "device as a context": "wrapped.py device_context",
        "default device": "wrapped.py default_device",
        "DistributedDataParallel, one process": "distributed.py",
        "torch.multiprocessing.spawn, one process": "spawned.py 1",
        "cross-validation": "folds.py",
        "transformers.Trainer, accumulation": "../trainers/hf_trainer.py --accumulate 2",
        "transformers.Trainer, language model": "../trainers/hf_language_model.py",
        "transformers.Trainer, several faults": "../trainers/hf_trainer.py --faulty",
        "accelerate": "../trainers/accelerate_loop.py",
        "accelerate, several faults": "../trainers/accelerate_loop.py --faulty",
        "Lightning": "../trainers/lightning_module.py",
        "Lightning, several faults": "../trainers/lightning_module.py --faulty",
        "weight and spectral normalisation": "parametrized.py",
        "validation first, best copy restored": "own_loops.py",
    }
    lines |= {f"{name}, every batch": f"schedulers.py {name} batch" for name in SCHEDULERS}
    lines |= {f"{name}, every epoch": f"schedulers.py {name} epoch" for name in SCHEDULERS}
    lines |= {f"torch.optim.{name}": f"optimizers.py {name}" for name in OPTIMIZERS}
    lines["optimizer of its own"] = "optimizers.py Lion"
    return tuple(
        Style(name, tuple(line.split()), faults=not line.startswith(ONE_OBJECT))
        for name, line in lines.items()
    )


STYLES = _styles()
COLUMNS = tuple(all_remedies())


@dataclass
class Row:
    """What became of one style."""

    seen: str
    """What the unchanged run showed, in words."""
    cells: dict[str, str] = field(default_factory=dict)
    """Remedy -> took hold, reason, or defect."""


Run = Callable[[Job], Outcome]


def measure(style: Style, folder: Path, run: Run, remedies: Iterable[str] = COLUMNS) -> Row:
    """Run a style unchanged and under each remedy alone."""
    program = style.program
    try:
        baseline = run_baseline(program, folder, run)
    except SweeperError as error:
        return Row(f"{DEFECT}: {_line(error)}", dict.fromkeys(remedies, f"{DEFECT}: no baseline"))
    row = Row(summary(baseline))
    for name in remedies:
        row.cells[name] = cell(name, style, baseline, folder, run)
    return row


def summary(baseline: Baseline) -> str:
    """Steps, layers and activations that were seen; a failed watch is a defect."""
    errors = baseline.trial.outcome.watch_errors
    if errors:
        return f"{DEFECT}: {_line(errors[0], -1)}"
    facts = baseline.facts
    optimizers = " and ".join(sorted({o.name for o in facts.optimizers}))
    return f"{facts.steps} steps by {optimizers}, {len(facts.layers)} layers"


def cell(name: str, style: Style, baseline: Baseline, folder: Path, run: Run) -> str:
    """One remedy alone, from the baseline's facts, as the search would run it."""
    reason = all_remedies()[name].refusal(baseline.facts)
    try:
        if not reason:
            return verdict(name, style.program, baseline, folder, run, {})
        if not style.faults:
            return reason
        return broken(name, style.program, baseline, folder, run) or reason
    except Exception as error:  # of our own: the row goes on
        return f"{DEFECT}: {_line(repr(error))}"


def broken(name: str, program: Program, baseline: Baseline, folder: Path, run: Run) -> str:
    """The same after the fault that the remedy repairs; nothing where there is none."""
    if name not in FAULTS:
        return ""
    fault = all_faults()[FAULTS[name]]
    if fault.refusal(fault.default, baseline.facts):
        return ""
    try:
        ill = run_injected(program, fault, fault.default, baseline, run, folder)
    except SweeperError:  # it does not show in this program
        return ""
    if all_remedies()[name].refusal(ill.facts):
        return ""
    text = verdict(name, program, ill, folder, run, {fault.name: fault.default})
    return ON_BROKEN if text == TOOK_HOLD else text


def verdict(
    name: str,
    program: Program,
    baseline: Baseline,
    folder: Path,
    run: Run,
    fault: Mapping[str, FixValue],
) -> str:
    """Run the remedy at its first value over the whole program, and read its effect."""
    remedy, facts = all_remedies()[name], baseline.facts
    value = VALUES.get(name, remedy.suggest(facts, baseline.diagnosis)[0])
    bench = Bench(
        program=program, study=folder, facts=facts, horizon=None, full=None,
        planned_steps=facts.steps if facts.finished else None, slots=(), run=run,
        cancel=lambda: None,
    )  # fmt: skip
    job = bench.job(Fix(changes={name: value}))
    place = run_folder(folder, job.fix, job.seed, job.max_steps, fault)
    job = dataclasses.replace(job, fault=fault, folder=place)
    trial = trial_of(job, run(job), "screening", 0)
    outcome = trial.outcome
    if name in outcome.refused:
        return outcome.refused[name]
    if not outcome.ran or outcome.watch_errors:
        watching = (*outcome.watch_errors, "")[0]
        return f"{DEFECT}: {outcome.status} {_line(outcome.error or watching, -1)}"
    return f"{DEFECT}: {trial.not_applied[name]}" if trial.not_applied else TOOK_HOLD


def _line(text: object, which: int = 0) -> str:
    """One line of an error, fit for a cell."""
    return (str(text).strip().splitlines() or [""])[which].replace("|", "/")


# -- the page --------------------------------------------------------------------------------------

MARKS = {TOOK_HOLD: "yes", ON_BROKEN: "inj"}
HEAD = """# Styles of training programs

Generated by `python -m tests.program.style_matrix`; not written by hand.

Each row is an ordinary program of `tests/programs/styles/`, run unmodified, then under each remedy
alone at the first value that `sweeper fix` would try for it. `yes`: the run shows what the remedy
promises. `inj`: the same, after the fault that it repairs was injected into the program, which has
it not (programs that differ in their scheduler or optimizer only are left as they are). A number:
the remedy cannot apply, for the reason of that number below, which `sweeper fix` gives too.
"""


def page(rows: Mapping[str, Row]) -> str:
    """The Markdown text of all rows, in the order of `STYLES`."""
    reasons: dict[str, int] = {}
    lines = [
        "| style | seen | " + " | ".join(f"`{c}`" for c in COLUMNS) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for style in STYLES:
        row = rows.get(style.name)
        if row is None:
            continue
        cells = [
            MARKS.get(text) or str(reasons.setdefault(text, len(reasons) + 1))
            for text in (row.cells[c] for c in COLUMNS)
        ]
        lines.append(f"| {style.name} | {row.seen} | " + " | ".join(cells) + " |")
    numbered = [f"{number}. {text}" for text, number in reasons.items()]
    return "\n".join([HEAD, *lines, "", "Reasons:", "", *numbered, ""])


def read_page(text: str) -> dict[str, Row]:
    """The rows of a page, so that some of them can be made again."""
    known = {mark: text for text, mark in MARKS.items()}
    reasons = dict(re.findall(r"^(\d+)\. (.+)$", text, flags=re.MULTILINE))
    table = [line for line in text.splitlines() if line.startswith("| ")]
    if not table:
        return {}
    columns = [c.strip(" `") for c in table[0].strip("|").split(" | ")][2:]
    rows = {}
    for line in table[1:]:
        name, seen, *marks = [c.strip() for c in line.strip("|").split(" | ")]
        cells = [known.get(mark) or reasons[mark] for mark in marks]
        rows[name] = Row(seen, dict(zip(columns, cells, strict=True)))
    return rows


def warm_supervisor() -> Supervisor:
    """A supervisor whose server has imported what the styles import."""
    return Supervisor(parse_program(["arguments.py"], PROGRAMS))


def main(wanted: list[str]) -> int:
    known = {style.name: style for style in STYLES}
    chosen = [s for s in STYLES if not wanted or any(w in (s.name, s.words[0]) for w in wanted)]
    if not chosen:
        print(f"no style is named so; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    runs, defects = warm_supervisor(), 0
    try:
        for style in chosen:
            with tempfile.TemporaryDirectory(prefix="styles-") as folder:
                row = measure(style, Path(folder), runs.run)
            found = {c: t for c, t in {"seen": row.seen, **row.cells}.items() if DEFECT in t}
            held = sum(text in MARKS for text in row.cells.values())
            print(f"{style.name}: {row.seen}; {held} took hold", flush=True)
            for column, text in found.items():
                print(f"    {column}: {text}", flush=True)
            defects += len(found)
            # Read again each time: others may have written other rows meanwhile.
            rows = read_page(PAGE.read_text()) if PAGE.exists() else {}
            PAGE.write_text(page({**rows, style.name: row}))
    finally:
        runs.close()
    return int(defects > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
