"""A module of PyTorch is read as data, built anew, and trained as a loop written by hand trains it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.nn import functional

import umbel as ub
from tests.learning.sites import PEOPLE, federation
from umbel.learning.beginning import as_torch
from umbel.learning.trainers.reading import read_module
from umbel.models.descent import descend
from umbel.models.examples import Examples
from umbel.models.modules import ModuleMathematics
from umbel.models.solvers import mathematics_of
from umbel.plan import layers as plan
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.models import Design, Number, TorchModule, Training
from umbel.plan.operators import Transform, Values

CLASSES = tuple(Literal(value, pa.int64()) for value in range(3))
WIDTH = 12
NUMBERS = tuple(Number(f"x{i}") for i in range(WIDTH))
FEATURES = [ub.learn.numeric("age", scale=True), "ward"]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        self.shift = nn.Parameter(torch.randn(WIDTH))
        self.head = nn.Linear(2 * WIDTH, 1)

    def forward(self, x: Any) -> Any:
        inner = self.norm(functional.relu(self.inner(x)) + x) * 0.5 - 1 + self.shift
        return self.head(torch.cat([inner, x], dim=1)).squeeze(1)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.group, self.head = nn.GroupNorm(2, 4), nn.Linear(8, 1)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Any) -> Any:
        x = self.group(functional.gelu(self.norm(self.conv(x.view(-1, 1, 3, 4)))))
        x = functional.max_pool2d(x, (1, 2)) + functional.avg_pool2d(x, (1, 2))
        x = functional.adaptive_avg_pool2d(x, (1, 2))
        return self.head(self.drop(torch.flatten(x, 1)))


class Sequence(nn.Module):
    def __init__(self, cell: str, last: bool) -> None:
        super().__init__()
        self.cell = getattr(nn, cell)(4, 5, 2, batch_first=True, dropout=0.1)
        self.head, self.kind, self.last = nn.Linear(5, 1), cell, last

    def forward(self, x: Any) -> Any:
        made, state = self.cell(x.reshape(x.size(0), 3, 4))
        if not self.last:
            return self.head(made[:, -1])
        return self.head((state[0] if self.kind == "LSTM" else state)[-1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Unflatten(1, (3, 4))
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Any) -> Any:
        x = self.encoder(self.shape(x))
        heeded, _ = self.attention(x, x, x)
        return self.head((x + heeded).mean(dim=1))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 1)

    def forward(self, x: Any) -> Any:
        return self.head(self.words(x.long()).sum(dim=1))


def deep() -> nn.Module:
    inner = nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU(0.3), nn.Identity(), nn.ELU(0.7))
    return nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), inner, nn.Softplus(), nn.Linear(6, 1))


def lines() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (2, 6)), nn.Conv1d(2, 3, 3), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(6, 1)
    )


def design_of(module: nn.Module, loss: str = "squared") -> tuple[Design, Any]:
    algorithm, state = read_module(module, loss)
    return Design(algorithm, NUMBERS, "y", CLASSES if loss == "cross_entropy" else ()), state


def rows(count: int = 40) -> Examples:
    draw = np.random.default_rng(3)
    x = draw.normal(size=(count, WIDTH))
    return Examples(x, draw.integers(0, 3, count).astype(np.float64))


@pytest.mark.parametrize(
    "make",
    [
        deep,
        lines,
        Residual,
        Images,
        Attending,
        lambda: Sequence("LSTM", last=True),
        lambda: Sequence("LSTM", last=False),
        lambda: Sequence("GRU", last=True),
        lambda: Sequence("RNN", last=True),
    ],
)
def test_what_is_read_of_a_module_computes_the_same_wherever_it_is_built(make: Any) -> None:
    torch.manual_seed(4)
    module = make().eval()
    design, state = design_of(module)
    text = plan_to_json(Transform(input=Values(table=empty()), design=design))
    again = plan_from_json(text)
    assert isinstance(again, Transform)
    assert again.design == design
    built = as_torch(again.design, state)
    x = torch.from_numpy(rows().x).float()
    with torch.no_grad():
        assert torch.allclose(built(x), module(x), atol=1e-6)
    # Its tensors go by the names that they have in the module.
    names = [name for name, _ in ModuleMathematics().state(design).parts]
    known = module.state_dict()
    assert sorted(names) == sorted(n for n in known if not n.endswith("num_batches_tracked"))
    # It trains, and from one seed to the same bits.
    how = Training(0.05, 2, 16, seed=9)
    one, two = (descend(design, state, rows(), how, None) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert np.isfinite(one).all()
    assert np.abs(one[:-2]).max() > 0


def empty() -> pa.Table:
    return pa.table({feature.column: pa.array([], pa.float64()) for feature in NUMBERS})


def adam(one: float, two: float, decay: float) -> Any:
    """As PyTorch's documentation of Adam and AdamW writes it, for one tensor."""

    def step(p: Any, g: Any, kept: dict[str, Any]) -> None:
        kept["t"] = kept.get("t", 0) + 1
        kept["m"] = one * kept.get("m", 0) + (1 - one) * g
        kept["v"] = two * kept.get("v", 0) + (1 - two) * g**2
        mean, square = kept["m"] / (1 - one ** kept["t"]), kept["v"] / (1 - two ** kept["t"])
        p -= 0.05 * decay * p
        p -= 0.05 * mean / (square.sqrt() + 1e-8)

    return step


