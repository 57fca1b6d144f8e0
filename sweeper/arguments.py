"""What can be typed: every command, its options, and where the program's own words begin.

Importing this module loads neither torch nor optuna nor pandas.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper import __version__
from sweeper.units import seconds

COMMANDS_WITH_PROGRAM = ("fix", "check", "run", "inject")
Commands = Mapping[str, Callable[[Any], int]]
"""Name of a command -> what it does with its arguments; returns the exit code."""


def split(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words, then PROGRAM with everything behind it:
    the program's options are never read as ours.
    """
    if not words or words[0] not in COMMANDS_WITH_PROGRAM:
        return list(words), []
    takes_value = _options_with_value(parser, words[0])
    index = 1
    while index < len(words):
        word = words[index]
        if word == "--":
            return list(words[:index]), list(words[index + 1 :])
        if word == "-m" or not word.startswith("-"):
            return list(words[:index]), list(words[index:])
        index += 2 if word in takes_value else 1
    return list(words), []


def _options_with_value(parser: argparse.ArgumentParser, command: str) -> set[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            sub = action.choices[command]
            return {o for a in sub._actions if a.nargs not in (0, "?") for o in a.option_strings}
    return set()


def build_parser(functions: Commands) -> argparse.ArgumentParser:
    """Every command and option, in the order of the help."""
    parser = argparse.ArgumentParser(
        prog="sweeper",
        description="Runs a failing PyTorch training program as it is, says what is wrong, "
        "and proves which changes cure it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sweeper {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _fix(commands)
    _check(commands)
    _inject(commands)
    _run(commands)
    _list(commands)
    _report(commands)
    _nightly(commands)
    _export(commands)
    _status(commands)
    _dashboard(commands)
    _show(commands)
    _copy(commands)
    for name, command in commands.choices.items():
        command.set_defaults(command=functions[name])
    return parser


def _fix(commands: Any) -> None:
    fix = _program_command(commands, "fix", "detect, diagnose, search, verify, rank, report")
    fix.add_argument(
        "--space", metavar="NAME|FILE", help="search space: a shipped name or a TOML file"
    )
    fix.add_argument(
        "--budget", type=duration, default=argparse.SUPPRESS, metavar="10m",
        help="wall clock: seconds, or with s, m, h; `none` for no limit (default 10m)",
    )  # fmt: skip
    fix.add_argument(
        "--trials", type=positive, default=40, metavar="N", help="searching trials (default 40)"
    )
    fix.add_argument(
        "--seeds", type=positive, default=5, metavar="N", help="fresh seeds of a proof (default 5)"
    )
    fix.add_argument(
        "--slots", type=positive, metavar="N", help="runs at once (default: GPUs, else cores)"
    )
    fix.add_argument(
        "--trials-per-gpu", type=positive, default=1, metavar="N",
        help="runs that share a GPU (default 1)",
    )  # fmt: skip
    fix.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS",
        help="make the runs on a Ray cluster: --ray=host:port, --ray=auto, or --ray for this "
        "machine alone",
    )  # fmt: skip
    fix.add_argument(
        "--storage", metavar="URL",
        help="keep the study in a database: postgresql+psycopg://user:password@host/database",
    )  # fmt: skip
    fix.add_argument(
        "--deterministic", action="store_true",
        help="same seed, same ranking for any number of slots: limited by --trials and --steps, "
        "not by the clock",
    )  # fmt: skip


def _check(commands: Any) -> None:
    check = _program_command(commands, "check", "run once, or read a log: findings and causes only")
    check.usage = "sweeper check [OPTIONS] PROGRAM [ARGS...] | LOG"
    check.add_argument(
        "--budget", type=duration, default=None, metavar="60s", help="wall clock of the run"
    )
    check.add_argument(
        "--columns", metavar="ROLE=NAME,...",
        help="columns of a log, where the guess is wrong: loss, accuracy, val_loss, val_accuracy, "
        "lr, grad_norm, step, epoch, run, phase",
    )  # fmt: skip
    check.add_argument("--classes", type=positive, metavar="K", help="classes of a log's task")
    check.add_argument(
        "--task", choices=("classification", "regression", "language_model"), help="a log's task"
    )


def _inject(commands: Any) -> None:
    inject = _program_command(
        commands, "inject", "break a sound program on purpose and diagnose it"
    )
    inject.usage = "sweeper inject [OPTIONS] FAULT[=VALUE] PROGRAM [ARGS...]"
    inject.add_argument(
        "--budget", type=duration, default=None, metavar="60s", help="wall clock of a run"
    )


def _run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="the program in full under a fix",
        allow_abbrev=False,
        usage="sweeper run --fix FILE PROGRAM [ARGS...]",
    )
    run.add_argument(
        "--fix", type=Path, required=True, metavar="FILE", help="a fix file of a report"
    )
    run.add_argument(
        "--seed", type=int, default=0, help="0: the program's own seeds; k: all of them shifted"
    )


