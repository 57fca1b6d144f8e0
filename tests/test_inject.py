"""`sweeper inject` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.cli import main
from tests.conftest import PROGRAMS

HEALTHY = PROGRAMS / "sound.py"


def test_the_diagnosis_is_held_against_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    words = ("inject", "--quiet", "--json", "--study", str(study))
    code = main([*words, "learning_rate=1e-6", str(HEALTHY)])
    told = json.loads(capsys.readouterr().out)
    assert code == 1
    assert told["verdict"] == "failing"
    assert {"flat_loss", "starved_updates"} <= {f["symptom"] for f in told["findings"]}
    injected = told["injected"]
    assert injected["causes"] == ["learning_rate_too_low"]
    assert injected["place"] == 1
    assert injected["sound"]["failing"] is False
    assert injected["sound"]["skill"] > 0.5 > injected["skill"]
    for run in (injected["run"], injected["sound"]["run"]):
        assert (study / run / "signals.jsonl").stat().st_size > 0
    kept = study / "injected" / "learning_rate=1e-06.json"
    assert json.loads(kept.read_text()) == told

    sound = study / injected["sound"]["run"] / "outcome.json"
    before = sound.stat().st_mtime_ns
    assert main([*words[:2], *words[3:], "learning_rate=1.5", str(HEALTHY)]) == 0
    text = capsys.readouterr().out
    assert "Injected: learning_rate=1.5, which is learning_rate_too_high: not named" in text
    assert sound.stat().st_mtime_ns == before, "the sound run is made once"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("learning_rates", str(HEALTHY)), "did you mean 'learning_rate'"),
        (("learning_rate=fast", str(HEALTHY)), "must be a number from"),
        (("no_clip",), "PROGRAM"),
        ((), "FAULT must be named"),
        (("no_clip", str(HEALTHY)), "the program does not clip"),
        (("tiny_batch", str(HEALTHY)), "no DataLoader"),
    ],
)
def test_what_cannot_be_is_one_message(
    words: tuple[str, ...],
    message: str,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = tmp_path_factory.getbasetemp() / "refused"
    assert main(["inject", "--quiet", "--study", str(study), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "faults"]) == 0
    text = capsys.readouterr().out
    assert "learning_rate: multiply every learning rate" in text
    assert "is: class_imbalance" in text
