"""The page as text: what stands in it, what cannot, and that hostile names do nothing."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sweeper.report.files import write_report
from sweeper.report.markdown import report_text
from sweeper.report.page import WORDS, page_text
from sweeper.report.study_result import StudyResult
from sweeper.report.tables import csv_text, ranking_frame, remedies_frame, trials_frame
from sweeper.types import (
    ActivationSite,
    Cause,
    Diagnosis,
    Facts,
    Finding,
    Hypothesis,
    Interval,
    Symptom,
)
from tests.report.builders import study_result, trial, verified, with_runs

SECTIONS = (
    "What was wrong",
    "Fixes, best first",
    "Which change matters",
    "What could not apply, and why",
    "What no hyperparameter can fix",
    "How to apply",
    "Reproducibility",
)
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Every tag with its attributes, the text, and whether tags close as they open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text.replace("<wbr>", ""))  # joints of a name, which is one word
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(result: StudyResult, study: Path) -> Page:
    page = Page(page_text(result, study))
    assert page.open == []
    return page


def test_first_screen_and_every_section(tmp_path: Path) -> None:
    page = page_of(with_runs(study_result(tmp_path)), tmp_path)
    first = page.text[: page.text.index("What was wrong")]
    for part in ("Fixed", "normalisation=batch", "5 of 5", "57 and 100 %", "0.1", "0.955",
                 "sweeper run --fix report/fix-1.toml train.py"):  # fmt: skip
        assert part in first, part
    for title in SECTIONS:
        assert title in page.text, title
    assert "batch size : the program slices tensors itself" in page.text
    assert "loss stays at 2.303 | ln 10" in page.text
    assert "torch 2.13.0" in page.text
    names = [attributes.get("id") for _, attributes in page.tags]
    for plot in ("loss", "value", "gradient", "ratio", "similarity", "seeds"):
        assert f"plot-{plot}" in names, plot
    assert len([n for n in names if n]) == len({n for n in names if n}), "an id twice"


def test_captions_say_what_the_plots_show(tmp_path: Path) -> None:
    text = page_of(with_runs(study_result(tmp_path)), tmp_path).text
    assert "Unchanged, the program ends at 2.3 (seed 0). With the fix it ends at 0." in text
    assert "has 10^2.0 times more in the first layer" in text
    assert "has a median of 0.001" in text


def test_page_needs_nothing_from_anywhere(tmp_path: Path) -> None:
    page = page_of(with_runs(study_result(tmp_path)), tmp_path)
    kinds = {tag for tag, _ in page.tags}
    assert not kinds & {"script", "iframe", "object", "embed", "form", "img", "base"}
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            if key in ("href", "src", "xlink:href"):
                assert not re.match(r"[a-z]+:", value or "") or value == "data:,", (tag, value)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_links_lead_to_what_lies_in_the_study(tmp_path: Path) -> None:
    result = with_runs(study_result(tmp_path))
    folder = write_report(result, tmp_path)
    page = Page((folder / "report.html").read_text())
    links = [a["href"] for t, a in page.tags if t == "a" and a.get("href")]
    files = [link for link in links if link and not link.startswith("#")]
    assert any(link.startswith("../runs/") for link in files)
    ran = {t.folder.name for t in result.trials if not t.outcome.ran}
    for link in files:
        assert (folder / link).exists() or Path(link).name in ran, link
    inner = {a.get("id") for _, a in page.tags}
    assert {link[1:] for link in links if link and link.startswith("#")} <= inner


def test_structure_for_readers_of_every_kind(tmp_path: Path) -> None:
    page = page_of(with_runs(study_result(tmp_path)), tmp_path)
    tags = [tag for tag, _ in page.tags]
    for landmark in ("header", "nav", "main", "footer", "title", "h1"):
        assert tags.count(landmark) == 1, landmark
    levels = [int(t[1]) for t in tags if re.fullmatch(r"h[1-6]", t)]
    assert all(b <= a + 1 for a, b in pairwise(levels)), levels
    assert ("html", {"lang": "en"}) in page.tags
    drawings = [a for t, a in page.tags if t == "svg"]
    assert drawings
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    assert tags.count("figcaption") == tags.count("figure") == len(drawings)
    sections = [a for t, a in page.tags if t == "section"]
    ids = {a.get("id") for _, a in page.tags}
    assert sections
    assert all(a["aria-labelledby"] in ids for a in sections)


@pytest.mark.parametrize("verdict", sorted(WORDS))
def test_every_verdict_gives_a_page(tmp_path: Path, verdict: Any) -> None:
    result = study_result(tmp_path, verdict=verdict)
    if verdict in ("healthy", "failing", "crashed"):
        result = replace(result, fixes=(), remedies=(), trials=result.trials[:1], importance={})
    if verdict in ("improved", "inconclusive"):
        result = replace(result, fixes=tuple(replace(f, verified=False) for f in result.fixes))
    text = page_of(result, tmp_path).text
    assert WORDS[verdict][1] in text
    assert all(title in text for title in SECTIONS)
    assert ("sweeper run" in text) == (verdict in ("fixed", "not_fixable"))


def test_what_no_remedy_cures_is_said(tmp_path: Path) -> None:
    cause = Hypothesis(cause=Cause.LABEL_NOISE, belief=0.8, reason="30 % of the labels look wrong")
    diagnosis = Diagnosis(findings=(), hypotheses=(cause,))
    result = study_result(tmp_path, verdict="not_fixable", diagnosis=diagnosis, fixes=())
    text = page_of(result, tmp_path).text
    section = text[text.index(SECTIONS[4], 200) :]
    assert "label noise (belief 0.80): 30 % of the labels look wrong" in section
    assert "none cures it" in text


def test_unfinished_and_empty_studies(tmp_path: Path) -> None:
    empty = study_result(
        tmp_path, trials=(), fixes=(), remedies=(), diagnosis=Diagnosis(findings=(), hypotheses=()),
        facts=Facts(), cost={}, seeds=(), versions={}, importance={}, not_applicable={},
        unfinished="This study is not finished: no run has ended.",
    )  # fmt: skip
    text = page_of(empty, tmp_path).text
    assert "Not finished" in text
    assert "no run has ended" in text
    assert "Nothing has been run yet" in text
    assert "Fixed" not in text


def test_runs_that_are_gone_or_damaged_leave_their_plots_out(tmp_path: Path) -> None:
    result = with_runs(study_result(tmp_path))
    for signals in tmp_path.glob("runs/*/signals.jsonl"):
        signals.write_text('{"k":"header","version":1}\nnot json\nnot json\n')
    ids = {a.get("id") for _, a in page_of(result, tmp_path).tags}
    assert "plot-loss" not in ids
    assert "plot-seeds" in ids  # from the judgements


def test_loss_that_is_lost_is_marked(tmp_path: Path) -> None:
    result = with_runs(study_result(tmp_path), broken_from=12)
    assert "is not finite from step 12 on" in page_of(result, tmp_path).text


HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "=cmd|' /C calc'!A0",
    "@SUM(1)\t+1",
    "name" * 2500,
    "safe\u202egnp.exe\u2066",
    "$\\frac{x$",
    "\x00\x1b[31m\ud800",
)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_do_nothing(tmp_path: Path, name: str) -> None:
    changes = {"activation": name, "learning_rate": math.nan}
    bad = Interval(value=math.nan, low=math.nan, high=math.nan)
    finding = Finding(symptom=Symptom.FLAT_LOSS, severity=1.0, reason=name, steps=(0, 59),
                      layers=(name, name), evidence={"value": math.nan})  # fmt: skip
    base = study_result(tmp_path)
    result = replace(
        base,
        verdict_reason=name,
        program=replace(base.program, name=name, argv=(name,)),
        facts=replace(
            base.facts,
            activations=(ActivationSite(site=name, kind="module", function=name, swappable=True),),
        ),
        diagnosis=Diagnosis(
            findings=(finding,),
            hypotheses=(Hypothesis(cause=Cause.CODE_FAULT, belief=1.0, reason=name),),
            insufficient={name: name},
        ),
        fixes=(replace(verified(tmp_path, {"activation": "relu"}), metric=bad, repairs=name,
                       paired_difference=bad, baseline_metric=math.nan, metric_name=name),),
        trials=(trial(tmp_path, {}, phase="baseline", metric=math.nan),
                trial(tmp_path, changes, metric=math.nan, not_applied={name: name})),
        not_applicable={name: name}, notes=(name,), versions={name: name}, containment=name,
        importance={name: math.nan},
    )  # fmt: skip
    page = page_of(result, tmp_path)
    kinds = {tag for tag, _ in page.tags}
    assert not kinds & {"script", "img", "iframe"}
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    assert ("7 * 7" in name) == ("7 * 7" in page.text)  # shown, not computed
    assert max(map(len, page.words)) < 9000  # four commands of at most 2,000
    assert "\u202e" not in page.text
    printed = report_text(result, tmp_path)
    assert not [c for c in printed if not c.isprintable() and c not in "\n\t"]
    for frame in (
        ranking_frame(result), remedies_frame(result), trials_frame(result.trials, tmp_path),
    ):  # fmt: skip
        for row in csv.reader(io.StringIO(csv_text(frame))):
            for cell in row:
                assert not cell.startswith(("=", "+", "@", "\t", "\r")), cell
                assert len(cell) <= 501
                assert not cell.startswith("-") or math.isfinite(float(cell)), cell


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_every_file_of_a_report_with_hostile_names_is_written(tmp_path: Path, name: str) -> None:
    base = study_result(tmp_path)
    result = replace(
        base, verdict_reason=name, program=replace(base.program, name=name, argv=(name,)),
        notes=(name,), not_applicable={name: name}, versions={name: name},
    )  # fmt: skip
    folder = write_report(result, tmp_path)
    for path in folder.iterdir():
        assert path.read_text(encoding="utf-8"), path.name
    assert {"report.html", "ranking.md", "trials.csv", "verdict.json", "fix-1.toml"} <= {
        path.name for path in folder.iterdir()
    }


def test_hostile_layers_in_plots_do_nothing(tmp_path: Path) -> None:
    result = with_runs(study_result(tmp_path), layers=tuple(f"{n}.weight" for n in HOSTILE))
    page = page_of(result, tmp_path)
    assert "plot-gradient" in {a.get("id") for _, a in page.tags}
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe"}
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    assert "\u202e" not in page.text
    assert "frac{x" in page.text


def test_the_same_study_gives_the_same_page(tmp_path: Path) -> None:
    result = with_runs(study_result(tmp_path))
    assert page_text(result, tmp_path) == page_text(result, tmp_path)


def test_a_thousand_runs_stay_small(tmp_path: Path) -> None:
    """The size; the time is a benchmark's."""
    result = with_runs(study_result(tmp_path))
    many = tuple(
        trial(tmp_path, {"learning_rate": 1e-4 * i, "activation": "relu"}, metric=0.5, number=i)
        for i in range(1, 1001)
    )
    text = page_text(replace(result, trials=(*result.trials, *many)), tmp_path)
    assert "All 1005 runs" in text
    assert len(text.encode()) < 3_000_000
