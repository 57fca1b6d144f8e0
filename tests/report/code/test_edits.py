"""Each edit: the place that is certain, and the places that are not."""

from __future__ import annotations

import ast
import math

import pytest

from sweeper.remedies import all_remedies
from sweeper.report.code import all_edits
from sweeper.report.code.init import GAINS
from sweeper.types import ActivationSite, ClipFact, LayerFact, LoaderFact
from tests.report.code.sources import FACTS, LAYERS, LOADER, SCRIPT, SGD, change, edited, unsure

NO_ONE_PLACE = {"standardise_inputs", "clamp_outliers", "residual"}
"""Remedies that are a change of the data's or the model's code all over."""


def test_every_remedy_has_an_edit_or_a_reason() -> None:
    assert set(all_edits()) | NO_ONE_PLACE == set(all_remedies())
    assert not set(all_edits()) & NO_ONE_PLACE


# -- learning rate ---------------------------------------------------------------------------------


def test_learning_rate_in_the_constructor() -> None:
    assert edited({"learning_rate": 1e-4}) == [
        "-optimizer = torch.optim.SGD(model.parameters(), lr=0.1)",
        "+optimizer = torch.optim.SGD(model.parameters(), lr=0.0001)",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SGD(model.parameters(), 0.1)", "SGD(model.parameters(), 0.5)"),
        ("SGD(model.parameters())", "SGD(model.parameters(), lr=0.5)"),
        ("SGD(\n  model.parameters(),\n  lr=0.1,\n)", "SGD(\n  model.parameters(),\n  lr=0.5,\n)"),
        ("SGD(model.parameters(), lr=config['lr'])", "SGD(model.parameters(), lr=0.5)"),
        ("SGD(params=model.parameters(), lr=1e-1)", "SGD(params=model.parameters(), lr=0.5)"),
    ],
)  # fmt: skip
def test_learning_rate_in_other_spellings(before: str, after: str) -> None:
    source = SCRIPT.replace("SGD(model.parameters(), lr=0.1)", before)
    assert change({"learning_rate": 0.5}, source).text == source.replace(before, after)


def test_learning_rate_named_once_and_used_once() -> None:
    source = "rate = 0.1  # found by hand\n" + SCRIPT.replace("lr=0.1", "lr=rate")
    assert edited({"learning_rate": 0.5}, source) == [
        "-rate = 0.1  # found by hand",
        "+rate = 0.5  # found by hand",
    ]


@pytest.mark.parametrize("other", ["print(rate)", "rate = 0.2", "def f(rate): pass"])
def test_learning_rate_named_and_used_elsewhere_changes_at_its_use(other: str) -> None:
    source = f"rate = 0.1\n{other}\n" + SCRIPT.replace("lr=0.1", "lr=rate")
    assert edited({"learning_rate": 0.5}, source)[1].endswith("lr=0.5)")


@pytest.mark.parametrize(
    ("source", "fields", "says"),
    [
        (SCRIPT.replace("torch.optim.SGD", "make"), {}, "no place in the file builds"),
        (SCRIPT + "torch.optim.SGD(model.parameters(), lr=1)\n", {}, "2 places build"),
        (SCRIPT, {"optimizers": (SGD, SGD)}, "builds 2 optimizers"),
        (SCRIPT, {"lr_written_by_program": True}, "writes the rate itself"),
        (SCRIPT, {"optimizer": {"peak_lr": (0.1, 0.01)}}, "different rates"),
        (SCRIPT.replace("lr=0.1", "**options"), {}, "unpacks its arguments"),
        (SCRIPT, {"schedulers": ("LambdaLR",), "optimizer": {"peak_lr": (0.7,)}}, "makes 0.7 out"),
        (SCRIPT.replace("lr=0.1", "lr=f()"), {"schedulers": ("StepLR",)}, "not certain"),
        (SCRIPT, {"schedulers": ("CyclicLR",)}, "CyclicLR"),
        ("torch = None\n" + SCRIPT, {}, "no place in the file builds"),
    ],
)  # fmt: skip
def test_learning_rate_where_it_is_not_certain(source: str, fields: dict, says: str) -> None:  # type: ignore[type-arg]
    assert says in unsure({"learning_rate": 0.5}, source, **fields)


