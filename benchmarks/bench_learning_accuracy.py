"""Accuracy of models over sites beside the same rows in one place, on real data.

Data: scikit-learn's breast cancer (569 rows, 30 features, 2 classes) and digits (1,797 rows, 64
features, 10 classes). Half of the rows, drawn by a seed, are trained on and half are measured. The
training rows are divided over sites evenly, and with shares of the labels drawn from Dirichlet
distributions of 0.5 and 0.1. Where rows are divided evenly, sites count 5 individuals or more behind
each sum, and join bins of fewer. The other divisions leave sites with one row of a class, of which a
rule would let nothing out, so there the sites have no such rule. XGBoost sees all training rows at
once, with the same number, depth and rate of trees.

Unfair would be to compare one division: an accuracy over 284 rows is uncertain by a percent, so
each is a mean over seeds, and the difference is taken seed by seed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import numpy as np
import pyarrow as pa

import umbel as ub
from umbel.federation import Form, Rule, Site

TREES: dict[str, Any] = {"trees": 20, "depth": 3, "rate": 0.3}
COUNTED = Rule(Form.AGGREGATES, min_individuals=5, updates=10)
DIVISIONS = {
    "evenly": (None, COUNTED),
    "Dirichlet 0.5": (0.5, Rule(Form.ROWS)),
    "Dirichlet 0.1": (0.1, Rule(Form.ROWS)),
}


def peers() -> tuple[Any, Any]:
    """The other programs, or an end with what to install."""
    try:
        return importlib.import_module("sklearn.datasets"), importlib.import_module("xgboost")
    except ModuleNotFoundError as error:
        print(f"nothing measured: {error.name} is missing", file=sys.stderr)
        print("pip install scikit-learn xgboost-cpu", file=sys.stderr)
        sys.exit(0)  # neither comes with umbel, and `make bench` goes on to the next


def divide(y: Any, sites: int, alpha: float | None, draw: np.random.Generator) -> Any:
    """Give each row a site."""
    if alpha is None:
        return draw.permutation(len(y)) % sites
    found = np.empty(len(y), dtype=np.int64)
    for value in np.unique(y):
        rows = np.flatnonzero(y == value)
        found[rows] = draw.choice(sites, len(rows), p=draw.dirichlet(np.full(sites, alpha)))
    return found


def frame(x: Any, y: Any) -> pa.Table:
    """Rows as a table."""
    columns = {f"x{i}": x[:, i] for i in range(x.shape[1])}
    return pa.table({**columns, "y": y.astype(np.int64)})


def over_sites(table: pa.Table, place: Any, rule: Rule) -> ub.DataFrame:
    """A table with parts at sites."""
    sites = []
    for number in np.unique(place):
        site = Site(f"s{number}", ub.connect())
        site.publish("rows", site.session.from_arrow(table.filter(pa.array(place == number))), rule)
        sites.append(site)
    return ub.federation.local(sites).table("rows")


def measure(seeds: int, sites: int) -> list[dict[str, Any]]:
    """All differences."""
    datasets, xgboost = peers()
    found = []
    data = {
        "breast cancer": datasets.load_breast_cancer(return_X_y=True),
        "digits": datasets.load_digits(return_X_y=True),
    }
    for name, (every, y) in data.items():
        # A site lets nothing out of a feature that has two values there, one of them in few rows.
        varied = [(column != np.median(column)).mean() > 0.1 for column in every.T]
        x = every[:, varied]
        names = [f"x{i}" for i in range(x.shape[1])]
        model = ub.learn.BoostedTrees(**TREES)
        for division, (alpha, rule) in DIVISIONS.items():
            ours, theirs = [], []
            for seed in range(seeds):
                draw = np.random.default_rng(seed)
                order = draw.permutation(len(y))
                train, test = order[: len(y) // 2], order[len(y) // 2 :]
                place = divide(y[train], sites, alpha, draw)
                df = over_sites(frame(x[train], y[train]), place, rule)
                made = ub.learn.fit(
                    df, features=names, label="y", model=model, classes=np.unique(y).tolist()
                )
                here = ub.connect().from_arrow(frame(x[test], y[test]))
                ours.append(made.evaluate(here)["accuracy"])
                peer = xgboost.XGBClassifier(
                    n_estimators=TREES["trees"], max_depth=TREES["depth"],
                    learning_rate=TREES["rate"], max_bin=64, tree_method="hist", n_jobs=1,
                ).fit(x[train], y[train])  # fmt: skip
                theirs.append(float((peer.predict(x[test]) == y[test]).mean()))
            apart = np.array(ours) - np.array(theirs)
            found.append(
                {
                    "data": name,
                    "division": division,
                    "sites": sites,
                    "over sites": float(np.mean(ours)),
                    "XGBoost, all rows": float(np.mean(theirs)),
                    "points apart": 100 * float(apart.mean()),
                    "uncertain by": 100 * float(apart.std(ddof=1) / np.sqrt(seeds))
                    if seeds > 1
                    else None,
                }
            )
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Measure, and write what was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--sites", type=int, default=3)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of groups that sites leave out
        found = measure(given.seeds, given.sites)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
