"""Nights over a list: right verdicts, reuse, an old fix that no longer holds, a kill in between."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sweeper.cli import main
from sweeper.nightly import HISTORY, Nightly, nightly, slug
from sweeper.nightly_history import History
from sweeper.nightly_list import Entry, NightlyList, read_list
from sweeper.notify import notify
from sweeper.options import Options
from sweeper.report.nightly_page import index_text
from sweeper.report.nightly_result import Found, Line, Night
from sweeper.report.terminal import Silent
from sweeper.types import UsageError
from tests.conftest import PROGRAMS

CHANGING = PROGRAMS / "nightly_changing.py"
CRASH = PROGRAMS / "crash.py"
EXPERIMENTS = PROGRAMS.parent.parent / "experiments"


def make_list(folder: Path, mode: str = "slow", more: str = "") -> Path:
    (folder / "mode.txt").write_text(mode)
    path = folder / "nightly.toml"
    path.write_text(
        f"""
        [defaults]
        trials = 4
        seeds = 3
        [[program]]
        name = "changing"
        path = {json.dumps(str(CHANGING))}
        args = [{json.dumps(str(folder / "mode.txt"))}]
        {more}
        """
    )
    return path


def one_night(path: Path) -> Nightly:
    return nightly(read_list(path), Silent())


def by_name(found: Nightly) -> dict[str, Found]:
    return {line.found.name: line.found for line in found.lines}


def test_nights_reuse_confirm_and_search_again(tmp_path: Path) -> None:
    path = make_list(tmp_path)
    first = by_name(one_night(path))["changing"]
    assert first.verdict == "fixed" and first.fix and "learning_rate" in str(first.fix)
    assert first.runs > 8

    again = one_night(path)
    second = by_name(again)["changing"]
    assert second.reused and second.verdict == "fixed" and second.fix == first.fix
    assert second.runs == 1 and not again.changes
    assert (path.parent / ".sweeper/nightly-nightly" / second.report / "report.html").is_file()

    make_list(tmp_path, "clipped")  # the same source fails for another reason
    third = one_night(path)
    found = by_name(third)["changing"]
    assert found.holds is False
    assert "no longer holds" in third.changes[0]
    assert found.fix != first.fix
    assert "no longer holds" in third.page.read_text()

    make_list(tmp_path, "sound")
    last = one_night(path)
    assert by_name(last)["changing"].verdict == "healthy"
    assert not last.failing
    assert last.changes[0].startswith("changing: ")


@pytest.mark.slow
def test_a_killed_night_goes_on_where_it_was(tmp_path: Path) -> None:
    more = f'[[program]]\nname = "crashing"\npath = {json.dumps(str(CRASH))}\n'
    path = make_list(tmp_path, more=more)
    command = [sys.executable, "-m", "sweeper.cli", "nightly", str(path), "--slots", "2"]
    state = tmp_path / ".sweeper" / "nightly-nightly"
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while len(list(state.glob("studies/*/*/runs/*/outcome.json"))) < 5:
        assert driver.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {p: p.stat().st_mtime_ns for p in state.glob("studies/*/*/runs/*/outcome.json")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "crashed" in done.stdout and "fails, fix known" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in before} == before, "no finished run is made again"
    with History(state / HISTORY) as history:
        assert [n.id for n in history.nights()] == [1]
        assert {k: f.verdict for k, f in history.of_night(history.nights()[0]).items()} == {
            "changing": "fixed", "crashing": "crashed",
        }  # fmt: skip
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "nothing changed" in again.stdout
    with History(state / HISTORY) as history:
        first, second = (history.of_night(n)["changing"] for n in history.nights())
        assert second.runs == 1 < first.runs


SHIPPED = {
    "deep_sigmoid_digits": "fixed", "exploding_rnn": "fixed", "shuffled_labels": "not_fixable",
    "healthy_digits": "healthy", "crashing": "crashed",
}  # fmt: skip


@pytest.mark.slow
def test_the_shipped_list_twice_with_a_kill_in_between(tmp_path: Path) -> None:
    """The list of `make nightly` itself, with fewer trials."""
    folder = tmp_path / "experiments"
    shutil.copytree(EXPERIMENTS, folder, ignore=shutil.ignore_patterns(".sweeper", "__pycache__"))
    path = folder / "nightly.toml"
    text = path.read_text()
    assert 'budget = "5m"' in text
    path.write_text(text.replace('budget = "5m"', 'budget = "none"\ntrials = 12'))
    command = [sys.executable, "-m", "sweeper.cli", "nightly", str(path), "--slots", "2"]
    state = folder / ".sweeper" / "nightly-nightly"

    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 900
    second = state / "studies" / slug("exploding_rnn")
    while len(list(second.glob("0001/runs/*/outcome.json"))) < 4:
        assert driver.poll() is None and time.monotonic() < limit
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {p: p.stat().st_mtime_ns for p in state.glob("studies/*/*/runs/*/outcome.json")}

    for night in (1, 2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        assert done.returncode == 1, done.stderr[-2000:]
        with History(state / HISTORY) as history:
            nights = history.nights()
            assert [n.id for n in nights] == list(range(1, night + 1))
            last = history.of_night(nights[-1])
            firsts = history.of_night(nights[0])
            for past in history.by_name().values():
                assert Line(found=past[-1][1], past=tuple(past)).since == nights[0].started
        assert {name: one.verdict for name, one in last.items()} == SHIPPED
        assert {p: p.stat().st_mtime_ns for p in before} == before, "no finished run made again"
    assert "Changed:" not in done.stdout
    for name in set(SHIPPED) - {"crashing"}:
        assert last[name].reused and last[name].runs == 1, name
        assert last[name].fix == firsts[name].fix
        assert (state / last[name].report / "report.html").is_file()
    assert sum(f.steps for f in last.values()) * 5 < sum(f.steps for f in firsts.values())
    page = (state / "index.html").read_text()
    assert "4 of 5 do not train as they stand; a fix is known for 2." in page
    assert page.index("crashing") < page.index("shuffled_labels") < page.index("healthy_digits")


def test_never_two_at_once(tmp_path: Path) -> None:
    from sweeper.execution.lock import StudyLock

    path = make_list(tmp_path)
    names = read_list(path)
    names.state.mkdir(parents=True)
    with StudyLock(names.state), pytest.raises(UsageError, match="one driver per study"):
        nightly(names, Silent())


def test_one_script_that_is_no_python_leaves_the_rest_of_the_list_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import torch\nfor x in (\n")
    (tmp_path / "log.csv").write_text("step,loss\n" + "".join(f"{i},2.3\n" for i in range(200)))
    path = tmp_path / "nightly.toml"
    path.write_text("[[program]]\npath = 'broken.py'\n[[log]]\nglob = 'log.csv'\n")
    night = one_night(path)
    found = by_name(night)
    assert found["broken"].verdict == "refused"
    assert "valid Python, got SyntaxError in" in found["broken"].reason
    assert "broken.py:2" in found["broken"].reason
    assert found["log.csv: log.csv"].verdict == "failing"
    assert night.failing and "broken: not looked at" in night.changes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names programs or logs, got none"),
        ("[[program]]\npath = 'gone.py'", r"got 'gone.py' .*\(in \[\[program\]\] 1 of"),
        ("[[program]]\npath = 'a.py'\nmodule = 'a'", "either path or module"),
        ("[[program]]\npath = 'a.py'\nbugdet = '5m'", r"got 'bugdet' .*budget"),
        ("[[program]]\npath = 'a.py'\nbudget = 'soon'", "budget is a time .* got 'soon'"),
        ("[[program]]\npath = 'a.py'\ntrials = 0", "trials is a whole number of at least 1, got 0"),
        ("[[program]]\npath = 'a.py'\nspace = 'nosuch'", "nosuch"),
        ("[[program]]\npath='a.py'\n[[program]]\npath='a.py'", "names .* differ, got 'a' twice"),
        ("program = 3", r"written as \[\[program\]\] tables"),
        ("[[log]]\nglob = 3", "glob is a text, got 3"),
        ("[notify]\nurls = 'x'\n[[log]]\nglob='*'", "urls is a list of texts"),
        ("[[program]", "valid TOML"),
    ],
)
def test_a_list_that_is_wrong_is_refused_before_the_night(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "a.py").write_text("import torch\n")
    path = tmp_path / "nightly.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_list(path)


@pytest.mark.parametrize(
    ("key", "words", "allowed"),
    [("", [], False), ("allow_side_effects = true", [], True),
     ("", ["--allow-side-effects"], True)],
)  # fmt: skip
def test_side_effects_are_allowed_by_the_list_or_for_a_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, words: list[str], allowed: bool
) -> None:
    path = make_list(tmp_path)
    path.write_text(path.read_text().replace("trials = 4", f"trials = 4\n{key}"))
    seen: list[Options] = []

    def night(
        names: NightlyList, progress: object, *, options: Callable[[Entry, Path], Options]
    ) -> Nightly:
        seen.extend(options(entry, tmp_path) for entry in names.programs)
        return Nightly(lines=(), changes=(), page=tmp_path)

    monkeypatch.setattr("sweeper.nightly.nightly", night)
    assert main(["nightly", *words, "--slots", "2", str(path)]) == 0
    assert [(one.allow_side_effects, one.slots, one.trials) for one in seen] == [(allowed, 2, 4)]


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a file that can be read"):
        read_list(tmp_path / "none.toml")


def test_a_history_from_the_future_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 9")
    connection.close()
    with pytest.raises(UsageError, match="schema <= 1, got 9"):
        History(path)
    path.write_bytes(b"not a database at all, and long enough to be read" * 50)
    with pytest.raises(UsageError, match="must be readable"):
        History(path)


def found(name: str, verdict: str, **more: object) -> Found:
    return Found(name=name, kind="program", verdict=verdict, reason="", **more)  # type: ignore[arg-type]


def line(one: Found, *earlier: Found) -> Line:
    nights = [Night(id=i, started=i * 86400.0, finished=None) for i in range(len(earlier) + 1)]
    return Line(found=one, past=tuple(zip(nights, (*earlier, one), strict=True)))


def test_the_present_verdict_began_with_the_first_night_of_its_row() -> None:
    healthy, fixed = found("digits", "healthy"), found("digits", "fixed")
    assert line(fixed, fixed, healthy, fixed, fixed).since == 2 * 86400.0
    assert line(fixed, healthy).since == 86400.0
    assert line(fixed).since == 0.0


def test_a_history_is_read_by_name_with_its_nights(tmp_path: Path) -> None:
    with History(tmp_path / HISTORY) as history:
        for day, names in enumerate(("ab", "a", "ab")):
            night = history.begin(str(day), float(day))
            for name in names:
                history.add(night, found(name, "fixed", runs=day))
            history.finish(night, float(day))
        past = history.by_name()
        assert {n: [(p.id, f.runs) for p, f in v] for n, v in past.items()} == {
            "a": [(1, 0), (2, 1), (3, 2)], "b": [(1, 0), (3, 2)],
        }  # fmt: skip
        before = history.before(night, "b")
        assert before is not None and before.runs == 0
        assert history.before(past["a"][0][0], "a") is None


def test_the_most_urgent_comes_first() -> None:
    lines = [
        line(found("d healthy", "healthy")),
        line(found("c long failing", "not_fixable"), found("c long failing", "not_fixable")),
        line(found("b newly failing", "fixed"), found("b newly failing", "healthy")),
        line(found("a broken fix", "fixed", holds=False), found("a broken fix", "fixed")),
    ]
    assert [one.found.name[0] for one in sorted(lines, key=lambda one: one.urgency)] == list("abcd")


def test_hostile_names_stay_text_on_the_page() -> None:
    name = "<script>alert(1)</script>\u202e" + "x" * 10_000
    text = index_text(
        name, [line(found(name, "refused", report='"><script>', metric="<b>", baseline=0.1))],
        Night(id=1, started=0.0, finished=None),
    )  # fmt: skip
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text
    assert len(text) < 60_000
    assert "Nothing has been looked at yet" in index_text(
        "t", [], Night(id=1, started=0, finished=None)
    )


def test_the_page_says_what_still_fails_and_what_nights_cost() -> None:
    first = found("digits", "fixed", fix={"normalisation": "batch"}, runs=65, steps=26_320)
    again = found("digits", "fixed", fix={"normalisation": "batch"}, runs=1, steps=360, reused=True)
    crash = found("crash", "crashed")
    text = index_text(
        "t", [line(crash), line(again, first)], Night(id=1, started=86400.0, finished=None)
    )
    assert "2 of 2 do not train as they stand; a fix is known for 1." in text
    assert "Fails, fix known" in text and ">Fixed<" not in text
    assert "normalisation=<wbr>batch" in text
    rows = re.findall(r'data-label="Training steps"[^>]*>([^<]*)<', text)
    assert rows == ["360", "26,320"]
    assert re.findall(r'data-label="Kept"[^>]*>([^<]*)<', text) == ["1 of 1", "0 of 2"]


def test_slugs_are_folders_and_differ() -> None:
    assert slug("../../etc") != slug("etc")
    assert "/" not in slug("../../etc") and not slug("...").startswith(".")


@pytest.fixture
def hook() -> Iterator[tuple[str, list[str]]]:
    """A web hook on loopback and what it was told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"json://127.0.0.1:{server.server_port}/", told
    server.shutdown()
    thread.join()
    server.server_close()


def test_changes_are_told_and_a_deaf_place_is_named_without_its_url(
    tmp_path: Path, hook: tuple[str, list[str]]
) -> None:
    url, told = hook
    secret = "json://user:s3cret@127.0.0.1:1/"
    path = make_list(tmp_path, more=f"[notify]\nurls = [{json.dumps(url)}, {json.dumps(secret)}]")
    names = read_list(path)
    assert "s3cret" not in repr(names)
    messages: list[str] = []
    notify(names, (), messages.append)
    assert not told
    notify(names, ("changing: healthy before, now fixed",), messages.append)
    assert len(told) == 1 and "healthy before, now fixed" in told[0]
    assert messages == [f"[notify] url 2 of {path} could not be told"]
