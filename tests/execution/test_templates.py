"""Programs that are run once up to the point where their runs part, and forked there."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.execution.jobs import run_folder
from sweeper.execution.supervise import Supervisor
from sweeper.execution.templates import TemplateProcess
from sweeper.program._namespace import Unavailable
from sweeper.program.containment import contain
from sweeper.program.target import parse_program
from sweeper.types import Facts, Fix, FixValue, Job

PROGRAM = Path(__file__).parents[1] / "programs" / "prepared" / "train.py"
Make = Callable[..., Job]


def overlay_here(folder: Path) -> bool:
    """Whether a child of ours gets an overlay."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(OSError, Unavailable):
            code = int(contain(folder, [folder], Path("/tmp")).kind != "overlay")
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    if not sys.platform.startswith("linux"):
        pytest.skip("forks")
    (folder := tmp_path_factory.mktemp("probe") / "scratch").mkdir()
    if not overlay_here(folder):
        pytest.skip("no overlay file systems here")
    made = Supervisor(parse_program([str(PROGRAM)]))
    yield made
    made.close()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def job(
        program: Path | str,
        fix: dict[str, FixValue] | None = None,
        seed: int = 0,
        study: str = "s",
        seconds: float = 0.01,
    ) -> Job:
        if isinstance(program, str):
            path = tmp_path / "train.py"
            text = textwrap.dedent(program)
            if not path.exists() or path.read_text() != text:  # an edit needs another template
                path.write_text(text)
        else:
            path = program
        change = Fix(changes=fix or {})
        return Job(
            program=parse_program([str(path)], cwd=tmp_path), fix=change, seed=seed,
            facts=Facts(start_seconds=seconds), deadline_seconds=60.0,
            folder=run_folder(tmp_path / study, change, seed, None),
        )  # fmt: skip

    return job


def template_of(runs: Supervisor) -> TemplateProcess:
    """The one that was prepared last."""
    assert runs._templates is not None
    found = list(runs._templates._known.values())[-1]
    assert found is not None
    return found


@pytest.mark.parametrize(("fix", "seed"), [({}, 2), ({"learning_rate": 0.1}, 0)])
def test_a_run_from_the_template_is_the_run_from_the_first_line(
    runs: Supervisor, make: Make, fix: dict[str, FixValue], seed: int
) -> None:
    assert runs.prepare(make(PROGRAM)) == ""
    fresh = Supervisor(None, warm=False)
    records = []
    for study, supervisor in (("first", runs), ("second", runs), ("fresh", fresh)):
        job = make(PROGRAM, fix, seed, study)
        outcome = supervisor.run(job)
        assert outcome.status == "finished", outcome
        assert outcome.start == ("fresh" if study == "fresh" else "prepared")
        # The program writes to both streams; what is buffered in between is ordered by chance.
        output = sorted((job.folder / "output.log").read_text().splitlines())
        records.append(((job.folder / "signals.jsonl").read_bytes(), output))
    assert records[0] == records[1] == records[2]
    assert len(records[0][0]) > 2000
    assert "the rest has 499 lines" in records[0][1], "each run reads on where the fork was"
    assert template_of(runs).came_to == "randn", "seeds, files and a split come before"
    assert not (job.program.cwd / "done.txt").exists()


def test_seeds_differ_where_they_should(runs: Supervisor, make: Make) -> None:
    """What the seeds say that were set before the fork, and what needs none."""
    program = """
        import random
        import numpy as np
        import torch
        from sklearn.model_selection import train_test_split
        torch.manual_seed(1); np.random.seed([2, 3]); random.seed("four")
        split = train_test_split(range(50), random_state=0)[1]
        print("kept", split)
        print("torch", torch.rand(2).tolist(), torch.initial_seed())
        print("numpy", np.random.rand(2).tolist(), np.random.default_rng(5).random())
        print("random", random.random(), random.Random(6).random())
        print("none", np.random.default_rng().random(), torch.Generator().seed())
    """
    assert runs.prepare(make(program)) == ""
    assert template_of(runs).came_to == "rand"
    fresh = Supervisor(None, warm=False)
    outputs = {}
    for seed in (0, 1, 2):
        job = make(program, {}, seed)
        assert runs.run(job).start == "prepared"
        outputs[seed] = (job.folder / "output.log").read_text().splitlines()
    other = make(program, {}, 1, "fresh")
    fresh.run(other)
    assert (other.folder / "output.log").read_text().splitlines() == outputs[1]
    for line, *others in zip(*outputs.values(), strict=True):
        distinct = {line, *others}
        assert len(distinct) == (1 if line.startswith("kept") else 3), line


