from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sweeper.report.terminal import Live, make_progress, print_check, print_result, trial_line
from sweeper.types import Outcome
from tests.report.builders import study_result, trial


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_result_names_everything_a_person_needs(tmp_path: Path) -> None:
    stream = io.StringIO()
    print_result(study_result(tmp_path), tmp_path / "report", Console(file=stream, width=200))
    text = stream.getvalue()
    for part in (
        "train: fixed",
        "flat_loss",
        "saturating_activation",
        "normalisation=batch",
        "5/5",
        "2/5 not verified",
        "0.955 (0.945 to 0.965)",
        "batch_size: the program slices tensors itself",
        "report/fix-1.toml",
    ):
        assert part in text, part
    assert text.index("normalisation=batch") < text.index("learning_rate=0.1, normalisation=batch")


def test_check_shows_no_fixes(tmp_path: Path) -> None:
    stream = io.StringIO()
    print_check(study_result(tmp_path, verdict="failing"), Console(file=stream, width=200))
    assert "flat_loss" in stream.getvalue()
    assert "Fixes" not in stream.getvalue()


def test_markup_in_reasons_is_text(tmp_path: Path) -> None:
    stream = io.StringIO()
    result = study_result(tmp_path, verdict_reason="[red]layers[0][/red] [/]", notes=("[bold]",))
    print_result(result, tmp_path / "report", Console(file=stream, width=200))
    assert "[red]layers[0][/red] [/]" in stream.getvalue()


def test_plain_lines_go_to_stderr_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress(quiet=False) as progress:
        progress.phase("screening")
        progress.phase("screening")
        progress.trial_started("activation=relu")
        progress.trial_done(trial(tmp_path, {"activation": "relu"}, metric=0.956, restored=True))
        progress.message("horizon: 360 steps")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split("] ", 1)[1] for line in captured.err.splitlines()] == [
        "screening ...",
        "run 1, screening activation=relu: restored, accuracy 0.956",
        "horizon: 360 steps",
    ]


def test_quiet_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress(quiet=True) as progress:
        progress.phase("joint")
        progress.trial_started("x")
        progress.trial_done(trial(tmp_path, {}))
        progress.message("x")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_live_on_a_terminal(tmp_path: Path) -> None:
    screen = Screen()
    with make_progress(quiet=False, stream=screen) as progress:
        assert isinstance(progress, Live)
        progress.phase("joint")
        progress.trial_started("init=[kaiming]")
        progress.trial_done(trial(tmp_path, {"init": "kaiming"}, metric=0.9, restored=True))
        progress.message("half way [/]")
    assert "screening init=kaiming: restored, accuracy 0.9" in screen.getvalue()
    assert "half way [/]" in screen.getvalue()


def test_trial_line_tells_apart_the_ways_to_end(tmp_path: Path) -> None:
    missing = trial(tmp_path, {"clip_norm": 1.0}, not_applied={"clip_norm": "never called"})
    dead = trial(
        tmp_path, {}, judgement=None, outcome=Outcome(status="killed", error="SIGKILL"), seed=3
    )
    assert trial_line(missing) == "screening clip_norm=1: not applied (never called)"
    assert trial_line(dead) == "screening unchanged (seed 3): killed SIGKILL"
    assert "not restored (learning: no better than chance)" in trial_line(trial(tmp_path, {}))


def test_trial_line_is_one_line_whatever_the_error(tmp_path: Path) -> None:
    error = "UnpicklingError: \x1b[1mload failed\x1b[0m " + "x" * 400 + "\n\t(1) in detail"
    line = trial_line(
        trial(tmp_path, {}, judgement=None, outcome=Outcome(status="program_error", error=error))
    )
    assert "UnpicklingError: load failed xxx" in line and line.endswith("x...")
    assert "\n" not in line and len(line) < 250
