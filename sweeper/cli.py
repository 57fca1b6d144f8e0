"""What the commands do. Importing this module loads neither torch nor optuna nor pandas."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sweeper.arguments import build_parser, split
from sweeper.types import Program, ProgramCrashed, SweeperError, UsageError

if TYPE_CHECKING:
    from sweeper.options import Options
    from sweeper.report.study_result import StudyResult

USAGE_ERROR, CRASHED = 2, 6
INTERRUPTED = 130
NO_READER = 141
"""As a shell tells SIGPIPE: output went to a pipe that nobody reads any more. No verdict."""
DEFAULT_BUDGET = 600.0
FIX_CODES = {
    "healthy": 0,
    "fixed": 0,
    "improved": 3,
    "not_fixable": 4,
    "inconclusive": 5,
    "crashed": 6,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_outputs()
    parser = build_parser(COMMANDS)
    try:
        ours, theirs = split(parser, words)
        arguments = parser.parse_args(ours)
        arguments.words = theirs
        command: Callable[[Any], int] | None = getattr(arguments, "command", None)
        if command is None:
            parser.print_help()
            return 0
        code = command(arguments)
        sys.stdout.flush()
        return code
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
        return INTERRUPTED
    except BrokenPipeError:
        _open_outputs(again=True)
        return NO_READER
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


def _open_outputs(*, again: bool = False) -> None:
    """Let what cannot be written anywhere go nowhere: with ``>&-`` there is no stream at all, and
    what is left in one whose reader went away would be tried once more at exit. Names that the
    terminal's encoding does not know are shown with escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if again or stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


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


COMMANDS: Final[Mapping[str, Callable[[Any], int]]] = {
    "fix": _fix,
    "check": _check,
    "inject": _inject,
    "run": _run,
    "list": _list,
    "report": _report,
    "nightly": _nightly,
    "export": _export,
    "status": _status,
    "dashboard": _dashboard,
    "show": _show,
    "copy": _copy,
}


if __name__ == "__main__":
    sys.exit(main())
