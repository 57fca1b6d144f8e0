"""`sweeper check LOG`: silent on sound logs, right on failing ones, plain about what is unknown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sweeper.cli import main
from tests.conftest import Runner
from tests.telemetry.foreign_logs import Floats, check, critical, csv_text, falling, flat, write

N = 200
STEPS = range(N)


def log(folder: Path, **columns: object) -> Path:
    return write(folder / "log.csv", csv_text({"step": STEPS, **columns}))  # type: ignore[dict-item]


def noisy(center: Floats | float, spread: float = 0.02, seed: int = 2) -> Floats:
    rng = np.random.default_rng(seed)
    return np.clip(center + spread * rng.standard_normal(N), 0, 1)


def symptoms(path: Path, **hints: object) -> set[str]:
    return critical(check(path, **hints))


def test_sound_courses_are_silent(tmp_path: Path) -> None:
    sound = falling(N)
    assert not symptoms(log(tmp_path, loss=sound))
    assert not symptoms(log(tmp_path, loss=sound, accuracy=noisy(1 - sound / 2.6)))
    assert not symptoms(log(tmp_path, loss=sound, grad_norm=flat(1.0, N, 0.3)))
    assert not symptoms(log(tmp_path, loss=sound), classes=10)
    assert not symptoms(log(tmp_path, loss=-sound))


def test_guessing_is_found_by_loss_and_accuracy_together(tmp_path: Path) -> None:
    guessing = log(tmp_path, loss=flat(np.log(10), N), acc=noisy(0.1))
    assert symptoms(guessing) == {"chance_level", "flat_loss"}
    assert check(guessing).facts.n_classes == 10


def test_small_skill_among_unequal_classes_is_no_learning(tmp_path: Path) -> None:
    """At 1/K and ln K a log shows that nothing was learned; a little above, the classes may be
    unequal, and only a loss that stood still from early on tells."""
    loss = np.where(np.arange(N) < 20, np.linspace(1.79, 1.6, N), 1.62) + 0.01 * noisy(0.0, 1.0)
    still = log(tmp_path, loss=loss, acc=noisy(0.27))
    assert "flat_loss" in symptoms(still, classes=6)
    moving = log(tmp_path, loss=np.linspace(1.79, 1.45, N), acc=noisy(np.linspace(0.17, 0.4, N)))
    assert not symptoms(moving, classes=6)


def test_loss_alone(tmp_path: Path) -> None:
    """A slow but certain fall may be a fine-tuned model; none at all, or one at ln 10, may not."""
    down = np.linspace(1.21, 1.17, N) + 0.005 * noisy(0.0, 1.0)
    slow = check(log(tmp_path, loss=down))
    assert slow.verdict == "healthy"
    assert [f.symptom for f in slow.diagnosis.findings] == ["flat_loss"]
    assert symptoms(log(tmp_path, loss=flat(1.21, N))) == {"flat_loss"}
    at_ten = np.linspace(2.31, 2.29, N) + 0.001 * noisy(0.0, 1.0)
    assert symptoms(log(tmp_path, loss=at_ten)) == {"flat_loss"}


def test_losses_that_do_not_measure(tmp_path: Path) -> None:
    for names in (("Loss_D", "Loss_G"), ("rollout/ep_rew_mean", "train/loss")):
        columns = dict.fromkeys(names, flat(0.7, N, 0.2))
        result = check(log(tmp_path, **columns))
        assert result.verdict == "healthy"
        assert any("say nothing" in n or "does not measure" in n for n in result.notes)
        columns[names[1]] = columns[names[0]] = np.where(np.arange(N) < 90, 0.7, np.nan)
        assert "non_finite" in symptoms(log(tmp_path, **columns))


def test_divergence_and_its_cause(tmp_path: Path) -> None:
    away = np.concatenate([np.full(20, 2.3), 2.3 * np.exp(np.arange(N - 20) / 40)])
    result = check(log(tmp_path, loss=away, lr=[3.0] * N))
    assert "divergence" in critical(result)
    first = result.diagnosis.hypotheses[0]
    assert first.cause == "learning_rate_too_high"
    assert first.belief > 0.6
    assert "the rate is 3" in first.reason
    assert first.remedies[0] == "learning_rate"


def test_spent_schedule_is_the_cause(tmp_path: Path) -> None:
    rates = 0.1 * 0.9 ** np.arange(N)
    result = check(log(tmp_path, loss=flat(2.303, N), acc=noisy(0.1), lr=rates))
    assert result.diagnosis.hypotheses[0].cause == "schedule_decays_too_fast"


def test_reasons_claim_nothing_that_a_log_cannot_show(tmp_path: Path) -> None:
    norm = np.where(np.arange(N) < 80, 1.0, 1e5)
    loss = np.where(np.arange(N) < 90, 2.3, np.nan)
    result = check(log(tmp_path, loss=loss, grad_norm=norm))
    reasons = [h.reason for h in result.diagnosis.hypotheses]
    assert "the log does not say that it is clipped" in " ".join(reasons)
    assert not any("nothing clips it" in r or "nan" in r or "with  " in r for r in reasons)


def test_gradients_of_a_loss_scaler_are_no_failure(tmp_path: Path) -> None:
    norm: list[object] = [1.0] * N
    norm[:3] = ["inf"] * 3
    norm[100] = "nan"
    assert not symptoms(log(tmp_path, loss=falling(N), grad_norm=norm))
    norm[150:] = ["nan"] * 50
    assert "non_finite" in symptoms(log(tmp_path, loss=falling(N), grad_norm=norm))


def epochs(folder: Path, n: int = 15, **columns: object) -> Path:
    return write(folder / "epochs.csv", csv_text({"epoch": range(n), **columns}))  # type: ignore[dict-item]


def test_few_epochs(tmp_path: Path) -> None:
    right = np.linspace(0.4, 0.9, 15)
    sound = epochs(tmp_path, loss=falling(15, 1.5, 0.3), acc=right, val_acc=right - 0.05)
    assert not symptoms(sound)
    chance = epochs(tmp_path, loss=flat(2.303, 15, 1e-4), acc=flat(0.1, 15), val_acc=[0.1] * 15)
    assert symptoms(chance) == {"chance_level", "flat_loss"}
    away = epochs(tmp_path, loss=2.3 * np.exp(np.arange(15) / 5))
    assert "divergence" in symptoms(away)
    short = check(epochs(tmp_path, 4, loss=[2.3, 2.3, 2.3, 2.3]))
    assert short.verdict == "healthy"
    assert short.diagnosis.insufficient["flat_loss"] == "4 finite losses, 6 needed"
    assert "too little data" in short.verdict_reason


def test_accuracy_that_turns_back_in_every_epoch(tmp_path: Path) -> None:
    """AUTOTRAINER's rule: more than 0.03 in more than a fifth of the epochs."""
    up_and_down = 0.3 + 0.02 * (-1.0) ** np.arange(20)
    for swing, found in ((0.74, False), (0.76, True)):
        acc = 0.3 + swing * (up_and_down - 0.3)
        result = check(epochs(tmp_path, 20, loss=flat(1.2, 20), acc=acc), task="regression")
        names = {f.symptom.value for f in result.diagnosis.findings}
        assert ("oscillation" in names) == found


