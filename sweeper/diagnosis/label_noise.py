"""Many labels are wrong."""

from __future__ import annotations

from sweeper.diagnosis._base import CauseRule, Evidence, hypothesis
from sweeper.diagnosis._noise import LEAD, held_out_lead
from sweeper.types import Cause, Hypothesis, Symptom

WRONG = 0.3
"""Share of labels called wrong from which noise is suspected (a weak model alone reaches 0.2)."""
MOSTLY_WRONG = 0.5
"""... and from which it is evident in a run that only memorises (design)."""


def explain(e: Evidence) -> Hypothesis | None:
    lead = held_out_lead(e.record)
    if lead is not None:
        return hypothesis(
            Cause.LABEL_NOISE,
            0.9,
            f"at step {lead.step} held-out samples are understood with skill {lead.held_out:.2f},"
            f" and the training samples seen again after it with {lead.trained:.2f}, though they"
            " are unchanged and no dropout disturbs them: training labels are wrong",
            held_out=lead.held_out,
            trained=lead.trained,
            spreads=lead.spreads,
            threshold=LEAD,
        )
    probe = e.probe if e.labels_suspect or e.memorised else None
    if probe is None or e.facts.task == "language_model" or e.facts.task == "regression":
        return None
    recalled = e.memorised or e.critical(Symptom.OVERFITTING)
    if e.unlearnt:
        return hypothesis(
            Cause.LABEL_NOISE,
            0.75,
            "the training labels are not learned although held-out samples are understood a little,"
            f" and simple models reach skill {probe.score:+.2f} on the training samples",
            score=probe.score,
            n=probe.n,
        )
    healthy = e.gradients_sound and not e.blew_up and not e.critical(Symptom.STARVED_UPDATES)
    if not probe.signal:  # too noisy to be told from no signal at all
        if not recalled:
            return None
        belief = 0.35
    elif probe.wrong_share >= WRONG and probe.score < 0.5:
        belief = 0.75 if recalled else (0.35 if healthy else 0.1)
        if e.memorised and probe.wrong_share >= MOSTLY_WRONG:
            belief = 0.85
    else:
        return None
    return hypothesis(
        Cause.LABEL_NOISE,
        belief,
        f"simple models reach skill {probe.score:+.2f} and call {probe.wrong_share:.0%} of the"
        " labels wrong" + (", and the run only memorises" if recalled else ""),
        wrong_share=probe.wrong_share,
        score=probe.score,
        n=probe.n,
    )


CAUSE = CauseRule(
    cause=Cause.LABEL_NOISE,
    definition="held-out samples are understood far better than training samples that come back"
    " unchanged; or simple models find a weak signal and the confident joint calls a third of the"
    " labels wrong, in a run that memorises or stays at chance with sound gradients",
    source="Northcutt et al. 2021 (cleanlab); the lead of the held-out samples by design",
    remedies=(),
    explain=explain,
    evident=True,
    explains=tuple(c for c in Cause if c not in (Cause.LABEL_NOISE, Cause.LABELS_WITHOUT_SIGNAL)),
    probe=True,
)
