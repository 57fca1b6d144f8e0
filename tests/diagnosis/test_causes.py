"""Each cause on a record that shows it, and beside what it must not be taken for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sweeper.diagnosis import diagnose
from sweeper.diagnosis._probe import Probe
from sweeper.telemetry.record import Captured
from sweeper.types import Cause, ClipFact, LoaderFact, RunRecord
from tests.detectors.records import (
    LN10,
    STEPS,
    activations,
    chance,
    evals,
    facts,
    flat,
    layer,
    layers,
    optimizer,
    record,
    series,
)

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
BLOBS = np.repeat(np.arange(10), 60)
LEARNABLE = (RNG.standard_normal((10, 20)) * 2)[BLOBS] + RNG.standard_normal((600, 20))


def captured(
    inputs: Array = LEARNABLE, targets: Array = BLOBS, logits: Array | None = None
) -> Captured:
    return Captured(
        inputs=np.asarray(inputs, dtype=np.float32) if inputs.dtype.kind == "f" else inputs,
        targets=np.asarray(targets, dtype=np.float32),
        logits_first=logits,
    )


def stuck(
    *, sees: Captured | None = None, steps: dict[str, Any] | None = None, **what: Any
) -> tuple[RunRecord, Any]:
    parts = {k: what.pop(k) for k in ("by_layer", "hidden", "evaluated") if k in what}
    parts.setdefault("by_layer", layers())
    return record(chance(**(steps or {})), what=facts(**what), **parts), sees


def blown(**what: Any) -> tuple[RunRecord, Any]:
    loss, norm = flat(LN10), flat(1.0)
    loss[150:], norm[150:] = np.nan, np.nan
    loss[146:150], norm[146:150] = [4.0, 60.0, 1e3, 1e7], [30.0, 1e3, 1e5, 1e9]
    parts = {k: what.pop(k) for k in ("by_layer", "hidden") if k in what}
    sees = what.pop("sees", None)
    return record(
        series(loss=loss, grad_norm=norm, accuracy=0.1), what=facts(**what), **parts
    ), sees


def decayed() -> np.ndarray[Any, Any]:
    return np.asarray(1e-3 * 0.5 ** (np.arange(STEPS) / 5))


def outlying() -> np.ndarray[Any, Any]:
    rows = LEARNABLE.copy()
    rows[[3, 400]] = 1e5
    return rows


def with_nan() -> np.ndarray[Any, Any]:
    rows = LEARNABLE.copy()
    rows[7, 3] = np.nan
    return rows


def memorising() -> tuple[RunRecord, Any]:
    level = np.repeat(np.linspace(0.1, 0.8, 10), 30)
    accuracy = np.clip(level + 0.04 * RNG.standard_normal(300), 0, 1)
    steps = series(n_pass=30, loss=LN10 * (1.1 - accuracy), accuracy=accuracy)
    targets = np.where(RNG.random(600) < 0.75, RNG.integers(0, 10, 600), BLOBS)
    return record(steps, what=facts(), by_layer=layers()), captured(targets=targets)


TRANSFORMER = tuple(layer(f"l{i}", in_attention=i % 3 == 0) for i in range(20))
RECURRENT = (
    layer("emb", kind="Embedding"),
    layer("rnn", kind="RNN"),
    layer("head", is_output=True),
)
UNEQUAL = {"class_prior": (0.96, 0.04), "n_classes": 2, "head_width": 2, "label_max": 1}
H = float(-(0.96 * np.log(0.96) + 0.04 * np.log(0.04)))


def clipped() -> dict[str, Any]:
    return {"grad_norm": flat(2.0), "clipped_norm": np.full(STEPS, 1e-3)}


@dataclass(frozen=True)
class Shows:
    cause: Cause
    make: Callable[[], tuple[RunRecord, Any]]


CASES = (
    Shows(
        Cause.CODE_FAULT,
        lambda: stuck(detached=True, steps={"grad_norm": 0.0}, by_layer=layers(ratio=0.0)),
    ),
    Shows(Cause.CODE_FAULT, lambda: stuck(label_max=10, head_width=10)),
    Shows(Cause.MISSING_ZERO_GRAD, lambda: blown(grads_zeroed=False)),
    Shows(Cause.FROZEN_PARAMETERS, lambda: stuck(n_frozen=9000, by_layer=layers(ratio=0.0))),
    Shows(
        Cause.PARAMETERS_NOT_IN_OPTIMIZER, lambda: stuck(optimizers=(optimizer(n_missing=9000),))
    ),
    Shows(
        Cause.TRAINED_IN_EVAL_MODE, lambda: stuck(trained_in_eval_mode=True, norms=("bn1", "bn2"))
    ),
    Shows(Cause.SOFTMAX_BEFORE_LOSS, lambda: stuck(output_activation="softmax")),
    Shows(
        Cause.SOFTMAX_BEFORE_LOSS,
        lambda: stuck(
            output_activation="sigmoid", loss_function="binary_cross_entropy_with_logits"
        ),
    ),
    Shows(Cause.WRONG_LOSS, lambda: stuck(loss_function="nll_loss", output_activation="softmax")),
    Shows(
        Cause.SCHEDULE_DECAYS_TOO_FAST,
        lambda: stuck(steps={"lr": decayed()}, schedulers=("StepLR",), by_layer=layers(ratio=1e-9)),
    ),
    Shows(
        Cause.CLIP_TOO_TIGHT,
        lambda: stuck(
            steps=clipped(),
            by_layer=layers(ratio=1e-7),
            optimizers=(optimizer(name="SGD", peak_lr=(0.1,)),),
            clips=(ClipFact(kind="norm", max_norm=1e-3, norm_type=2.0, calls=STEPS),),
        ),
    ),
    Shows(
        Cause.LEARNING_RATE_TOO_LOW,
        lambda: stuck(
            by_layer=layers(ratio=1e-7), optimizers=(optimizer(name="SGD", peak_lr=(1e-5,)),)
        ),
    ),
    Shows(
        Cause.OPTIMIZER_MISMATCH,
        lambda: stuck(optimizers=(optimizer(name="Adadelta", peak_lr=(1e-3,)),)),
    ),
    Shows(
        Cause.OPTIMIZER_MISMATCH,
        lambda: stuck(optimizers=(optimizer(name="SGD", peak_lr=(0.01,)),), layers=TRANSFORMER),
    ),
    Shows(
        Cause.LEARNING_RATE_TOO_HIGH,
        lambda: stuck(
            by_layer=layers(ratio=0.8),
            hidden=activations(dead=(0.1, 1.0)),
            optimizers=(optimizer(peak_lr=(0.1,)),),
        ),
    ),
    Shows(
        Cause.MISSING_WARMUP,
        lambda: stuck(
            by_layer=layers(ratio=0.02),
            hidden=activations(cosine=(0.4, 1.0)),
            layers=TRANSFORMER,
            optimizers=(optimizer(name="AdamW", peak_lr=(2e-3,)),),
        ),
    ),
    Shows(
        Cause.UNBOUNDED_GRADIENT,
        lambda: blown(
            layers=RECURRENT, by_layer=layers(), optimizers=(optimizer(name="SGD", peak_lr=(0.1,)),)
        ),
    ),
    Shows(
        Cause.SATURATING_ACTIVATION,
        lambda: stuck(
            n_layers=6,
            function="sigmoid",
            by_layer=layers(6, decades=5.0, ratio=1e-6),
            optimizers=(optimizer(name="SGD", peak_lr=(0.1,)),),
        ),
    ),
    Shows(Cause.DEAD_ACTIVATION, lambda: stuck(hidden=activations(dead=(1.0, 1.0)))),
    Shows(
        Cause.TOO_DEEP_WITHOUT_SHORTCUTS,
        lambda: stuck(n_layers=24, function="gelu", by_layer=layers(24, decades=4.0, ratio=1e-6)),
    ),
    Shows(
        Cause.BAD_INITIALISATION,
        lambda: stuck(
            n_layers=8,
            function="tanh",
            by_layer=layers(8, scale=9.0),
            hidden=activations(saturated=(0.9, 0.9), function="tanh"),
        ),
    ),
    Shows(Cause.BAD_INITIALISATION, lambda: stuck(by_layer=layers(scale=0.1))),
    Shows(
        Cause.WEIGHT_DECAY_TOO_STRONG,
        lambda: stuck(by_layer=layers(shrink=0.01), optimizers=(optimizer(weight_decay=1.0),)),
    ),
    Shows(Cause.DROPOUT_TOO_STRONG, lambda: stuck(dropout=(0.9, 0.9))),
    Shows(Cause.BATCH_TOO_SMALL, lambda: stuck(batch_size=2, norms=("bn",))),
    Shows(
        Cause.BATCH_TOO_LARGE,
        lambda: (
            record(
                {k: v[:40] for k, v in chance(loss=np.linspace(2.4, 2.3, STEPS)).items()},
                what=facts(
                    batch_size=4000,
                    steps=40,
                    loaders=(
                        LoaderFact(
                            index=0, batch_size=4000, n_samples=8000, n_batches=2, trained=True
                        ),
                    ),
                ),
                by_layer=layers(),
            ),
            captured(),
        ),
    ),
    Shows(
        Cause.OVERFITTING,
        lambda: (record(series(), by_layer=layers(), evaluated=evals(accuracy=0.3)), captured()),
    ),
    Shows(Cause.INPUTS_NOT_STANDARDISED, lambda: stuck(sees=captured(LEARNABLE * 500))),
    Shows(Cause.INPUT_OUTLIERS, lambda: blown(sees=captured(outlying()), by_layer=layers())),
    Shows(
        Cause.CLASS_IMBALANCE,
        lambda: stuck(
            steps={"loss": flat(0.9 * H), "accuracy": 0.96, "majority": 1.0}, sees=None, **UNEQUAL
        ),
    ),
    Shows(
        Cause.CONSTANT_INPUTS,
        lambda: stuck(sees=captured(np.zeros((200, 5))), hidden=activations(cosine=(1, 1))),
    ),
    Shows(Cause.NON_FINITE_DATA, lambda: blown(sees=captured(with_nan()))),
    Shows(
        Cause.LABELS_WITHOUT_SIGNAL,
        lambda: stuck(sees=captured(targets=np.random.default_rng(5).permutation(BLOBS))),
    ),
    Shows(Cause.LABEL_NOISE, memorising),
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.cause.value)
def test_most_believed(case: Shows) -> None:
    made, sees = case.make()
    diagnosis = diagnose(made, sees)
    assert diagnosis.failing
    best = diagnosis.hypotheses[0]
    assert best.cause is case.cause, [(h.cause.value, h.belief) for h in diagnosis.hypotheses]
    assert best.curable == bool(best.remedies)
    assert best.reason


def test_missing_normalisation_is_among_the_first() -> None:
    made, _ = stuck(n_layers=8, by_layer=layers(8, decades=-4.0))
    assert Cause.MISSING_NORMALISATION in [h.cause for h in diagnose(made).hypotheses[:3]]


def test_beliefs_are_ordered_and_what_is_explained_keeps_little() -> None:
    made, _ = stuck(
        steps={"lr": decayed()},
        by_layer=layers(ratio=1e-9),
        optimizers=(optimizer(name="SGD", peak_lr=(1e-3,)),),
    )
    found = diagnose(made).hypotheses
    beliefs = [h.belief for h in found]
    assert beliefs == sorted(beliefs, reverse=True)
    low = next((h.belief for h in found if h.cause is Cause.LEARNING_RATE_TOO_LOW), 0.0)
    assert found[0].cause is Cause.SCHEDULE_DECAYS_TOO_FAST
    assert low < 0.3


def test_a_sound_run_has_no_causes() -> None:
    odd = facts(grads_zeroed=True, output_activation="softmax", dropout=(0.9,))
    assert diagnose(record(by_layer=layers(), what=odd), captured(LEARNABLE * 500)).hypotheses == ()


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("log_softmax", "nll_loss"),
        ("sigmoid", "binary_cross_entropy"),
        ("log_softmax", "cross_entropy"),
        ("", "cross_entropy"),
    ],
)
def test_right_heads_are_not_repaired(output: str, loss: str) -> None:
    made, _ = stuck(output_activation=output, loss_function=loss)
    causes = {h.cause for h in diagnose(made).hypotheses}
    assert not causes & {Cause.SOFTMAX_BEFORE_LOSS, Cause.WRONG_LOSS}


def test_a_frozen_pretrained_body_is_doubted() -> None:
    made, _ = stuck(n_frozen=9000, pretrained=True)
    frozen = [h.belief for h in diagnose(made).hypotheses if h.cause is Cause.FROZEN_PARAMETERS]
    assert frozen and frozen[0] < 0.5


def test_sparse_pixels_are_no_outliers() -> None:
    pixels = np.zeros((600, 30))
    pixels[::200, :] = 1.0
    pixels[:, 0] = RNG.random(600)
    made, _ = stuck()
    assert Cause.INPUT_OUTLIERS not in [
        h.cause for h in diagnose(made, captured(pixels)).hypotheses
    ]


def test_warm_up_is_seen() -> None:
    lr = np.minimum(1.0, (np.arange(STEPS) + 1) / 100) * 2e-3
    made, _ = stuck(
        steps={"lr": lr},
        hidden=activations(cosine=(0.4, 1.0)),
        layers=TRANSFORMER,
        optimizers=(optimizer(name="AdamW", peak_lr=(2e-3,)),),
    )
    assert Cause.MISSING_WARMUP not in [h.cause for h in diagnose(made).hypotheses]


def test_a_clip_by_value_can_be_too_tight() -> None:
    made, _ = stuck(
        steps={"clipped_norm": 1e-4},
        by_layer=layers(ratio=1e-7),
        optimizers=(optimizer(name="SGD", peak_lr=(0.1,)),),
        clips=(ClipFact(kind="value", max_norm=1e-6, norm_type=float("inf"), calls=STEPS),),
    )
    assert diagnose(made).hypotheses[0].cause is Cause.CLIP_TOO_TIGHT


def test_a_little_skill_is_failing_beside_simple_models() -> None:
    weak = record(
        series(loss=np.linspace(LN10, 1.9, STEPS), accuracy=0.25), what=facts(), by_layer=layers()
    )
    assert not diagnose(weak).failing
    found = diagnose(weak, captured())
    assert found.failing
    assert found.findings[0].evidence["simple_models"] > 0.5
    good = record(series(), by_layer=layers())
    assert not diagnose(good, captured()).failing


def test_shapes_that_broadcast_are_a_wrong_loss() -> None:
    regression: dict[str, Any] = {
        "task": "regression",
        "loss_function": "mse_loss",
        "class_prior": (),
        "n_classes": 0,
        "head_width": 1,
    }
    made, _ = stuck(
        steps={"loss": flat(1.0), "accuracy": np.nan},
        target_variance=1.0,
        target_mean=0.0,
        **regression,
    )
    assert diagnose(made).hypotheses[0].cause is Cause.WRONG_LOSS


def test_a_recurrent_run_that_breaks_at_once_is_unbounded_without_a_clip() -> None:
    loss, norm = flat(1.0), flat(800.0)
    loss[1:], norm[1:] = np.nan, np.nan
    steps = series(loss=loss, grad_norm=norm, accuracy=np.nan)
    sgd = (optimizer(name="SGD", peak_lr=(0.05,)),)

    def beliefs(**what: Any) -> dict[Cause, float]:
        made = record(steps, what=facts(optimizers=sgd, **what), by_layer=layers(ratio=2.0))
        return {h.cause: h.belief for h in diagnose(made).hypotheses}

    recurrent = beliefs(layers=RECURRENT)
    assert recurrent[Cause.UNBOUNDED_GRADIENT] > recurrent[Cause.LEARNING_RATE_TOO_HIGH]
    clip = ClipFact(kind="norm", max_norm=1.0, norm_type=2.0, calls=STEPS)
    assert Cause.UNBOUNDED_GRADIENT not in beliefs(layers=RECURRENT, clips=(clip,))
    assert Cause.UNBOUNDED_GRADIENT not in beliefs()


def test_one_bad_row_is_counted() -> None:
    made, sees = blown(sees=captured(with_nan()))
    best = diagnose(made, sees).hypotheses[0]
    assert best.cause is Cause.NON_FINITE_DATA
    assert "1 of 600" in best.reason


def test_a_large_lead_of_simple_models_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(accuracy: float, score: float, dropout: tuple[float, ...] = ()) -> bool:
        probe = Probe(n=600, p_value=0.002, score=score, accuracy=0.9, prior=0.1, wrong_share=0.0)
        monkeypatch.setattr("sweeper.diagnosis._base.simple_models", lambda *_: probe)
        what = facts(dropout=dropout)
        made = record(series(accuracy=accuracy), what=what, by_layer=layers())
        return diagnose(made, captured()).failing

    assert verdict(0.1 + 0.9 * 0.46, 0.88)
    assert not verdict(0.1 + 0.9 * 0.46, 0.76)  # a lead of 0.3, and not twice as good
    assert verdict(0.1 + 0.9 * 0.2, 0.5)
    assert not verdict(0.1 + 0.9 * 0.2, 0.5, dropout=(0.5,))


def test_counting_right_answers_under_a_squared_error_is_a_wrong_loss() -> None:
    regression: dict[str, Any] = {
        "task": "regression",
        "loss_function": "mse_loss",
        "class_prior": (),
        "n_classes": 0,
        "head_width": 1,
        "target_variance": 8.25,
        "target_mean": 4.5,
    }
    steps = series(loss=flat(7.2), accuracy=np.nan)
    steps["r2_error"] = steps["n"] * 7.2
    counted = record(
        steps, what=facts(**regression), evaluated=evals(accuracy=0.12), by_layer=layers()
    )
    found = diagnose(counted, captured())
    assert found.failing
    assert found.hypotheses[0].cause is Cause.WRONG_LOSS
    assert found.hypotheses[0].belief > 0.8
