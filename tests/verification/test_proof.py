"""The proof over a bench of made-up runs: what is needed is asked of the final fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sweeper.types import Facts, Fix, Judgement, Outcome, Trial
from sweeper.verification.fresh_seeds import Rule
from sweeper.verification.proof import Proof


@dataclass
class MadeUp:
    """Restored when both the clip and the activation are there; the decay adds nothing."""

    facts: Facts = field(default_factory=Facts)
    made: list[tuple[str, Fix]] = field(default_factory=list)

    def trial(self, phase: Any, fix: Fix, seed: int) -> Trial:
        self.made.append((phase, fix))
        good = {"clip_norm", "activation"} <= set(fix.changes)
        judgement = Judgement(
            restored=good, score=0.9 if good else 0.0, skill=0.9 if good else 0.0,
            metric_name="accuracy", metric=0.9 if good else 0.1,
            reasons=() if good else ("chance",),
        )  # fmt: skip
        return Trial(
            number=0, phase=phase, fix=fix, seed=seed, outcome=Outcome(status="finished"),
            judgement=judgement, folder=Path("runs") / fix.hash,
        )  # fmt: skip

    def run_all(self, wanted: Callable[[], Any], told: Callable[[Trial], None]) -> None:
        while (item := wanted()) is not None:
            phase, fix, seed, _ = item
            told(self.trial(phase, fix, seed))

    def run_list(self, phase: Any, items: Iterable[tuple[Fix, int]], *, full: bool) -> list[Trial]:
        return [self.trial(phase, fix, seed) for fix, seed in items]


def test_needless_part_goes_and_the_interaction_stays() -> None:
    bench = MadeUp()
    changes = {"clip_norm": 1.0, "activation": "relu", "weight_decay": 0.01}
    candidate = bench.trial("joint", Fix(changes=changes), 0)
    proof = Proof(
        bench=bench, rule=Rule(), best_skill=0.9, over=lambda n, ahead=0.0: ""
    )  # type: ignore[arg-type]  # fmt: skip
    (found,) = proof.prove([candidate], [candidate])
    assert set(found.fix.changes) == {"clip_norm", "activation"}
    assert found.verified
    assert found.necessary == {"clip_norm": True, "activation": True}
    assert len([p for p, f in bench.made if p == "control"]) == 5


def test_first_restored_fix_is_proven_at_once_and_not_again() -> None:
    bench = MadeUp()
    good = Fix(changes={"clip_norm": 1.0, "activation": "relu"})
    other = Fix(changes={"clip_norm": 0.5, "activation": "relu"})
    first, second = bench.trial("screening", good, 0), bench.trial("joint", other, 0)
    proof = Proof(bench=bench, rule=Rule(), over=lambda n, ahead=0.0: "")  # type: ignore[arg-type]
    assert proof.has_new([first])
    proof.prove_next([first], [first], 0.9)
    assert proof.n_verified() == 1
    assert not [p for p, f in bench.made if p == "control"]
    assert not proof.has_new([first])
    assert proof.has_new([first, second])
    found = proof.prove([first, second], [first, second])
    assert all(f.verified for f in found)
    proofs = Counter(fix.hash for phase, fix in bench.made if phase == "verification")
    assert set(proofs.values()) == {5}


def test_without_time_nothing_new_is_begun() -> None:
    bench = MadeUp()
    trial = bench.trial("joint", Fix(changes={"clip_norm": 1.0, "activation": "relu"}), 0)
    over = lambda n, ahead=0.0: "the budget is spent"  # noqa: E731
    proof = Proof(bench=bench, rule=Rule(), over=over)  # type: ignore[arg-type]
    assert not proof.has_new([trial])
    assert proof.prove([trial], [trial]) == []


def test_a_known_run_is_not_made_or_counted_again() -> None:
    bench = MadeUp()
    both = Fix(changes={"clip_norm": 1.0, "activation": "relu"})
    parts = [Fix(changes={k: v}) for k, v in both.changes.items()]
    known = [bench.trial("screening", fix, 0) for fix in parts] + [bench.trial("joint", both, 0)]
    proof = Proof(bench=bench, rule=Rule(), over=lambda n, ahead=0.0: "")  # type: ignore[arg-type]
    proof.prove(known[-1:], known)
    made = Counter(fix.hash for phase, fix in bench.made if phase == "elimination")
    assert not made.keys() & {fix.hash for fix in parts}


class Lucky(MadeUp):
    """The clip alone restores at the program's own seed and nowhere else."""

    def trial(self, phase: Any, fix: Fix, seed: int) -> Trial:
        made = super().trial(phase, fix, seed)
        if fix.changes != {"clip_norm": 1.0} or seed:
            return made
        return super().trial(phase, Fix(changes={"clip_norm": 1.0, "activation": "relu"}), seed)


