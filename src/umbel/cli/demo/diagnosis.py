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

TRAINING = """\
model = umbel.learn.fit(
    session.table("patients"),
    features=[umbel.learn.numeric(name, scale=True) for name in
              ("age", "temperature", "pressure", "sugar", "oxygen")],
    label="diagnosis",
    model=umbel.learn.MultinomialRegression(l2=1.0),
    progress=True,
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
    names = ("age", "temperature", "pressure", "sugar", "oxygen")
    options: dict[str, Any] = {
        "features": [learning.numeric(name, scale=True) for name in names],
        "label": "diagnosis",
        "model": learning.MultinomialRegression(l2=1.0),
    }
    print("\n--- the rounds ---\n", flush=True)
    began = time.perf_counter()
    together = learning.fit(
        session.table("patients"), **options, progress=lambda one: print(f"  {one}", flush=True)
    )
    spent = time.perf_counter() - began
    here = Session(progress=False)
    everyone = here.from_arrow(pa.concat_tables(pooled.values()))
    whole = learning.fit(everyone, **options)
    print("\n--- how many of all patients each model knows the diagnosis of ---\n", flush=True)
    for site, table in pooled.items():
        alone = learning.fit(here.from_arrow(table), **options)
        print(f"  {site + ' alone':<24}{alone.evaluate(everyone)['accuracy']:>7.1%}")
    found = together.evaluate(session.table("patients"))
    print(f"  {'all three, at home':<24}{found['accuracy']:>7.1%}")
    print(f"  {'pooled data':<24}{whole.evaluate(everyone)['accuracy']:>7.1%}", flush=True)
    apart = float(abs(together.state - whole.state).max())
    updates = together.history.collect().num_rows
    size = 8 * len(together.state) * (len(together.state) + 1)
    print(
        f"\nin {spent:.1f} s; {updates} sums of {size / 1e3:.0f} kB left the hospitals, and no row; "
        f"the coefficients differ from those of pooled data by {apart:.0e}"
    )
    sys.stdout.flush()
    if not apart < 1e-6:
        raise RunError("the hospitals trained another model than the pooled data")


__all__ = ["measured", "train"]
