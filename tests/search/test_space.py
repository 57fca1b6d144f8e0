"""Search spaces: what a file may say, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.search.space import Space, known_spaces, load_space
from sweeper.types import Facts, UsageError

from .fakes import REMEDIES


def write(tmp_path: Path, text: str) -> Space:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_space(str(path), REMEDIES)


def test_narrowing_keeps_the_hard_limits(tmp_path: Path) -> None:
    space = write(
        tmp_path,
        """
        title = "mine"
        max_changes = 2
        exclude = ["zero_grad"]
        [learning_rate]
        low = 1e-8
        high = 1e-4
        [activation]
        choices = ["tanh"]
        [clip_norm]
        max_norm = { high = 2.0 }
        norm_type = { choices = [2.0] }
        """,
    )
    dimensions, refused = space.applicable(Facts())
    assert list(dimensions) == ["activation", "clip_norm", "learning_rate"]
    rate = dimensions["learning_rate"]["learning_rate"]
    assert (rate.low, rate.high, rate.log) == (1e-8, 1e-4, True)
    assert dimensions["activation"]["activation"].choices == ("tanh",)
    assert (dimensions["clip_norm"]["max_norm"].low, dimensions["clip_norm"]["max_norm"].high) == (
        0.1,
        2.0,
    )
    assert dimensions["clip_norm"]["norm_type"].choices == (2.0,)
    assert space.max_changes == 2
    assert refused == {
        "zero_grad": "left out by the search space 'mine'",
        "batch_size": "no loader",
    }


def test_a_refusal_found_in_the_run_counts(tmp_path: Path) -> None:
    _, refused = write(tmp_path, "").applicable(Facts(refusals={"activation": "a gate"}))
    assert refused["activation"] == "a gate"


def test_choices_that_the_program_does_not_offer_leave_the_remedy_out(tmp_path: Path) -> None:
    space = write(tmp_path, '[activation]\nchoices = ["relu"]')
    narrowed = space.ranges["activation"]["activation"]
    from dataclasses import replace

    from .fakes import KIND

    assert narrowed.narrow(replace(KIND, choices=("gelu",))) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("learning_rat = 1", ["learning_rat", "did you mean 'learning_rate'"]),
        ('include = ["activaton"]', ["include", "did you mean 'activation'"]),
        ('include = "activation"', ["list of remedies", "'activation'"]),
        ("max_changes = 0", ["max_changes", "got 0"]),
        ("max_changes = true", ["max_changes", "got True"]),
        ("[learning_rate]\nlow = 1e-12", ["hard limits", "1e-12", "learning_rate.low"]),
        ("[learning_rate]\nhigh = 1e5", ["hard limits", "learning_rate.high"]),
        ("[learning_rate]\nhigh = 'x'", ["a number", "'x'"]),
        ("[learning_rate]\nlow = nan", ["a number", "nan"]),
        ("[learning_rate]\nlow = 1e-2\nhigh = 1e-3", ["low is at most high", "0.01"]),
        ("[learning_rate]\nlo = 1e-3", ["learning_rate.lo", "did you mean 'low'"]),
        ("[learning_rate]\nchoices = [1e-3, 1e9]", ["hard limits", "choices"]),
        ("[learning_rate]\nchoices = []", ["at least one"]),
        ("[learning_rate]\nchoices = [1e-3]\nlow = 1e-4", ["or choices"]),
        ("learning_rate = 1e-3", ["is a table", "0.001"]),
        ("[activation]\nchoices = ['rellu']", ["activation", "did you mean 'relu'"]),
        ("[activation]\nlow = 1", ["takes choices"]),
        ("[clip_norm]\nlow = 1.0", ["parameters max_norm, norm_type"]),
        ("[clip_norm]\nmaxnorm = { low = 1.0 }", ["clip_norm.maxnorm", "'max_norm'"]),
        ("exclude = ['zero_grad']\n[zero_grad]", ["let in", "zero_grad"]),
        ("include = ['zero_grad']\nexclude = ['zero_grad']", ["at least one remedy"]),
        ("title = 3", ["title is a text"]),
        ("title = ", ["readable TOML"]),
    ],
)
def test_mistakes_name_rule_value_and_place(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        write(tmp_path, text)
    message = str(raised.value)
    assert "mine.toml" in message
    for part in parts:
        assert part in message


def test_an_unknown_space_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'documented'"):
        load_space("documentd", REMEDIES)


def test_the_documented_space_is_the_documented_list() -> None:
    space = load_space("documented")
    assert sorted(space.remedies) == [
        "activation", "batch_size", "clip_norm", "init", "learning_rate", "normalisation",
        "optimizer", "weight_decay",
    ]  # fmt: skip
    rate = space.ranges["learning_rate"]["learning_rate"]
    assert (rate.low, rate.high) == (1e-6, 1e-4)
    assert space.ranges["normalisation"]


@pytest.mark.parametrize("name", sorted(known_spaces()))
def test_every_shipped_space_loads(name: str) -> None:
    assert load_space(name).title == name