@pytest.mark.parametrize("words", [["-m", "package.train"], ["package/train.py:main"]])
def test_every_kind_of_program_has_a_template(
    runs: Supervisor, make: Make, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "train.py").write_text(
        "import sys, torch\n"
        "def main():\n"
        "    torch.manual_seed(0)\n"
        "    print('before', flush=True)\n"
        "    model = torch.nn.Linear(1, 1)\n"
        "    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "    for _ in range(12):\n"
        "        loss = (model(torch.ones(1, 1)) - 1).pow(2).mean()\n"
        "        optimizer.zero_grad(); loss.backward(); optimizer.step()\n"
        "    sys.exit('after')\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    job = replace(make("pass", {}, 1), program=parse_program(words, cwd=tmp_path))
    assert runs.prepare(job) == ""
    assert template_of(runs).came_to == "register_parameter"
    outcome = runs.run(job)
    assert (outcome.status, outcome.start, outcome.steps) == ("finished", "prepared", 12)
    assert outcome.exit_code == 1
    assert (job.folder / "output.log").read_text() == "before\n"


COMMON = """
import os, random, tempfile, time
import numpy as np, torch
from tqdm import tqdm
torch.manual_seed(0); torch.cuda.manual_seed_all(0); np.random.seed(0); random.seed(0)
os.makedirs(os.getcwd(), exist_ok=True)
held = open(__file__)
data = torch.arange(20.0)
for _ in tqdm(range(3)): (data == 2).sum()
torch.set_default_dtype(torch.float64)
"""

PARTS = {
    "rand": "torch.rand(1)",
    "normal_": "torch.empty(1).normal_()",
    "permutation": "np.random.permutation(3)",
    "shuffle": "random.shuffle([1])",
    "numpy's generator": (
        "from sklearn.utils import check_random_state; check_random_state(None).rand()"
    ),
    "a generator is made": "torch.Generator()",
    "default_rng": "np.random.default_rng(0)",
    "seed": "random.Random(5)",
    "seed without a seed": "np.random.seed()",
    "get_rng_state": "torch.get_rng_state()",
    "getstate": "random.getstate()",
    "urandom": "import uuid; uuid.uuid4()",
    "register_parameter": "torch.nn.Linear(1, 1)",
    "a loader, an optimizer, a loss or weights": "torch.utils.data.DataLoader([1])",
    "open": "open('out.txt', 'w')",
    "os.mkdir": "os.mkdir('out')",
    "start": "import threading; threading.Thread(target=print).start()",
    "subprocess.Popen": "import subprocess; subprocess.run(['true'])",
    "os.fork": "os.fork() or os._exit(0)",
    "socket.__new__": "import socket; socket.socket()",
    "signal": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "os.chdir": "os.chdir('/')",
    "mmap.__new__": "import mmap; mmap.mmap(-1, 10)",
    "_lazy_init": "torch.cuda._lazy_init()",
    "set_num_threads": "torch.set_num_threads(2)",
}


@pytest.mark.parametrize("reason", PARTS)
def test_where_runs_part(runs: Supervisor, make: Make, reason: str, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert runs.prepare(make(f"{COMMON}{PARTS[reason]}\ntime.sleep(60)")) == ""
    assert template_of(runs).came_to == reason
    template_of(runs).close()
    assert {p.name for p in set(tmp_path.iterdir()) - before} == {"train.py", "s"}


REFUSED = {
    "random numbers were drawn past every trap": (
        "torch.default_generator.manual_seed(5); torch.rand(1)"
    ),
    "other processes were started": (
        "import ctypes; ctypes.CDLL(None).fork() or time.sleep(60); torch.rand(1)"
    ),
    "a library writes files past Python: .*/native": (
        "import ctypes; c = ctypes.CDLL(None); c.close(c.creat(b'native', 0o600)); torch.rand(1)"
    ),
    "a mode of torch is in force": "torch.device('cpu').__enter__(); torch.rand(1)",
    "hooks for all modules were registered": (
        "torch.nn.modules.module.register_module_forward_hook(print); torch.rand(1)"
    ),
    "pipe:.* is open, which runs cannot share": "os.pipe(); torch.rand(1)",
    "a log is being written or opened": (
        "import logging; logging.basicConfig(filename='train.log'); torch.rand(1)"
    ),
    "the program ended before": "print('nothing to train')",
    "the program ended before .* fork at": "raise ValueError('planted')",
    "psycopg is imported": "import sys; sys.modules['psycopg'] = sys; torch.rand(1)",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_forked_is_refused(
    runs: Supervisor, make: Make, reason: str, tmp_path: Path
) -> None:
    import re

    said = runs.prepare(make(f"{COMMON}{REFUSED[reason]}"))
    assert re.search(reason, said), said
    assert not (tmp_path / "native").exists()


def test_a_refused_program_runs_from_its_first_line_and_it_is_said(
    make: Make, runs: Supervisor
) -> None:
    program = f"{COMMON}import logging; logging.basicConfig(filename='a.log'); print('ran')"
    made = Supervisor(None)
    try:
        starts = []
        for seed in range(20):
            job = make(program, {}, seed, seconds=60.0)
            starts.append(made.run(job).start)
            assert (job.folder / "output.log").read_text().splitlines()[-1] == "ran"
            if made.notes:
                break
            time.sleep(0.1)
        assert set(starts) == {"imports"}
        assert len(made.notes) == 1
        assert "preparation of 60 s again: a log is being written" in made.notes[0]
    finally:
        made.close()


def test_a_fork_point_that_comes_too_early_is_not_used(make: Make, runs: Supervisor) -> None:
    """Its share of the 60 s that the preparation took is nothing."""
    made = Supervisor(None)
    try:
        job = make("import torch; torch.rand(1)", seconds=60.0)
        assert made.prepare(job) == ""
        assert made.run(job).start == "imports"
        assert "most of it comes after the fork point: rand" in made.notes[0]
    finally:
        made.close()


def test_a_short_preparation_is_not_worth_a_template(make: Make, runs: Supervisor) -> None:
    made = Supervisor(None)
    try:
        made.run(make("import torch; torch.rand(1)", seconds=0.5))
        assert made._templates is not None and not made._templates._known
        assert made.notes == ()
    finally:
        made.close()


def test_a_killed_template_costs_no_run(make: Make, runs: Supervisor) -> None:
    program = "import time, torch; time.sleep(0.05); torch.rand(1); time.sleep(0.5); print('end')"
    made = Supervisor(None)
    try:
        jobs = [make(program, {}, k) for k in range(3)]
        assert made.prepare(jobs[0]) == ""
        assert made.run(jobs[0]).start == "prepared"
        assert made._warm is not None and made._warm._zygote is not None
        zygote = made._warm._zygote.pid
        children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        assert made.run(jobs[1]).start == "imports"
        assert not made.notes, "too short a preparation to be told"
        assert made.run(jobs[2]).start == "imports"
    finally:
        made.close()


def test_a_template_dies_with_its_supervisor(make: Make, runs: Supervisor) -> None:
    made = Supervisor(None)
    job = replace(make("import time; time.sleep(60)", seconds=60.0), deadline_seconds=0.5)
    assert made.run(job).status == "deadline"
    assert made._templates is not None
    template = next(iter(made._templates._known.values()))
    made.close()
    assert template is not None and not template.alive
    assert not template.folder.exists()