def test_learning_rate_of_a_one_cycle_schedule() -> None:
    line = "plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=100)\n"
    assert edited({"learning_rate": 0.5}, SCRIPT + line, schedulers=("OneCycleLR",)) == [
        f"-{line.strip()}",
        f"+{line.strip().replace('0.1', '0.5')}",
    ]


# -- optimizer, weight decay -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("adam", "torch.optim.Adam(model.parameters(), lr=0.1)"),
        ("adamw", "torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)"),
        ("sgd_momentum", "torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)"),
    ],
)
def test_another_class_at_the_programs_rate_and_decay(kind: str, call: str) -> None:
    assert edited({"optimizer": kind})[1] == f"+optimizer = {call}"


def test_what_adam_like_classes_share_is_kept_and_the_rest_goes() -> None:
    source = SCRIPT.replace(
        "torch.optim.SGD(model.parameters(), lr=0.1)",
        "torch.optim.Adam(model.parameters(), betas=(0.8, 0.9), amsgrad=True, weight_decay=W)",
    )
    made = edited({"optimizer": "adamw"}, source, optimizer={"name": "Adam", "peak_lr": (0.001,)})
    assert made[1] == (
        "+optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=W, "
        "betas=(0.8, 0.9))"
    )


def test_imports_by_name_are_extended() -> None:
    source = SCRIPT.replace("import torch\n", "from torch.optim import SGD\n").replace(
        "torch.optim.SGD", "SGD"
    )
    assert edited({"optimizer": "adam"}, source) == [
        "-from torch.optim import SGD",
        "+from torch.optim import SGD, Adam",
        "-optimizer = SGD(model.parameters(), lr=0.1)",
        "+optimizer = Adam(model.parameters(), lr=0.1)",
    ]


def test_rate_decay_and_class_meet_in_one_call() -> None:
    made = edited({"learning_rate": 0.01, "weight_decay": 0.1, "optimizer": "adamw"})
    assert made[1] == (
        "+optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)"
    )


# -- clip, zero_grad, train mode, schedule ---------------------------------------------------------


def test_clip_in_front_of_the_step() -> None:
    assert edited({"clip_norm": 1.0}) == ["+nn.utils.clip_grad_norm_(model.parameters(), 1.0)"]
    made = edited({"clip_norm": {"max_norm": 2.0, "norm_type": "inf"}})
    assert made == ['+nn.utils.clip_grad_norm_(model.parameters(), 2.0, norm_type=float("inf"))']


def test_the_programs_own_clip_is_changed() -> None:
    source = SCRIPT.replace(
        "    optimizer.step()",
        "    nn.utils.clip_grad_value_(model.parameters(), 0.5)\n    optimizer.step()",
    )
    seen = (ClipFact(kind="value", max_norm=0.5, norm_type=2.0, calls=100),)
    assert edited({"clip_norm": 1.0}, source, clips=seen)[1] == (
        "+nn.utils.clip_grad_norm_(model.parameters(), 1.0)"
    )
    assert "was not called" in unsure({"clip_norm": 1.0}, source)
    assert "elsewhere" in unsure({"clip_norm": 1.0}, clips=seen)


def test_clip_under_a_scaler_unscales_first() -> None:
    source = SCRIPT.replace("    optimizer.step()", "    scaler.step(optimizer)").replace(
        "for x,", "scaler = torch.amp.GradScaler()\nfor x,"
    )
    assert edited({"clip_norm": 1.0}, source) == [
        "+scaler.unscale_(optimizer)",
        "+nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
    ]


FUNCTION = """\
import torch
def make():
    net = torch.nn.Linear(4, 3)
    return net, torch.optim.SGD(net.parameters(), lr=0.1)
def step(opt):
    opt.step()
model, opt = make()
"""


