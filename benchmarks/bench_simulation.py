"""Simulated sites: CPU time of a round beside a loop over sites written by hand in NumPy.

Both train the same model of 650 parameters (64 features, 10 classes, softmax) with the same
mini-batches of 32 on 20,000 rows, and average by rows. They take turns in this process; BLAS has
one thread. The target is 1.5 times the loop's CPU.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from umbel.learning.simulation.partition import iid
from umbel.learning.simulation.simulate import Population, train_round
from umbel.learning.simulation.tables import Columns
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import Settings
from umbel.learning.strategies.fedavg import FedAvg
from umbel.learning.trainers.linear import LinearTrainer

ROWS, FEATURES, CLASSES = 20_000, 64, 10
SETTINGS = Settings(learning_rate=0.1, batch_size=32)
TRAINER = LinearTrainer(FEATURES, "softmax", CLASSES)


def by_hand(population: Population, vector: Vector, number: int) -> Vector:
    """One round of FedAvg as one would write it in a notebook."""
    rows = population.rows
    total = np.zeros_like(vector)
    start_w = vector[: FEATURES * CLASSES].reshape(FEATURES, CLASSES)
    start_b = vector[FEATURES * CLASSES :]
    draw = np.random.default_rng(number)
    for begin, end in zip(rows.begins.tolist(), rows.ends.tolist(), strict=True):
        w, b = start_w.copy(), start_b.copy()
        order = draw.permutation(end - begin) + begin
        for step in range(0, end - begin, 32):
            batch = order[step : step + 32]
            x, y = rows.features[batch], rows.labels[batch]
            scores = x @ w + b
            scores -= scores.max(axis=1, keepdims=True)
            p = np.exp(scores)
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(y)), y] -= 1
            p /= len(y)
            w -= 0.1 * (x.T @ p)
            b -= 0.1 * p.sum(axis=0)
        total += (end - begin) * np.concatenate([w.ravel(), b])
    return total / rows.ends[-1]


def by_umbel(population: Population, state: State, number: int) -> State:
    """One round of FedAvg as `simulate` does it."""
    updates = train_round(
        TRAINER,
        FedAvg(),
        {},
        state,
        population,
        np.arange(len(population)),
        SETTINGS,
        seed=0,
        number=number,
    )
    return FedAvg().aggregate({}, state, updates, SETTINGS)[0]


def data(seed: int) -> Columns:
    """Rows of ten classes that lie around ten points."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, ROWS)
    centres = draw.normal(size=(CLASSES, FEATURES))
    features = centres[labels] + draw.normal(scale=3.0, size=(ROWS, FEATURES))
    return Columns(features, labels, None, ())


def main() -> None:
    """Measure 10, 100, 1,000 and 5,000 sites."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    columns = data(0)
    figures = {}
    for sites in (10, 100, 1000, 5000):
        owners = iid()(columns.labels, sites, np.random.default_rng(1))
        population = Population.divide(columns, owners, [f"site {i:04}" for i in range(sites)])
        state = TRAINER.initial(0)
        vector = state.vector
        hand, ours = [], []
        for number in range(options.rounds + 1):
            start = time.process_time()
            vector = by_hand(population, vector, number)
            between = time.process_time()
            state = by_umbel(population, state, number)
            end = time.process_time()
            if number:  # the first one warms up
                hand.append(between - start)
                ours.append(end - between)
        ratio = statistics.median(o / h for o, h in zip(ours, hand, strict=True))
        scores = [
            TRAINER.measure(s, population.rows)["accuracy"]
            for s in (state, state.with_vector(vector))
        ]
        figures[str(sites)] = {"hand": min(hand), "umbel": min(ours), "ratio": ratio}
        print(
            f"{sites:5} sites: by hand {min(hand) * 1e3:7.1f} ms, umbel {min(ours) * 1e3:7.1f} ms "
            f"of CPU a round, ratio {ratio:.2f}; accuracy {scores[1]:.3f}, {scores[0]:.3f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
