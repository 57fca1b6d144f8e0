"""What a program says of its own answers outside of torch's losses and comparisons."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Runner

TRAINING = """
import numpy as np
import torch
from sklearn import metrics
from sklearn.metrics import balanced_accuracy_score, r2_score
torch.manual_seed(0)
x = torch.randn(900, 5)
y = {target}
model = torch.nn.Linear(5, {outputs})
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for epoch in range(3):
    for i in range(0, 600, 30):
        loss = torch.nn.functional.{loss}(model(x[i : i + 30]), y[i : i + 30])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
with torch.no_grad():
    parts = [model(x[i : i + 100]) for i in range(600, 900, 100)]
out, true = torch.cat(parts), y[600:]
print("final", {score})
"""
CLASSES = {
    "target": "(x[:, 0] + 0.3 * torch.randn(900) > 0).long()", "outputs": 2,
    "loss": "cross_entropy",
}  # fmt: skip
VALUES = {"target": "x[:, :1] + 0.3 * torch.randn(900, 1)", "outputs": 1, "loss": "mse_loss"}


def printed(output: str) -> float:
    return float(output.split("final")[1].split()[0])


@pytest.mark.parametrize(
    "score",
    [
        "(out.argmax(1) == true).float().mean().item(), balanced_accuracy_score(true, [0] * 300)",
        "metrics.accuracy_score(true.numpy(), out.argmax(1).numpy())",
        "metrics.accuracy_score(y_true=true, y_pred=np.asarray(out.argmax(1)))",
    ],
)
def test_accuracy(run: Runner, tmp_path: Path, score: str) -> None:
    program = tmp_path / "train.py"
    program.write_text(TRAINING.format(**CLASSES, score=score))
    done = run(program)
    assert done.outcome.watch_errors == ()
    evals = done.record.evals
    assert evals is not None and evals.n.tolist() == [300.0]
    assert evals.accuracy[0] == pytest.approx(printed(done.output))
    assert 0.8 < evals.accuracy[0] < 1.0


@pytest.mark.parametrize("imported", ["roc_auc_score", "balanced_accuracy_score"])
def test_scores_tell_the_labels(run: Runner, tmp_path: Path, imported: str) -> None:
    given = "out.softmax(1)[:, 1]" if imported == "roc_auc_score" else "out.argmax(1)"
    program = tmp_path / "train.py"
    program.write_text(TRAINING.format(**CLASSES, score=f"metrics.{imported}(true, {given})"))
    done = run(program)
    assert done.outcome.watch_errors == ()
    assert done.record.evals is not None
    assert 0.8 < done.record.evals.accuracy[0] < 1.0


DIFFERENCE = """
with torch.no_grad():
    wrong = {answer} - true
print("final", 1 - (wrong**2).mean().item() / true.var(unbiased=False).item())
"""


@pytest.mark.parametrize("how", ["score", "model(x[600:])", "out", "(-0.5 * true)"])
def test_a_regression(run: Runner, tmp_path: Path, how: str) -> None:
    program = tmp_path / "train.py"
    text = TRAINING.format(**VALUES, score="r2_score(true, out)")
    if how != "score":
        text = text.rpartition("print")[0] + DIFFERENCE.format(answer=how)
    program.write_text(text)
    done = run(program)
    assert done.outcome.watch_errors == ()
    if how.startswith("(-"):
        assert done.record.evals is None  # no answer of the model
        return
    assert done.record.evals is not None
    assert done.record.evals.skill[-1] == pytest.approx(printed(done.output), abs=1e-5)


def test_scores_of_something_else_are_nobodys(run: Runner, tmp_path: Path) -> None:
    """Strings, other lengths, another model: the program gets what scikit-learn gives."""
    program = tmp_path / "train.py"
    score = (
        "metrics.accuracy_score(['a', 'b'], ['a', 'a']), metrics.f1_score([1, 0], [1, 0]),"
        " metrics.accuracy_score(true, 1 - out.argmax(1))"
    )
    program.write_text(TRAINING.format(**CLASSES, score=score))
    done = run(program)
    assert printed(done.output) == 0.5
    assert done.outcome.watch_errors == () and done.outcome.status == "finished"
    assert done.record.evals is None


def test_every_way_to_call_them_stays(run: Runner, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    ways = (
        "torch.sub(input=out, other=0.5).shape[0], out.sub(other=true[:, None]).shape[1],"
        " torch.eq(input=true, other=1).sum().item(), (2 - out).shape[0], (out - 1).shape[0],"
        " torch.sub(out, true[:, None], alpha=2).shape[0], true.eq(other=true).all().item(),"
        " (out == None), (out - np.float32(1)).shape[0]"
    )
    program.write_text(TRAINING.format(**CLASSES, score=ways))
    done = run(program)
    assert done.outcome.watch_errors == () and done.outcome.status == "finished"
    words = done.output.split("final")[1].split()
    assert words[:2] + words[3:] == ["300", "2", "300", "300", "300", "True", "False", "300"]
    assert 100 < int(words[2]) < 200