def test_overfitting_without_a_known_number_of_classes(tmp_path: Path) -> None:
    n = 20
    columns = {"loss": falling(n, 1.0, 0.01), "acc": np.linspace(0.6, 1.0, n)}
    assert not symptoms(epochs(tmp_path, n, **columns, val_acc=[0.75] * n))
    result = check(epochs(tmp_path, n, **columns, val_acc=[0.4] * n))
    assert critical(result) == {"overfitting"}
    assert result.diagnosis.hypotheses[0].cause == "overfitting"


def test_sum_of_losses_is_not_compared_with_the_logarithm(tmp_path: Path) -> None:
    loss = falling(N, 41.0, 20.0)
    result = check(log(tmp_path, loss=loss), classes=65, task="language_model")
    assert result.verdict == "healthy"
    assert any("a sum, or a bad start" in note for note in result.notes)


def test_real_runs_in_every_format(run: Runner, tmp_path: Path) -> None:
    """The signals of a failing program and of the same one cured, written as other tools do."""
    done = {
        "failing": run("low_rate").record,
        "healthy": run("low_rate", {"learning_rate": 0.1}).record,
    }
    for verdict, record in done.items():
        columns = {
            "train/loss": record.series("loss"), "train/acc": 100 * record.series("accuracy"),
            "lr": record.series("lr"), "gnorm": record.series("grad_norm"),
        }  # fmt: skip
        n = len(record.series("loss"))
        rows = [{"iter": i, **{k: float(v[i]) for k, v in columns.items()}} for i in range(n)]
        table = {"iter": range(n), **columns}
        for path in (
            write(tmp_path / "a.csv", csv_text(table)),
            write(tmp_path / "b.csv", csv_text(table, ";").replace(".", ",")),
            write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows))),
            write(tmp_path / "trainer_state.json", json.dumps({"log_history": rows})),
        ):
            result = check(path)
            assert result.verdict == verdict, path.name
            assert result.facts.n_classes == 3
        if verdict == "failing":
            assert {"chance_level", "flat_loss"} == critical(result)
            assert result.diagnosis.hypotheses[0].cause == "learning_rate_too_low"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound, failing = log(tmp_path / "a", loss=falling(N)), log(tmp_path / "b", loss=flat(1.2, N))
    assert main(["check", str(sound)]) == 0
    shown = capsys.readouterr().out
    assert "healthy" in shown
    assert "loss = 'loss' (200)" in shown
    assert "chance_level: no accuracy" in shown
    assert main(["check", "--json", str(failing)]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["verdict"] == "failing"
    assert [f["symptom"] for f in verdict["findings"]] == ["flat_loss"]
    program = verdict["program"]
    assert program["kind"] == "log"
    assert program["path"] == str(failing.absolute())
    assert program["columns"] == {"loss": "loss", "step": "step"}
    assert len(program["identity"]) == 12
    left = sorted(p.name for p in tmp_path.rglob("*"))
    assert left == ["a", "b", "log.csv", "log.csv"], "a check of a log writes nothing"


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--columns", "loss=trian", "LOG"], "did you mean"),
        (["--columns", "lss=train", "LOG"], "did you mean loss"),
        (["--classes", "1", "LOG"], "at least 2"),
        (["--steps", "5", "LOG"], "--steps is for programs"),
        (["--study", "x", "LOG"], "--study is for programs"),
        (["LOG", "--json"], "options come before it"),
        (["--columns", "loss=x", "PROGRAM"], "--columns is for logs"),
        (["MISSING"], "file that exists"),
        (["EMPTY"], "an empty file"),
    ],
)
def test_usage_errors(
    words: list[str], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "LOG": write(tmp_path / "a.csv", csv_text({"step": STEPS, "train": falling(N)})),
        "PROGRAM": write(tmp_path / "a.py", "print()"),
        "EMPTY": write(tmp_path / "b.csv", ""),
        "MISSING": tmp_path / "c.csv",
    }
    assert main(["check", *(str(places.get(w, w)) for w in words)]) == 2
    error = capsys.readouterr().err
    assert rule in error
    assert len(error.strip().splitlines()) == 1


def test_other_commands_name_the_one_that_reads_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.csv", csv_text({"step": STEPS, "loss": falling(N)}))
    assert main(["fix", str(path)]) == 2
    assert "`sweeper check`" in capsys.readouterr().err
