"""Same program, fix, seed and budget: the same record bit for bit. Other seeds: another run. And a
watched program prints what it prints by itself."""

from __future__ import annotations

import copy
import os
import pickle
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import check_random_state, shuffle

from sweeper.execution.child import run_environment
from sweeper.program import seams, seeds
from sweeper.program.session import Session
from tests.conftest import PROGRAMS, Run, Runner

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CHEAP = ("files/seeds_everywhere", "files/loader_workers", "files/set_order")
"""Beside those of test_runs.py."""
SHIPPED = sorted(path.parent.name for path in EXPERIMENTS.glob("*/train.py"))


def bare(program: Path, cwd: Path) -> str:
    """What the program prints without us."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONHASHSEED="0")
    done = subprocess.run(
        [sys.executable, program],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=cwd,
        check=True,
    )  # fmt: skip
    return done.stdout


def signals(run: Run) -> bytes:
    """Everything that was measured: no column of it is a time."""
    return (run.folder / "signals.jsonl").read_bytes()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's to start in: the programs write where they are."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# -- equal runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", CHEAP)
def test_equal_jobs_leave_equal_records_and_print_what_the_program_prints_alone(
    run: Runner, home: Path, program: str
) -> None:
    """Warm, warm again, in a fresh process, and without us."""
    path = PROGRAMS / f"{program}.py"
    first, second, fresh = run(path), run(path), run(path, fresh=True)
    assert len(signals(first)) > 1000
    assert signals(first) == signals(second) == signals(fresh)
    assert first.output == second.output == fresh.output
    assert not list(home.iterdir())
    seen, alone = first.output, bare(path, home)
    if program == "files/seeds_everywhere":  # where it takes no seed it is random by itself
        assert seen != alone
        seen, alone = (re.sub(r"(?m)^unseeded_.*\n", "", text) for text in (seen, alone))
    assert seen == alone


def test_a_fix_and_a_seed_are_repeated_too(run: Runner, home: Path) -> None:
    path = PROGRAMS / "files/loader_workers.py"
    fix = {"activation": "tanh", "init": {"scheme": "xavier", "scale": 1.0}, "learning_rate": 3e-3}
    runs = [run(path, fix, seed=2, max_steps=12, fresh=fresh) for fresh in (False, True)]
    assert [r.outcome.refused for r in runs] == [{}, {}]
    assert signals(runs[0]) == signals(runs[1])
    assert signals(run(path, fix, seed=3, max_steps=12)) != signals(runs[0])


def test_a_random_hash_seed_of_the_user_is_fixed_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, used in ((None, "0"), ("random", "0"), ("7", "7")):
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
        if given is not None:
            monkeypatch.setenv("PYTHONHASHSEED", given)
        assert run_environment(1)["PYTHONHASHSEED"] == used


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_programs_print_what_they_print_alone(run: Runner, home: Path, name: str) -> None:
    path = EXPERIMENTS / name / "train.py"
    assert run(path, deadline_seconds=600.0).output == bare(path, home)


# -- fresh seeds -----------------------------------------------------------------------------------


def test_every_way_to_seed_is_shifted_and_repeats(run: Runner, home: Path) -> None:
    def drawn(seed: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in run(PROGRAMS / "files/seeds_everywhere.py", seed=seed).output.splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value)
        return found

    own, one, again, two = (drawn(seed) for seed in (0, 1, 1, 2))
    assert len(own) == 22
    assert one == again
    for name, values in own.items():
        distinct = {str(values), str(one[name]), str(two[name])}
        assert len(distinct) == (1 if name == "kept_split" else 3), name


@pytest.fixture
def watched() -> Iterator[Callable[[int], None]]:
    """The seams in this process; calling it starts a run with that seed."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    with seams.installed(Session()):
        yield seeds.start
        seeds.start(0)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