def test_parameters_that_are_not_in_reach_are_those_of_the_optimizer() -> None:
    source = FUNCTION.replace("    return net, torch", "    opt = torch").replace(
        "lr=0.1)", "lr=0.1)\n    return net, opt"
    )
    assert edited({"clip_norm": 1.0}, source) == [
        (
            "+torch.nn.utils.clip_grad_norm_("
            "[p for group in opt.param_groups for p in group['params']], 1.0)"
        )
    ]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (SCRIPT.replace(".step()", ".step(closure)"), "closure"),
        (SCRIPT + "optimizer.step()\n", "2 places step"),
        (SCRIPT.replace("optimizer.step()", "pass"), "no place in the file steps"),
        (FUNCTION, "not simply assigned"),
    ],
)
def test_no_certain_step(source: str, says: str) -> None:
    assert says in unsure({"clip_norm": 1.0}, source)
    assert says in unsure({"zero_grad": True}, source)


def test_gradients_are_cleared_behind_the_step() -> None:
    source = SCRIPT.replace("    optimizer.zero_grad()\n", "")
    assert edited({"zero_grad": True}, source) == ["+optimizer.zero_grad()"]
    one_line = source.replace("    optimizer.step()", "    optimizer.step(); print(1)  # both")
    assert edited({"zero_grad": True}, one_line)[1] == (
        "+optimizer.step(); optimizer.zero_grad(); print(1)  # both"
    )
    at_the_end = source.removesuffix("\n")
    assert edited({"zero_grad": True}, at_the_end) == ["+optimizer.zero_grad()"]


def test_train_mode_at_the_start_of_the_step() -> None:
    assert edited({"train_mode": True}) == ["+model.train()"]


def test_schedule_beside_the_optimizer() -> None:
    made = edited({"lr_schedule": {"kind": "cosine", "warmup": 0.1}})
    assert made == [
        "+import math",
        "+lr_schedule = torch.optim.lr_scheduler.LambdaLR(",
        "+optimizer,",
        (
            "+lambda step: (step + 1) / 10 if step < 10 else "
            "0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - 10) / 90))),"
        ),
        "+)",
        "+lr_schedule.step()",
    ]


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "step"])
@pytest.mark.parametrize("warmup", [0.0, 0.29])
def test_the_schedule_is_that_of_the_remedy(kind: str, warmup: float) -> None:
    from sweeper.remedies.lr_schedule import shape_of

    text = change({"lr_schedule": {"kind": kind, "warmup": warmup}}).text
    (found,) = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Lambda)]
    share = eval(compile(ast.Expression(found), "share", "eval"), {"math": math})
    shape = shape_of(kind, warmup)
    assert [share(s) for s in range(100)] == [shape(s, 100) for s in range(100)]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"schedulers": ("StepLR",)}, "has to go first"),
        ({"finished": False}, "not known"),
    ],
)
def test_schedule_where_it_is_not_certain(fields: dict, says: str) -> None:  # type: ignore[type-arg]
    assert says in unsure({"lr_schedule": "cosine"}, **fields)


# -- data and losses -------------------------------------------------------------------------------


def test_batch_size_of_the_loader_that_trains() -> None:
    two = SCRIPT.replace("model =", "test = DataLoader(other, 100)\nmodel =")
    assert edited({"batch_size": 64}, two)[1] == (
        "+loader = DataLoader(data, batch_size=64, shuffle=True)"
    )


def test_batch_size_by_the_order_of_construction() -> None:
    plain = SCRIPT.replace(", shuffle=True", "")
    two = plain.replace("model =", "test = DataLoader(other, 32)\nmodel =")
    known = LoaderFact(index=1, batch_size=32, n_samples=9, n_batches=1, trained=True)
    other = LoaderFact(index=0, batch_size=32, n_samples=9, n_batches=1, trained=False)
    made = edited({"batch_size": 64}, two, loaders=(other, known))
    assert made[1] == "+test = DataLoader(other, 64)"
    inside = two.replace("test =", "for _ in range(1):\n    test =")
    assert "which of 2" in unsure({"batch_size": 64}, inside, loaders=(other, known))


def test_batch_size_without_a_loader() -> None:
    assert "no loader trains" in unsure({"batch_size": 64}, loaders=())


