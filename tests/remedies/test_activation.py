"""Which activations a model can take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeper.remedies.activation import KINDS, RECURRENT, REMEDY
from sweeper.types import ActivationSite, Cause, Diagnosis, Facts, Hypothesis, LayerFact

RNN = Facts(
    layers=(LayerFact(name="rnn", kind="RNN", n_in=1, n_out=8, is_output=False),),
    activations=(ActivationSite(site="rnn", kind="module", function="relu", swappable=True),),
)
HIDDEN = ActivationSite(site="act", kind="module", function="relu", swappable=True)


@pytest.mark.parametrize(
    ("facts", "choices"),
    [(RNN, RECURRENT), (replace(RNN, activations=(*RNN.activations, HIDDEN)), KINDS)],
    ids=["recurrent only", "a hidden one beside"],
)
def test_a_plain_recurrent_net_takes_what_torch_can_compute(
    facts: Facts, choices: tuple[str, ...]
) -> None:
    assert tuple(REMEDY.space(facts)["activation"].choices) == choices
    dead = Hypothesis(cause=Cause.DEAD_ACTIVATION, belief=0.9, reason="planted", remedies=())
    suggested = REMEDY.suggest(facts, Diagnosis(findings=(), hypotheses=(dead,)))
    assert set(suggested) <= set(choices) and "relu" not in suggested