SHIFTED: dict[str, Callable[[], Any]] = {
    "torch": lambda: (torch.manual_seed(5), torch.rand(3).tolist())[1],
    "torch, largest": lambda: (torch.manual_seed(2**64 - 1), torch.rand(3).tolist())[1],
    "torch, negative": lambda: (torch.manual_seed(-5), torch.rand(3).tolist())[1],
    "torch generator": lambda: torch.randperm(
        50, generator=torch.Generator().manual_seed(5)
    ).tolist(),
    "numpy": lambda: (np.random.seed(5), np.random.rand(3).tolist())[1],
    "numpy, largest": lambda: (np.random.seed(2**32 - 1), np.random.rand(3).tolist())[1],
    "numpy, numbers": lambda: (np.random.seed([5, 6]), np.random.rand(3).tolist())[1],
    "RandomState": lambda: np.random.RandomState(5).permutation(50).tolist(),
    "RandomState of numbers": lambda: np.random.RandomState(np.array([5, 6])).rand(3).tolist(),
    "mtrand": lambda: np.random.mtrand.RandomState(5).rand(3).tolist(),
    "RandomState.seed": lambda: (r := np.random.RandomState(1), r.seed(5), r.rand(3).tolist())[2],
    "default_rng": lambda: np.random.default_rng(5).random(3).tolist(),
    "default_rng of numbers": lambda: np.random.default_rng((5, 6)).random(3).tolist(),
    "SeedSequence": lambda: np.random.SeedSequence(5).generate_state(3).tolist(),
    "SeedSequence by name": lambda: np.random.SeedSequence(entropy=5).generate_state(3).tolist(),
    "SeedSequence, child": lambda: np.random.SeedSequence(5).spawn(2)[1].generate_state(3).tolist(),
    "PCG64": lambda: np.random.Generator(np.random.PCG64(5)).random(3).tolist(),
    "Philox": lambda: np.random.Generator(np.random.Philox(5)).random(3).tolist(),
    "SFC64": lambda: np.random.Generator(np.random.SFC64(5)).random(3).tolist(),
    "MT19937": lambda: np.random.RandomState(np.random.MT19937(5)).rand(3).tolist(),
    "random": lambda: (random.seed(5), random.random())[1],
    "random, text": lambda: (random.seed("five"), random.random())[1],
    "Random": lambda: random.Random(5).random(),
    "Random.seed": lambda: (r := random.Random(), r.seed(5), r.random())[2],
    "sklearn.utils": lambda: shuffle(list(range(50)), random_state=5),
    "sklearn, estimator": lambda: check_random_state(5).rand(3).tolist(),
    "sklearn, generator": lambda: train_test_split(
        range(50), random_state=np.random.RandomState(5)
    )[1],
}
UNSEEDED: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.rand(3).tolist(),
    "torch.seed": lambda: (torch.seed(), torch.rand(3).tolist())[1],
    "torch.random.seed": lambda: (torch.random.seed(), torch.rand(3).tolist())[1],
    "torch generator": lambda: torch.rand(3, generator=torch.Generator()).tolist(),
    "torch generator.seed": lambda: torch.Generator().seed(),
    "numpy": lambda: np.random.rand(3).tolist(),
    "numpy.seed": lambda: (np.random.seed(), np.random.rand(3).tolist())[1],
    "RandomState": lambda: np.random.RandomState().rand(3).tolist(),
    "default_rng": lambda: np.random.default_rng().random(3).tolist(),
    "PCG64": lambda: np.random.Generator(np.random.PCG64()).random(3).tolist(),
    "SeedSequence": lambda: np.random.SeedSequence().generate_state(3).tolist(),
    "random": lambda: random.random(),
    "random.seed": lambda: (random.seed(), random.random())[1],
    "Random": lambda: random.Random().random(),
}
KEPT: dict[str, Callable[[], Any]] = {
    "train_test_split": lambda: train_test_split(range(50), random_state=5)[1],
    "KFold": lambda: [
        i.tolist() for _, i in KFold(5, shuffle=True, random_state=5).split(range(50))
    ],
    "make_moons": lambda: make_moons(9, noise=0.1, random_state=5)[0].tolist(),
    "pandas": lambda: __import__("pandas").Series(range(50)).sample(9, random_state=5).tolist(),
}


@pytest.mark.parametrize("draw", SHIFTED.values(), ids=SHIFTED.keys())
def test_seed_zero_changes_nothing_and_others_shift(
    watched: Callable[[int], None], draw: Callable[[], Any]
) -> None:
    values = []
    for seed in (0, 1, 1, 2, 1001):
        watched(seed)
        values.append(draw())
    seams.uninstall()
    assert values[0] == draw()
    assert values[1] == values[2]
    assert len({str(value) for value in values}) == 4


