"""The commands. Importing this module loads neither torch nor optuna nor pandas."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import __version__
from sweeper.types import Program, ProgramCrashed, SweeperError, UsageError
from sweeper.units import seconds

if TYPE_CHECKING:
    from sweeper.options import Options
    from sweeper.report.study_result import StudyResult

USAGE_ERROR, CRASHED = 2, 6
DEFAULT_BUDGET = 600.0
FIX_CODES = {
    "healthy": 0,
    "fixed": 0,
    "improved": 3,
    "not_fixable": 4,
    "inconclusive": 5,
    "crashed": 6,
}
COMMANDS_WITH_PROGRAM = ("fix", "check", "run", "inject")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    try:
        ours, theirs = split(parser, words)
        arguments = parser.parse_args(ours)
        arguments.words = theirs
        command: Callable[[Any], int] | None = getattr(arguments, "command", None)
        if command is None:
            parser.print_help()
            return 0
        return command(arguments)
    except ProgramCrashed as error:
        if "--json" in words:
            print('{"schema": 1, "verdict": "crashed", "findings": [], "causes": [], "fixes": []}')
        print(f"sweeper: {error}", file=sys.stderr)
        return CRASHED
    except SweeperError as error:
        print(f"sweeper: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("sweeper: interrupted; the same command continues the study", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        from sweeper.execution.jobs import NO_SPACE

        if error.errno not in NO_SPACE:
            raise
        print(
            f"sweeper: results need space to be written, got {error}; free some, and the same "
            f"command continues the study",
            file=sys.stderr,
        )
        return USAGE_ERROR


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


def build_parser() -> argparse.ArgumentParser:
    """Every command and option."""
    parser = argparse.ArgumentParser(
        prog="sweeper",
        description="Runs a failing PyTorch training program as it is, says what is wrong, "
        "and proves which changes cure it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sweeper {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    fix = _program_command(commands, "fix", "detect, diagnose, search, verify, rank, report", _fix)
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

    check = _program_command(
        commands, "check", "run once, or read a log: findings and causes only", _check
    )
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

    inject = _program_command(
        commands, "inject", "break a sound program on purpose and diagnose it", _inject
    )
    inject.usage = "sweeper inject [OPTIONS] FAULT[=VALUE] PROGRAM [ARGS...]"
    inject.add_argument(
        "--budget", type=duration, default=None, metavar="60s", help="wall clock of a run"
    )

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
    run.set_defaults(command=_run)

    listing = commands.add_parser(
        "list", help="remedies, detectors, causes, faults, spaces, experiments"
    )
    listing.add_argument(
        "what", choices=("remedies", "detectors", "causes", "faults", "spaces", "experiments")
    )
    listing.add_argument(
        "--history", action="store_true", help="with remedies: what cured what in your studies"
    )
    listing.set_defaults(command=_list)

    report = commands.add_parser("report", help="make and show the report of a study again")
    report.add_argument("study", type=Path, metavar="STUDY")
    report.set_defaults(command=_report)

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
    nightly.set_defaults(command=_nightly)

    export = commands.add_parser("export", help="a study's runs for MLflow, W&B or TensorBoard")
    export.add_argument("study", type=Path, metavar="STUDY")
    export.add_argument("dest", type=Path, metavar="DEST", help="a folder; nothing is sent")
    export.add_argument("--to", required=True, metavar="TRACKER", help="mlflow, wandb, tensorboard")
    export.set_defaults(command=_export)

    status = commands.add_parser("status", help="what a running study is doing")
    status.add_argument("study", type=Path, metavar="STUDY")
    status.add_argument("--tail", action="store_true", help="what the running programs print")
    status.set_defaults(command=_status)

    dashboard = commands.add_parser(
        "dashboard", help="optuna-dashboard on a copy of a study, for this machine alone"
    )
    dashboard.add_argument("study", type=Path, metavar="STUDY")
    dashboard.add_argument(
        "--port", type=port, default=8080, metavar="N", help="default 8080; 0 takes a free one"
    )
    dashboard.set_defaults(command=_dashboard)

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
    show.set_defaults(command=_show)

    copy = commands.add_parser(
        "copy", help="copy a shipped experiment or space to a place of yours"
    )
    copy.add_argument("name", metavar="NAME")
    copy.add_argument("dest", type=Path, metavar="DEST")
    copy.set_defaults(command=_copy)
    return parser


def _program_command(
    commands: Any, name: str, text: str, function: Callable[[Any], int]
) -> argparse.ArgumentParser:
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
    parser.set_defaults(command=function)
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


def _program(arguments: Any) -> Program:
    from sweeper.program.target import parse_program

    return parse_program(arguments.words)


def _options(arguments: Any, program: Program) -> Options:
    from sweeper.options import Options
    from sweeper.study import default_folder

    return Options(
        program=program,
        study=(arguments.study or default_folder(program)).absolute(),
        steps=arguments.steps,
        seed=arguments.seed,
        warm=not arguments.no_warm_start,
        allow_side_effects=arguments.allow_side_effects,
        budget=_budget(arguments),
        devices=arguments.devices,
        **({
            "space": arguments.space, "trials": arguments.trials, "seeds": arguments.seeds,
            "slots": arguments.slots, "trials_per_gpu": arguments.trials_per_gpu,
            "deterministic": arguments.deterministic, "storage": arguments.storage,
            "ray": arguments.ray,
        } if hasattr(arguments, "space") else {}),
    )  # fmt: skip


def _budget(arguments: Any) -> float | None:
    """Seconds; a deterministic study knows no clock."""
    given = getattr(arguments, "budget", DEFAULT_BUDGET)
    if not getattr(arguments, "deterministic", False):
        return given
    if hasattr(arguments, "budget") and given is not None:
        raise UsageError(
            f"--deterministic is limited by --trials and --steps, not by the clock, "
            f"got --budget {given:g}"
        )
    return None


def _fix(arguments: Any) -> int:
    from sweeper.remediate import remediate
    from sweeper.report.files import write_report
    from sweeper.report.terminal import make_progress, print_result
    from sweeper.status import LiveView, StatusFile

    options = _options(arguments, _program(arguments))
    view = LiveView(options)
    with make_progress(quiet=arguments.quiet, below=view.lines) as progress:
        result = remediate(options, view.of(StatusFile(progress, options.study)))
    folder = write_report(result, options.study)
    if arguments.json:
        print((folder / "verdict.json").read_text(), end="")
    else:
        print_result(result, folder)
    return FIX_CODES[result.verdict]


def _check(arguments: Any) -> int:
    from sweeper.report.files import verdict_text
    from sweeper.report.terminal import print_check

    result = _check_log(arguments) or _check_program(arguments)
    if arguments.json:
        print(verdict_text(result), end="")
    else:
        print_check(result)
    return 0 if result.verdict == "healthy" else 1


def _check_program(arguments: Any) -> StudyResult:
    from sweeper.remediate import check
    from sweeper.report.terminal import make_progress

    options = _options(arguments, _program(arguments))
    with make_progress(quiet=arguments.quiet) as progress:
        return check(options, progress)


def _check_log(arguments: Any) -> StudyResult | None:
    """The result of a log; None when the words name a program."""
    from sweeper.logs import LogRequest, check_log

    request = LogRequest.of(
        arguments.words, columns=arguments.columns, classes=arguments.classes, task=arguments.task
    )
    if request is None:
        return None
    for option in ("study", "steps", "budget"):
        if getattr(arguments, option) is not None:
            raise UsageError(
                f"--{option} is for programs, got it with the log {arguments.words[0]!r}"
            )
    return check_log(request)


def _inject(arguments: Any) -> int:
    import json

    from sweeper.inject import inject, place_of
    from sweeper.report.terminal import make_progress, print_check

    if not arguments.words:
        raise UsageError("FAULT must be named before PROGRAM, got none; see `sweeper list faults`")
    text, *arguments.words = arguments.words
    options = _options(arguments, _program(arguments))
    with make_progress(quiet=arguments.quiet) as progress:
        injected = inject(options, text, progress)
    if arguments.json:
        print(json.dumps(injected.data(), indent=1))
    else:
        print_check(injected.result)
        for line in injected.lines:
            print(line)
        print(f"Kept in {place_of(options.study, injected.fault, injected.value)}")
    return 0 if injected.result.verdict == "healthy" else 1


def _run(arguments: Any) -> int:
    from sweeper.apply import run_under_fix

    return run_under_fix(_program(arguments), arguments.fix, arguments.seed)


def _list(arguments: Any) -> int:
    from sweeper.catalogue import history_lines, lines

    if arguments.history and arguments.what != "remedies":
        raise UsageError(f"--history belongs to `list remedies`, got `list {arguments.what}`")
    if arguments.history:
        print("\n".join(history_lines()))
        return 0
    for line in lines(arguments.what):
        print(line)
    return 0


def _report(arguments: Any) -> int:
    from sweeper.report.files import write_report
    from sweeper.reread import reread

    study = arguments.study.absolute()
    folder = write_report(reread(study), study)
    print((folder / "ranking.md").read_text(), end="")
    print(f"\nPage: {folder / 'report.html'}")
    return 0


def _nightly(arguments: Any) -> int:
    from dataclasses import replace

    from sweeper.nightly import default_options, nightly
    from sweeper.nightly_list import read_list
    from sweeper.notify import notify
    from sweeper.report.nightly_terminal import print_nightly
    from sweeper.report.terminal import make_progress

    names = read_list(arguments.list)
    with make_progress(quiet=arguments.quiet) as progress:
        notify(names, (), progress.message)  # what it lacks is said before the night
        found = nightly(
            names, progress,
            options=lambda entry, study: replace(
                default_options(entry, study), slots=arguments.slots,
                allow_side_effects=entry.allow_side_effects or arguments.allow_side_effects,
            ),
        )  # fmt: skip
        notify(names, found.changes, progress.message)
    print_nightly(found.lines, found.changes, found.page)
    return 1 if found.failing else 0


def _export(arguments: Any) -> int:
    from sweeper.export import export
    from sweeper.reread import reread

    study = arguments.study.absolute()
    count = export(reread(study), study, arguments.to, arguments.dest)
    print(f"{count} runs in {arguments.dest}")
    return 0


def _status(arguments: Any) -> int:
    from sweeper.status import status_lines

    for line in status_lines(arguments.study, tail=arguments.tail):
        print(line)
    return 0


def _dashboard(arguments: Any) -> int:
    from sweeper.dashboard import say, serve

    serve(arguments.study.absolute(), arguments.port, say)
    return 0


def _show(arguments: Any) -> int:
    from sweeper.show import shown

    words = ["-m", arguments.module] if arguments.module else arguments.program
    print(shown(arguments.fix, words, arguments.form), end="")
    return 0


def _copy(arguments: Any) -> int:
    from sweeper.catalogue import copy_shipped

    print(copy_shipped(arguments.name, arguments.dest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