def gradient(p: Any, g: Any, kept: dict[str, Any]) -> None:
    p -= 0.05 * g


def momentum(p: Any, g: Any, kept: dict[str, Any]) -> None:
    kept["b"] = 0.9 * kept.get("b", 0) + g
    p -= 0.05 * kept["b"]


def rmsprop(p: Any, g: Any, kept: dict[str, Any]) -> None:
    kept["v"] = 0.99 * kept.get("v", 0) + 0.01 * g**2
    p -= 0.05 * g / (kept["v"].sqrt() + 1e-8)


def adagrad(p: Any, g: Any, kept: dict[str, Any]) -> None:
    kept["v"] = kept.get("v", 0) + g**2
    p -= 0.05 * g / (kept["v"].sqrt() + 1e-10)


OPTIMIZERS: dict[str, tuple[dict[str, Any], Any]] = {
    "sgd": ({}, gradient),
    "momentum": ({"momentum": 0.9}, momentum),
    "adam": ({"optimizer": "adam"}, adam(0.9, 0.999, 0.0)),
    "adamw": ({"optimizer": "adam", "betas": (0.8, 0.9), "decay": 0.1}, adam(0.8, 0.9, 0.1)),
    "rmsprop": ({"optimizer": "rmsprop"}, rmsprop),
    "adagrad": ({"optimizer": "adagrad"}, adagrad),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_part_trains_as_a_loop_in_pytorch_does(name: str) -> None:
    """Steps, means over batches, the loss before: of a loop written out."""
    told, step = OPTIMIZERS[name]
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 3)
    ).double()
    design, state = design_of(module, "cross_entropy")
    examples = rows()
    given = descend(design, state, examples, Training(0.05, 2, 10, seed=5, **told), None)
    x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y).long()
    module.eval()
    loss = functional.cross_entropy(module(x), y, reduction="sum").item()
    assert given[-2] == pytest.approx(loss)
    assert given[-1] == 8
    module.train()
    draw = np.random.Generator(np.random.Philox(key=5))
    kept: list[dict[str, Any]] = [{} for _ in module.parameters()]
    for _ in range(2):
        order = draw.permutation(40)
        for first in range(0, 40, 10):
            batch = order[first : first + 10]
            module.zero_grad()
            functional.cross_entropy(module(x[batch]), y[batch]).backward()
            with torch.no_grad():
                for p, own in zip(module.parameters(), kept, strict=True):
                    step(p, p.grad, own)
    layout = mathematics_of(design).state(design)
    trained, known = layout.split(state + given[:-2]), module.state_dict()
    for tensor, found in trained.items():
        assert np.abs(found - known[tensor].numpy()).max() < 1e-12, tensor


def test_sites_that_take_whole_steps_take_those_of_all_rows_together() -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    session, rounds = federation(), 3
    model = ub.learn.fit(
        session.table("people"),
        features=FEATURES,
        label="ill",
        model=module,
        settings=ub.learn.Settings(learning_rate=0.5),
        rounds=rounds,
    )
    pooled = ub.connect().from_arrow(PEOPLE)
    x = np.column_stack(list(model.transform(pooled).collect().to_pydict().values()))
    y = torch.from_numpy(np.asarray(PEOPLE["ill"]).astype(np.int64))
    for _ in range(rounds):
        module.zero_grad()
        functional.cross_entropy(module(torch.from_numpy(x)), y).backward()
        with torch.no_grad():
            for p in module.parameters():
                gradient(p, 10 * p.grad, {})  # ten times a rate of 0.05
    for name, tensor in module.state_dict().items():
        assert np.abs(model.tensors[name] - tensor.numpy()).max() < 1e-12
    there, here = model.evaluate(session.table("people")), model.evaluate(pooled)
    assert there["log_loss"] == pytest.approx(here["log_loss"], abs=1e-12)
    shares = functional.softmax(module(torch.from_numpy(x)), dim=1).detach().numpy()
    made = model.predict(pooled, probabilities=True).collect()
    assert np.abs(np.asarray(made["prediction_True"]) - shares[:, 1]).max() < 1e-12
    counted = model.predict(session.table("people")).group_by("prediction").agg(n=ub.len())
    assert sum(counted.collect()["n"].to_pylist()) == 900