def test_label_smoothing_and_class_weights() -> None:
    made = edited({"label_smoothing": 0.1, "class_weights": True})
    assert made[1] == (
        "+criterion = nn.CrossEntropyLoss(weight=torch.tensor([0.6666666666666666, "
        "1.3333333333333333, 1.3333333333333333]), label_smoothing=0.1)"
    )


def test_two_places_of_a_loss() -> None:
    source = SCRIPT + "nn.CrossEntropyLoss()(model(x), y)\n"
    assert "2 places" in unsure({"label_smoothing": 0.1}, source)


def test_another_loss() -> None:
    source = SCRIPT.replace("nn.CrossEntropyLoss()", "nn.MSELoss(reduction='sum')")
    made = edited({"loss": "huber"}, source, loss_function="mse_loss")
    assert made[1] == "+criterion = nn.HuberLoss(reduction='sum')"
    called = SCRIPT.replace("criterion(", "nn.functional.mse_loss(").replace(
        "criterion = nn.CrossEntropyLoss()\n", ""
    )
    made = edited({"loss": "l1"}, called, loss_function="mse_loss")
    assert made[1] == "+nn.functional.l1_loss(model(x), y).backward()"


# -- the model -------------------------------------------------------------------------------------


def test_activation_modules() -> None:
    assert edited({"activation": "relu"})[1] == (
        "+model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))"
    )
    by_class = SCRIPT.replace("nn.Sigmoid()", "act()").replace(
        "model =", "act = nn.Sigmoid\nmodel ="
    )
    assert edited({"activation": "gelu"}, by_class)[1] == "+act = nn.GELU"


def test_activation_calls_at_the_line_that_the_run_saw() -> None:
    source = SCRIPT + "def forward(self, x):\n    return torch.sigmoid(self.a(x)) * x.sigmoid()\n"
    site = ActivationSite(
        site="|sigmoid|train.py:14", kind="call", function="sigmoid", swappable=True
    )
    made = edited({"activation": "tanh"}, source, activations=(site,))
    assert made[1] == "+return torch.tanh(self.a(x)) * torch.tanh(x)"


@pytest.mark.parametrize(
    ("site", "says"),
    [
        (ActivationSite(site="x|relu|other.py:3", kind="call", function="relu", swappable=True),
         "applied in other.py"),
        (ActivationSite(site="x|relu|train.py:3", kind="call", function="relu", swappable=True),
         "line 3 applies no relu"),
        (ActivationSite(site="1", kind="module", function="relu", swappable=True),
         "names torch.nn.ReLU"),
        (ActivationSite(site="1", kind="module", function="prelu", swappable=True), "prelu"),
    ],
)  # fmt: skip
def test_activation_that_is_not_where_it_should_be(site: ActivationSite, says: str) -> None:
    assert says in unsure({"activation": "tanh"}, activations=(site,))


def test_an_activation_with_another_use_stays() -> None:
    source = SCRIPT.replace("nn.Linear(8, 3))", "nn.Linear(8, 3), nn.Sigmoid())")
    sites = (
        ActivationSite(site="1", kind="module", function="sigmoid", swappable=True),
        ActivationSite(
            site="3", kind="module", function="sigmoid", swappable=False, reason="output"
        ),
    )
    assert "another use" in unsure({"activation": "relu"}, source, activations=sites)


def test_normalisation_in_a_sequence() -> None:
    assert edited({"normalisation": "batch"})[1] == (
        "+model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Sigmoid(), nn.Linear(8, 3))"
    )


def test_normalisation_in_lists_that_grow() -> None:
    source = SCRIPT.replace(
        "model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 3))",
        "layers = [nn.Linear(4, w), nn.Sigmoid()]\nfor _ in range(2):\n"
        "    layers += [nn.Linear(w, w), nn.Sigmoid()]\n"
        "model = nn.Sequential(*layers, nn.Linear(w, 3))",
    )
    hidden = [LayerFact(name=str(i), kind="Linear", followed_by="sigmoid") for i in (0, 2, 4)]
    head = LayerFact(name="6", kind="Linear", is_output=True)
    made = edited({"normalisation": "layer"}, source, layers=(*hidden, head))
    assert [line for line in made if line[0] == "+"] == [
        "+layers = [nn.Linear(4, w), nn.LayerNorm(w), nn.Sigmoid()]",
        "+layers += [nn.Linear(w, w), nn.LayerNorm(w), nn.Sigmoid()]",
    ]
    odd = LayerFact(name="4", kind="Linear", followed_by="")
    assert unsure({"normalisation": "layer"}, source, layers=(*hidden[:2], odd, head))


