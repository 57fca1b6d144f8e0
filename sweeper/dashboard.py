"""``sweeper dashboard STUDY``: optuna-dashboard on a copy of the study, for this machine alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from sweeper.report.study_result import StudyResult
from sweeper.report.words import clipped, number, plain
from sweeper.reread import reread
from sweeper.search.exported import annotate, application, exported
from sweeper.types import Trial, UsageError

HOST = "127.0.0.1"
NAMES = {HOST, "localhost"}
LONGEST = 500


def serve(study: Path, port: int, told: Callable[[str], None]) -> None:
    """Serve until interrupted; ``told`` gets the address.

    Args:
        port: 0 takes any that is free.

    Raises:
        UsageError: not a study, nothing was run, no dashboard is installed, or the port is taken.
    """
    result = reread(study)
    if not result.trials:
        raise UsageError(f"STUDY must hold a finished run, got none in {study}")
    copy = exported(result.trials, clipped(f"{result.program.name} ({study.name})", 100))
    notes = {i: trial_note(t, study) for i, t in enumerate(result.trials)}
    annotate(copy, notes, study_note(result, study))
    try:
        server = make_server(HOST, port, only_here(application(copy)), Server, Quiet)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port must be one that is free, got {port}: {error}") from None
    with server:
        told(f"http://{HOST}:{server.server_port}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            told("ended")


def trial_note(trial: Trial, study: Path) -> str:
    """What a run was and where its record lies, in Markdown."""
    folder = study / "runs" / trial.folder.name
    lines = [f"**{_safe(trial.fix.label)}** ({trial.phase}, seed {trial.seed})", ""]
    judged = trial.judgement
    if trial.not_applied:
        lines += [
            f"- not applied: {_safe(f'{plain(k)}: {v}')}" for k, v in trial.not_applied.items()
        ]
    elif judged is not None:
        lines.append(f"- {'restored' if judged.restored else 'not restored'}")
        lines.append(f"- {plain(judged.metric_name)}: {number(judged.metric)}")
        lines += [f"- {_safe(reason)}" for reason in judged.reasons]
    if trial.outcome.error:
        lines.append(f"- {_safe(trial.outcome.error)}")
    return "\n".join([*lines, "", f"Run folder: [{folder.name}]({folder.as_uri()}) in `{folder}`"])


def study_note(result: StudyResult, study: Path) -> str:
    """Verdict and report, in Markdown."""
    page = study / "report" / "report.html"
    lines = [
        f"**{_safe(result.program.name)}: {plain(result.verdict)}**", "",
        _safe(result.verdict_reason), "", result.unfinished, "",
        "A copy of the study as it was when this was started: what is changed here stays here.",
    ]  # fmt: skip
    if page.is_file():
        lines += ["", f"Report: [{page.name}]({page.as_uri()}) in `{page}`"]
    return "\n".join(lines)


def _safe(text: str) -> str:
    """One line without markup: names and messages come from the program."""
    line = clipped(text, LONGEST)
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#!|~$" else c for c in line)


class Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at once; ends with its process."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """Logs errors alone."""

    def log_request(self, *arguments: object) -> None: ...


def only_here(inner: Any) -> Any:
    """Refuse what a browser asks under another name than this machine's: a web page may point its
    own name here and read what the dashboard answers (DNS rebinding)."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_HOST", "").rpartition(":")[0] not in NAMES:
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"only for this machine\n"]
        answer: Iterable[bytes] = inner(environ, start)
        return answer

    return application


def say(text: str) -> None:
    """A line that is there at once, also in a pipe."""
    print(text, file=sys.stdout, flush=True)