def test_training_goes_on_from_a_fitted_model_which_is_kept_and_given_back(tmp_path: Path) -> None:
    df = ub.connect().from_arrow(PEOPLE)
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    task: dict[str, Any] = {"features": FEATURES, "label": "ill"}
    whole = ub.learn.fit(df, **task, model=module, rounds=4)
    half = ub.learn.fit(df, **task, model=module, rounds=2)
    features = half.design.features
    rest = ub.learn.fit(df, features=features, label="ill", model=half, rounds=2)
    assert np.abs(rest.state - whole.state).max() < 1e-12
    registry = ub.learn.Registry(tmp_path)
    registry.save(whole, "net")
    kept = registry.load("net", df.session)
    assert kept.state.tobytes() == whole.state.tobytes()
    assert kept.design == whole.design
    x = np.column_stack(list(whole.transform(df).collect().to_pydict().values()))
    second = kept.to_torch()(torch.from_numpy(x)).sigmoid().reshape(-1).detach()
    made = kept.predict(df, probabilities=True).collect()
    assert np.abs(second.numpy() - np.asarray(made["prediction_True"])).max() < 1e-12
    with pytest.raises(PlanError, match="other features"):
        ub.learn.fit(df, features=["age"], label="ill", model=half)


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        ("squared", lambda made, y: 0.5 * (made - y) ** 2),
        ("absolute", lambda made, y: (made - y).abs()),
        ("huber", lambda made, y: functional.huber_loss(made, y, reduction="none")),
        ("poisson", lambda made, y: made.exp() - y * made),
    ],
)
def test_numbers_are_predicted_under_several_losses(loss: str, by_hand: Any) -> None:
    torch.manual_seed(5)
    module = nn.Linear(WIDTH, 1).double()
    design, state = design_of(nn.Sequential(module), loss)
    examples = rows()
    slope, total = mathematics_of(design).slope(design, state, examples)
    made = module(torch.from_numpy(examples.x)).reshape(-1)
    wanted = by_hand(made, torch.from_numpy(examples.y))
    wanted.mean().backward()
    assert total == pytest.approx(wanted.sum().item())
    gradient = [p.grad.numpy().ravel() for p in module.parameters() if p.grad is not None]
    assert np.abs(slope - np.concatenate(gradient)).max() < 1e-12
    scores = mathematics_of(design).scores(design, state, examples.x)
    own = made.detach().numpy()
    assert np.abs(scores - (np.exp(own) if loss == "poisson" else own)).max() < 1e-12


def test_the_label_s_type_says_what_is_predicted() -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=300)
    df = ub.connect().from_arrow(
        pa.table({"x": x, "y": 3 * x - 1, "kind": draw.integers(0, 9, 300)})
    )
    line = ub.learn.fit(df, features=["x"], label="y", model=nn.Linear(1, 1), rounds=99)
    assert line.evaluate(df)["r2"] > 0.999
    assert line.tensors["0.weight"].ravel() == pytest.approx([3.0], abs=0.01)
    words = ub.learn.torch_module(Words(), loss="squared")
    counted = ub.learn.fit(df, features=["kind"], label="y", model=words, rounds=1)
    assert counted.evaluate(df)["rmse"] > 0
    with pytest.raises(PlanError, match="gives 3 for a row, and 'y' needs one"):
        ub.learn.fit(df, features=["x"], label="y", model=nn.Linear(1, 3))
    with pytest.raises(PlanError, match=r"cannot be computed .*layer 1 \(Linear\)"):
        ub.learn.fit(df, features=["x"], label="y", model=nn.Linear(2, 1))


def test_what_is_drawn_beside_others_is_what_is_drawn_alone() -> None:
    """Dropout in layers of PyTorch's own draws from one generator for the whole process."""
    torch.manual_seed(6)
    design, state = design_of(Attending())
    how, examples = Training(0.05, 1, 16, seed=3), rows()
    alone = descend(design, state, examples, how, None).tobytes()
    other = descend(design, state, examples, Training(0.05, 1, 16, seed=4), None).tobytes()
    assert alone != other
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = set(
            pool.map(lambda _: descend(design, state, examples, how, None).tobytes(), range(6))
        )
    assert found == {alone}
    assert torch.equal(before, torch.get_rng_state())