def test_normalisation_beside_attributes() -> None:
    source = SCRIPT + (
        "class Net(nn.Module):\n    def __init__(self):\n        self.fc = nn.Conv2d(1, 8, 3)\n"
        "    def forward(self, x):\n        return self.fc(x).relu()\n"
    )
    layers = (LayerFact(name="body.fc", kind="Conv2d", followed_by="relu"), LAYERS[1])
    made = edited({"normalisation": "batch"}, source, layers=layers)
    assert made == [
        "+self.fc_norm = nn.BatchNorm2d(8)",
        "-return self.fc(x).relu()",
        "+return self.fc_norm(self.fc(x)).relu()",
    ]
    twice = source + "        self.fc(x)\n"
    assert "once" in unsure({"normalisation": "batch"}, twice, layers=layers)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"layers": (LayerFact(name="5", kind="Linear", followed_by="relu"),)}, "not those"),
        ({"n_frozen": 4}, "freezes"),
        ({"layers": (*LAYERS, LayerFact(name="e", kind="Embedding"))}, "sequences"),
        ({"loaders": (LoaderFact(**{**LOADER.__dict__, "n_samples": 321}),)}, "one sample"),
    ],
)
def test_normalisation_where_it_is_not_certain(fields: dict, says: str) -> None:  # type: ignore[type-arg]
    assert says in unsure({"normalisation": "batch"}, **fields)


def test_normalisations_are_taken_out() -> None:
    source = SCRIPT.replace("nn.Sigmoid()", "nn.BatchNorm1d(8), nn.Sigmoid()")
    made = edited({"normalisation": "none"}, source, norms=("1",))
    assert "nn.Linear(4, 8), nn.Identity(), nn.Sigmoid()" in made[1]


def test_batch_normalisations_become_layer_normalisations() -> None:
    source = SCRIPT.replace("nn.Sigmoid()", "nn.BatchNorm1d(8, eps=1e-3, momentum=0.2)")
    layers = (LayerFact(name="0", kind="Linear", followed_by="norm"), LAYERS[1])
    made = edited({"normalisation": "layer"}, source, norms=("1",), layers=layers)
    assert "nn.Linear(4, 8), nn.GroupNorm(1, 8, eps=1e-3)," in made[1]


def test_dropout_rates() -> None:
    source = SCRIPT.replace("nn.Sigmoid()", "nn.Sigmoid(), nn.Dropout(0.5), nn.Dropout(p=0.2)")
    made = edited({"dropout": 0.0}, source, dropout=(0.5, 0.2))
    assert "nn.Dropout(0.0), nn.Dropout(p=0.0)" in made[1]
    assert "not in the file" in unsure({"dropout": 0.0}, source, dropout=(0.5, 0.3))
    called = SCRIPT + "def forward(x):\n    return nn.functional.dropout(x, training=True)\n"
    made = edited({"dropout": 0.1}, called, dropout=(0.5,), n_dropout_calls=1)
    assert made[1] == "+return nn.functional.dropout(x, training=True, p=0.1)"
    stacked = SCRIPT.replace("nn.Sigmoid()", "nn.LSTM(8, 8, 2, dropout=0.3)")
    assert "dropout=0.1)" in edited({"dropout": 0.1}, stacked, dropout=(0.3,))[1]
    inside = SCRIPT.replace("nn.Sigmoid()", "nn.TransformerEncoderLayer(8, 2)")
    assert "dropout inside" in unsure({"dropout": 0.0}, inside, dropout=(0.1,))