def _list(commands: Any) -> None:
    listing = commands.add_parser(
        "list", help="remedies, detectors, causes, faults, spaces, experiments"
    )
    listing.add_argument(
        "what", choices=("remedies", "detectors", "causes", "faults", "spaces", "experiments")
    )
    listing.add_argument(
        "--history", action="store_true", help="with remedies: what cured what in your studies"
    )


def _report(commands: Any) -> None:
    report = commands.add_parser("report", help="make and show the report of a study again")
    report.add_argument("study", type=Path, metavar="STUDY")


def _nightly(commands: Any) -> None:
    nightly = commands.add_parser(
        "nightly", help="every program of a list: check, fix what broke, history, index page"
    )
    nightly.add_argument("list", type=Path, metavar="LIST", help="a nightly.toml")
    nightly.add_argument("--quiet", action="store_true", help="no progress")
    nightly.add_argument(
        "--slots", type=positive, metavar="N", help="runs at once (default: GPUs, else cores)"
    )
    nightly.add_argument(
        "--allow-side-effects", action="store_true",
        help="for every program of the list, as allow_side_effects = true in it",
    )  # fmt: skip


def _export(commands: Any) -> None:
    export = commands.add_parser("export", help="a study's runs for MLflow, W&B or TensorBoard")
    export.add_argument("study", type=Path, metavar="STUDY")
    export.add_argument("dest", type=Path, metavar="DEST", help="a folder; nothing is sent")
    export.add_argument("--to", required=True, metavar="TRACKER", help="mlflow, wandb, tensorboard")


def _status(commands: Any) -> None:
    status = commands.add_parser("status", help="what a running study is doing")
    status.add_argument("study", type=Path, metavar="STUDY")
    status.add_argument("--tail", action="store_true", help="what the running programs print")


def _dashboard(commands: Any) -> None:
    dashboard = commands.add_parser(
        "dashboard", help="optuna-dashboard on a copy of a study, for this machine alone"
    )
    dashboard.add_argument("study", type=Path, metavar="STUDY")
    dashboard.add_argument(
        "--port", type=port, default=8080, metavar="N", help="default 8080; 0 takes a free one"
    )


def _show(commands: Any) -> None:
    show = commands.add_parser(
        "show", help="a fix as a change of the code: a diff where its place is certain",
        allow_abbrev=False, usage="sweeper show [--as code|text] FIX.toml [PROGRAM]",
    )  # fmt: skip
    show.add_argument("fix", type=Path, metavar="FIX.toml", help="a fix file of a report")
    show.add_argument(
        "program", nargs="*", metavar="PROGRAM", help="default: the one that the fix was proven on"
    )
    show.add_argument("-m", dest="module", metavar="MODULE", help="PROGRAM as a module")
    show.add_argument(
        "--as", dest="form", choices=("code", "text"), default="code",
        help="code: a unified diff for `patch -p0` (default); text: advice alone",
    )  # fmt: skip


def _copy(commands: Any) -> None:
    copy = commands.add_parser(
        "copy", help="copy a shipped experiment or space to a place of yours"
    )
    copy.add_argument("name", metavar="NAME")
    copy.add_argument("dest", type=Path, metavar="DEST")


def _program_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, allow_abbrev=False, usage=f"sweeper {name} [OPTIONS] PROGRAM [ARGS...]",
        description=f"{text}. PROGRAM is a path, `-m module` or `file.py:function`; our options "
        "come before it, everything after it belongs to the program.",
    )  # fmt: skip
    parser.add_argument(
        "--study", type=Path, metavar="DIR", help="study folder (default .sweeper/<name>-<hash>)"
    )
    parser.add_argument("--steps", type=positive, metavar="N", help="optimizer steps per run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the study")
    parser.add_argument(
        "--devices", metavar="cuda:0,cuda:2", help="GPUs to use, or cpu (default: every GPU)"
    )
    parser.add_argument("--json", action="store_true", help="the verdict as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument(
        "--no-warm-start", action="store_true", help="a fresh process for every run"
    )
    parser.add_argument(
        "--allow-side-effects", action="store_true",
        help="runs may repeat what no file containment holds: servers, other processes, devices",
    )  # fmt: skip
    return parser


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return value


def port(text: str) -> int:
    """A port, or 0."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {text!r}")
    return int(text)


def duration(text: str) -> float | None:
    """``90``, ``90s``, ``10m``, ``2h`` in seconds; ``none`` is no limit."""
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}") from None