def test_a_batch_of_one_row_is_left_out_where_its_spread_is_asked_for() -> None:
    design, state = design_of(
        nn.Sequential(nn.Linear(WIDTH, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    )
    given = descend(design, state, rows(21), Training(0.05, 1, 10, seed=1), None)
    assert given[-1] == 2
    assert np.isfinite(given).all()


def test_no_step_moves_means_over_batches() -> None:
    design, state = design_of(
        nn.Sequential(nn.Linear(WIDTH, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    )
    layout = mathematics_of(design).state(design)
    plain = descend(design, state, rows(), Training(0.05, 1, 0, seed=1), None)
    pulled = descend(
        design, state, rows(), Training(0.05, 1, 0, proximal=3.0, decay=0.5, seed=1),
        np.full(len(state), 7.0),
    )  # fmt: skip
    for name in ("1.running_mean", "1.running_var"):
        one, two = layout.split(plain[:-2])[name], layout.split(pulled[:-2])[name]
        assert one.tolist() == two.tolist() != [0.0] * 4


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Any) -> Any:
        return self.head(x) if x.sum() > 0 else x


class Rolling(Branching):
    def forward(self, x: Any) -> Any:
        return torch.roll(self.head(x), 1)


class Own(nn.ReLU):
    pass


def shared() -> nn.Module:
    one, two = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
    two.weight = one.weight
    return nn.Sequential(one, two)


def frozen() -> nn.Module:
    module = nn.Linear(WIDTH, 1)
    module.weight.requires_grad = False
    return nn.Sequential(module)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Branching, "control flow"),
        (Rolling, "'roll'"),
        (lambda: nn.Sequential(nn.Linear(WIDTH, 1), nn.Hardshrink()), "'1' .Hardshrink."),
        (lambda: nn.Sequential(nn.Conv1d(1, 1, 3, padding="same")), "pads by 'same'"),
        (lambda: nn.Sequential(nn.BatchNorm1d(WIDTH, track_running_stats=False)), "means over"),
        (lambda: nn.Linear(WIDTH, 1).half(), "float16"),
        (nn.ReLU, "nothing that could be learned"),
        (shared, "'0.weight' and '1.weight' are one tensor"),
        (frozen, "is frozen"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(make: Any, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        read_module(make(), "squared")


GROWING = (
    plan.Reshape((0,), shape=(-1, 1)),
    plan.Reshape((0,), shape=(1, -1)),
    plan.Combine((1, 2)),
    *(plan.Combine((3 + i, 3 + i), "", "concatenate", 1) for i in range(60)),
)
SIDE = 1 << 24


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ((plan.Linear((0,), "a", WIDTH, SIDE), plan.Linear((1,), "b", SIDE, SIDE)), "learns"),
        (GROWING, "computes more than"),
        ((plan.Pooling((0,), "", "adaptive_max", (SIDE, SIDE)),), "computes more than|cannot"),
        ((plan.Linear((0,), "a", WIDTH, 1), plan.Pick((1,), "", 7)), "layer 2"),
        ((plan.Recurrent((0,), "a", "LSTM", WIDTH, 1),), "several values"),
        ((plan.Convolution((0,), "a", 1, 1, groups=0),), "cannot be computed"),
    ],
)
def test_hostile_lists_of_layers_are_refused_before_they_cost_anything(
    layers: tuple[plan.Layer, ...], why: str
) -> None:
    design = Design(TorchModule(layers, "squared"), NUMBERS, "y")
    with pytest.raises(PlanError, match=why):
        mathematics_of(design).state(design)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.update(kind="Module"),
        lambda layer: layer.update(kind="__reduce__"),
        lambda layer: layer.update(inputs=[1]),
        lambda layer: layer.update(inputs=[-1]),
        lambda layer: layer.update(in_features="12"),
        lambda layer: layer.update(out_features=2**40),
        lambda layer: layer.update(name=""),
        lambda layer: layer.update(code="import os"),
    ],
)
def test_only_listed_layers_come_through_the_reader_of_plans(change: Any) -> None:
    design = Design(TorchModule((plan.Linear((0,), "a", WIDTH, 1),), "squared"), NUMBERS, "y")
    document = json.loads(plan_to_json(Transform(input=Values(table=empty()), design=design)))
    (layer,) = document["nodes"][-1]["design"]["algorithm"]["layers"]
    change(layer)
    with pytest.raises(PlanError):
        plan_from_json(json.dumps(document))