@pytest.mark.parametrize(
    ("end", "after"),
    [
        ("return F.softmax(self.head(x), dim=1)", "return self.head(x)"),
        ("return torch.softmax(x, 1)", "return x"),
        ("return self.head(x).softmax(-1)", "return self.head(x)"),
        ("return self.soft(x)", "return x"),
        ("return nn.Softmax(dim=1)(x)", "return x"),
    ],
)
def test_softmax_at_the_end_of_a_forward(end: str, after: str) -> None:
    source = (
        "import torch.nn.functional as F\n" + SCRIPT + "class Net(nn.Module):\n"
        "    def __init__(self):\n        self.soft = nn.Softmax(1)\n"
        f"    def forward(self, x):\n        {end}\n"
    )
    made = edited({"drop_output_softmax": True}, source, output_activation="softmax")
    assert made == [f"-{end}", f"+{after}"]


def test_softmax_at_the_end_of_a_sequence() -> None:
    source = SCRIPT.replace("nn.Linear(8, 3))", "nn.Linear(8, 3), nn.Softmax(dim=1))")
    made = edited({"drop_output_softmax": True}, source, output_activation="softmax")
    assert made[1].endswith("nn.Linear(8, 3))")
    twice = source + "other = nn.Sequential(nn.Linear(1, 2), nn.Softmax(1))\n"
    assert "2 sequences" in unsure(
        {"drop_output_softmax": True}, twice, output_activation="softmax"
    )


def test_modules_that_a_library_may_have_built() -> None:
    library = "import transformers\n" + SCRIPT
    sites = tuple(
        ActivationSite(site=name, kind="module", function="sigmoid", swappable=True)
        for name in "ab"
    )
    says = "may also be built by transformers"
    assert says in unsure({"activation": "relu"}, library, activations=sites)
    assert edited({"activation": "relu"}, SCRIPT, activations=sites)
    drops = library.replace("nn.Sigmoid()", "nn.Dropout(0.5)")
    assert says in unsure({"dropout": 0.0}, drops, dropout=(0.5, 0.5))
    assert edited({"dropout": 0.0}, drops, dropout=(0.5,))


def test_frozen_parts() -> None:
    source = SCRIPT.replace(
        "optimizer =", "for p in model.parameters():\n    p.requires_grad = False\noptimizer =", 1
    )
    assert edited({"unfreeze": True}, source) == [
        "-p.requires_grad = False",
        "+p.requires_grad = True",
    ]
    method = SCRIPT.replace("optimizer =", "model[0].requires_grad_(False)\noptimizer =", 1)
    assert edited({"unfreeze": True}, method)[1] == "+model[0].requires_grad_(True)"
    teacher = source + "for p in teacher.parameters():\n    p.requires_grad = False\n"
    assert "2 places" in unsure({"unfreeze": True}, teacher)


def test_parameters_of_a_part() -> None:
    source = SCRIPT.replace("SGD(model.parameters()", "SGD(model.head.parameters()")
    made = edited({"add_missing_parameters": True}, source)
    assert made[1] == "+optimizer = torch.optim.SGD(model.parameters(), lr=0.1)"
    assert unsure({"add_missing_parameters": True}, SCRIPT)


def test_initial_weights() -> None:
    layers = (LayerFact(name="0", kind="Linear", followed_by="relu"), LAYERS[1])
    made = edited({"init": {"scheme": "kaiming", "scale": 0.5}}, layers=layers)
    assert made == [
        "+for name, module in model.named_modules():",
        "+if isinstance(module, nn.Linear):",
        "+nn.init.kaiming_normal_(module.weight, nonlinearity='linear' if name == '2' else 'relu')",
        "+if module.bias is not None:",
        "+nn.init.zeros_(module.bias)",
        "+module.weight.data.mul_(0.5)",
    ]
    recurrent = (*LAYERS, LayerFact(name="rnn", kind="LSTM"))
    assert "LSTM" in unsure({"init": "xavier"}, layers=recurrent)


def test_gains_are_those_of_the_remedy() -> None:
    from sweeper.remedies._weights import GAINS as OF_THE_REMEDY

    assert {k: pytest.approx(v) for k, v in GAINS.items()} == OF_THE_REMEDY


def test_facts_are_those_of_the_script() -> None:
    """What the tests above rest on."""
    assert FACTS.optimizers[0].name in SCRIPT