def test_what_failed_its_proof_is_named_with_a_failed_run() -> None:
    bench = Lucky()
    lucky = Fix(changes={"clip_norm": 1.0})
    candidate = replace(bench.trial("screening", lucky, 0), fix=lucky)
    proof = Proof(bench=bench, rule=Rule(), over=lambda n, ahead=0.0: "")  # type: ignore[arg-type]
    proof.prove_next([candidate], [candidate], 0.9)
    assert not proof.n_verified()
    assert proof.disproven.keys() == {lucky.hash}
    failed = proof.disproven[lucky.hash]
    assert failed.seed == 1001 and failed.judgement is not None and not failed.judgement.restored


def test_a_reduced_candidate_is_disproven_with_what_was_left_of_it() -> None:
    bench = Lucky()
    wide = Fix(changes={"clip_norm": 1.0, "weight_decay": 0.1})
    good = bench.trial("joint", Fix(changes={"clip_norm": 1.0, "activation": "relu"}), 0)
    candidate = replace(good, fix=wide)
    lucky = replace(good, fix=Fix(changes={"clip_norm": 1.0}))
    proof = Proof(bench=bench, rule=Rule(), over=lambda n, ahead=0.0: "")  # type: ignore[arg-type]
    proof.prove_next([candidate], [candidate, lucky], 0.9)
    assert proof.disproven.keys() == {wide.hash, lucky.fix.hash}


def test_numbers_are_not_softened_before_anything_is_verified() -> None:
    bench = MadeUp()
    both = Fix(changes={"clip_norm": 1e-6, "activation": "relu"})
    candidate = bench.trial("joint", both, 0)
    proof = Proof(bench=bench, rule=Rule(), over=lambda n, ahead=0.0: "")  # type: ignore[arg-type]
    proof.prove_next([candidate], [candidate], 0.9)
    assert [v.fix for v in proof.verifications] == [both]
    proof = Proof(bench=bench, rule=Rule(), over=lambda n, ahead=0.0: "")  # type: ignore[arg-type]
    proof.prove([candidate], [candidate])
    assert [v.fix.changes["clip_norm"] for v in proof.verifications] != [1e-6]


def test_a_proof_that_is_certain_does_not_outlive_the_budget() -> None:
    bench = MadeUp()
    good = bench.trial("joint", Fix(changes={"clip_norm": 1.0, "activation": "relu"}), 0)
    made: list[Trial] = []
    proof = Proof(
        bench=bench, rule=Rule(), told=made.append,  # type: ignore[arg-type]
        over=lambda n, ahead=0.0: "the budget is spent" if len(made) >= 2 else "",
    )  # fmt: skip
    proof.prove_next([good], [good], 0.9)
    assert [t.seed for t in made if t.phase == "verification"] == [1001, 1002, 1003, 1004]
    assert proof.n_verified() == 1
    (found,) = proof.results()
    assert found.verified and (found.restored, found.seeds) == (4, 4)


def test_a_run_stopped_behind_others_does_not_make_a_change_necessary() -> None:
    """Elimination makes it again, to its end."""
    bench = MadeUp()
    small = Fix(changes={"clip_norm": 1.0, "activation": "relu"})
    large = bench.trial("joint", Fix(changes={**small.changes, "weight_decay": 0.01}), 0)
    alone = bench.trial("joint", small, 0)
    judgement = replace(alone.judgement, restored=False) if alone.judgement else None
    stopped = replace(alone, outcome=Outcome(status="behind"), judgement=judgement)
    proof = Proof(bench=bench, rule=Rule(), over=lambda n, ahead=0.0: "")  # type: ignore[arg-type]
    (found,) = proof.prove([large], [large, stopped])
    assert found.fix.changes.keys() == small.changes.keys() and found.verified