@pytest.mark.parametrize("draw", UNSEEDED.values(), ids=UNSEEDED.keys())
def test_what_is_not_seeded_repeats_all_the_same(
    watched: Callable[[int], None], draw: Callable[[], Any]
) -> None:
    values = []
    for seed in (0, 0, 1, 1, 2):
        watched(seed)
        values.append((draw(), draw()))
    assert values[0] == values[1] and values[2] == values[3]
    assert len({str(value) for value in values}) == 3
    first, second = values[0]
    assert (first == second) is (draw is UNSEEDED["torch generator"])  # as it is without us


@pytest.mark.parametrize("draw", KEPT.values(), ids=KEPT.keys())
def test_numbers_that_fix_the_task_stay(
    watched: Callable[[int], None], draw: Callable[[], Any]
) -> None:
    values = []
    for seed in (0, 1, 1001):
        watched(seed)
        values.append(draw())
    assert values[0] == values[1] == values[2]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.manual_seed(2**64),
        lambda: torch.Generator().manual_seed(-(2**63) - 1),
        lambda: np.random.seed(-1),
        lambda: np.random.seed(2**32),
        lambda: np.random.RandomState(-1),
        lambda: np.random.default_rng(-1),
        lambda: np.random.default_rng("five"),
        lambda: np.random.PCG64(5.5),
        lambda: random.seed([5]),
        lambda: random.Random({}),
    ],
)
def test_seeds_that_are_refused_are_refused_as_ever(
    watched: Callable[[int], None], call: Callable[[], Any], seed: int
) -> None:
    watched(seed)
    with pytest.raises((ValueError, TypeError, RuntimeError, OverflowError)) as seen:
        call()
    seams.uninstall()
    with pytest.raises(type(seen.value)) as alone:
        call()
    assert str(seen.value) == str(alone.value)


def test_classes_that_stand_in_own_what_was_made_before(watched: Callable[[int], None]) -> None:
    watched(1)
    assert isinstance(np.random.mtrand._rand, np.random.RandomState)
    assert isinstance(torch.default_generator, torch.Generator)
    assert not isinstance(3, np.random.RandomState)
    assert check_random_state(np.random.mtrand._rand) is np.random.mtrand._rand

    class Own(np.random.RandomState):
        pass

    assert isinstance(Own(3), np.random.RandomState)
    assert not isinstance(np.random.RandomState(3), Own)


def test_generators_are_copied_and_pickled_with_their_state(
    watched: Callable[[int], None],
) -> None:
    watched(1)
    for copied in (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        old = np.random.RandomState(3)
        assert copied(old).rand() == old.rand()
        new = np.random.Generator(np.random.PCG64(3))
        assert copied(new).random() == new.random()
        python = random.Random(3)
        assert copied(python).random() == python.random()
        generator = torch.Generator().manual_seed(3)
        assert torch.rand(1, generator=copied(generator)) == torch.rand(1, generator=generator)


def test_seeding_torch_seeds_every_device_once(
    watched: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands where a GPU would be: torch hands the seed on to the devices' own functions."""
    given: list[int] = []
    monkeypatch.setitem(seeds._real, "torch.manual_seed", lambda seed: device(seed))
    device = seeds._device_seed(given.append)
    watched(2)
    given.clear()
    seeds.torch_manual_seed(5)
    device(6)
    assert given == [5 + 2 * seeds.SHIFT, 6 + 2 * seeds.SHIFT]


def test_names_of_temporary_files_stay_free(watched: Callable[[int], None]) -> None:
    watched(0)
    names = set()
    for _ in range(3):
        watched(0)
        tempfile._name_sequence = None  # type: ignore[attr-defined]
        names.add(next(tempfile._get_candidate_names()))  # type: ignore[attr-defined]
    assert len(names) == 3


def test_workers_draw_different_numbers_without_a_seed(watched: Callable[[int], None]) -> None:
    def drawn() -> list[float]:
        watched(0)
        loader = torch.utils.data.DataLoader(Unseeded(), num_workers=2, batch_size=None)
        return [float(value) for value in loader]

    first = drawn()
    assert len(set(first)) == 4


class Unseeded(torch.utils.data.Dataset[float]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        return float(np.random.default_rng().random())
