"""The model of the demo: what a patient has, by what was measured; learned at all hospitals together."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import pyarrow as pa

from umbel.api.session import Session
from umbel.plan.errors import RunError

#: Mean of what is measured, by diagnosis: the temperature, the upper blood pressure, the sugar.
_SIGNS = {
    "asthma": (36.9, 128.0, 5.4),
    "diabetes": (36.8, 138.0, 8.6),
    "fracture": (36.8, 126.0, 5.5),
    "hypertension": (36.8, 152.0, 5.8),
    "pneumonia": (38.3, 124.0, 5.9),
}
_SPREADS = (0.5, 12.0, 1.2)
#: Of the oxygen in the blood: what lungs give.
_BREATH = {"asthma": 92.5, "pneumonia": 91.5}

_COLUMNS = ("age", "temperature", "pressure", "sugar", "oxygen")
#: What may be told of one patient in all.
_EPSILON, _DELTA, _ROUNDS, _RATE = 1.0, 1e-6, 6, 12.0

TRAINING = """\
model = umbel.learn.fit(
    session.table("patients"),
    features=[umbel.learn.numeric(name, scale=True) for name in
              ("age", "temperature", "pressure", "sugar", "oxygen")],
    label="diagnosis",
    model=umbel.learn.MultinomialRegression(l2=1.0),
    privacy=umbel.learn.Secure(),           # nobody sees the sums of one hospital
    progress=True,
)"""

PRIVATE = """\
private = umbel.learn.fit(
    ...,                                    # the same
    model=umbel.learn.MultinomialRegression(),
    privacy=umbel.learn.Secure(fewest=3),   # each hospital adds its share of the noise
    strategy=umbel.learn.Private(           # epsilon 1: of one patient little is told
        of="rows", noise=11.1, budget=umbel.learn.Budget(1.0, 1e-6),
        population=25_000, clip=umbel.learn.FixedClip(1.0),
    ),
    settings=umbel.learn.Settings(learning_rate=12.0), rounds=6,
)"""


def measured(dice: random.Random, diagnoses: list[str]) -> dict[str, pa.Array]:
    """Make up what is measured of patients with some diagnoses."""
    signs = [
        [dice.gauss(mean, spread) for mean, spread in zip(_SIGNS[d], _SPREADS, strict=True)]
        for d in diagnoses
    ]
    temperature, pressure, sugar = (pa.array(column) for column in zip(*signs, strict=True))
    oxygen = pa.array([dice.gauss(_BREATH.get(d, 97.0), 2.0) for d in diagnoses])
    return {"temperature": temperature, "pressure": pressure, "sugar": sugar, "oxygen": oxygen}


def train(session: Any, pooled: dict[str, pa.Table]) -> None:
    """Train over the hospitals, and compare with each one alone and with all data in one place.

    Args:
        session: of the federation.
        pooled: each hospital's rows, which the demo knows because it made them up.

    Raises:
        RunError: the model differs from that of all data in one place.
    """
    from umbel import learning

    print(TRAINING, flush=True)
    options: dict[str, Any] = {
        "features": [learning.numeric(name, scale=True) for name in _COLUMNS],
        "label": "diagnosis",
        "model": learning.MultinomialRegression(l2=1.0),
    }
    patients = session.table("patients")
    print("\n--- the rounds: sums of all three, under masks ---\n", flush=True)
    began = time.perf_counter()
    secure = learning.Secure()
    together = learning.fit(patients, **options, privacy=secure, progress=_say)
    spent = time.perf_counter() - began
    print("\n--- the same with differential privacy of patients ---\n")
    print(PRIVATE, flush=True)
    began = time.perf_counter()
    private = _privately(patients, options, sum(table.num_rows for table in pooled.values()))
    spent_privately = time.perf_counter() - began
    print("\n--- how many of all patients each model knows the diagnosis of ---\n", flush=True)
    here = Session(progress=False)
    everyone = here.from_arrow(pa.concat_tables(pooled.values()))
    whole = learning.fit(everyone, **options)
    for site, table in pooled.items():
        alone = learning.fit(here.from_arrow(table), **options)
        print(f"  {site + ' alone':<36}{alone.evaluate(everyone)['accuracy']:>7.1%}")
    found = together.evaluate(patients, privacy=secure)
    print(f"  {'all three, secure aggregation':<36}{found['accuracy']:>7.1%}")
    noisy = private.evaluate(patients, privacy=secure)
    print(f"  {f'and with noise for epsilon {_EPSILON:g}':<36}{noisy['accuracy']:>7.1%}")
    print(f"  {'pooled data':<36}{whole.evaluate(everyone)['accuracy']:>7.1%}", flush=True)
    apart = float(abs(together.state - whole.state).max())
    print(
        f"\nin {spent:.1f} s and {spent_privately:.1f} s; no row left the hospitals, and of their sums "
        f"nobody saw one alone; the coefficients differ from those of pooled data by {apart:.0e}, "
        "those with noise by more"
    )
    sys.stdout.flush()
    if not apart < 1e-6:
        raise RunError("the hospitals trained another model than the pooled data")


def _privately(patients: Any, options: dict[str, Any], people: int) -> Any:
    """Train so that of no patient can be told whether they are in the data."""
    from umbel import learning
    from umbel.learning.privacy.accounting import noise_for

    budget = learning.Budget(_EPSILON, _DELTA)
    strategy = learning.Private(
        of="rows",
        noise=noise_for(budget, 1.0, _ROUNDS),
        budget=budget,
        population=people,
        clip=learning.FixedClip(1.0),
    )
    return learning.fit(
        patients,
        **{**options, "model": learning.MultinomialRegression()},
        privacy=learning.Secure(fewest=3),
        strategy=strategy,
        settings=learning.Settings(learning_rate=_RATE),
        rounds=_ROUNDS,
    )


def _say(one: Any) -> None:
    print(f"  {one}", flush=True)


__all__ = ["measured", "train"]
