"""Clusters and components: against the whole data's own algebra, and whatever the first centres."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.models.base import DivergedError
from umbel.models.examples import Examples
from umbel.models.kmeans import KMeansSolver
from umbel.plan.errors import PlanError
from umbel.plan.models import PCA, Design, KMeans, Number


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect()


def frame(session: ub.Session, x: Any) -> ub.DataFrame:
    return session.from_arrow(pa.table({f"x{i}": x[:, i] for i in range(x.shape[1])}))


def blobs(rows: int = 400) -> tuple[Any, Any]:
    """Four clusters far from 0 and of different sizes, and which row is of which."""
    draw = np.random.default_rng(2)
    which = draw.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])
    centres = np.array([[0.0, 0, 5], [6, 0, 0], [0, 7, 0], [8, 8, 8]]) + 1e4
    return centres[which] + draw.normal(size=(rows, 3)), which


def test_clusters_are_found(session: ub.Session) -> None:
    x, which = blobs()
    df = frame(session, x)
    model = ub.learn.fit(df, features=df.columns, model=KMeans(4))
    found = model.predict(df, output="cluster").collect()
    assert found.schema.field("cluster").type == pa.int64()
    place = np.asarray(found["cluster"])
    # The same rows together, whatever the clusters are called.
    assert len(set(zip(which, place, strict=True))) == 4
    # Each centre is the mean of its rows, and each row is nearest to its own: Lloyd's end.
    centres = model.tensors["centres"]
    for i in range(4):
        assert centres[i] == pytest.approx(x[place == i].mean(axis=0), abs=1e-9)
    inertia = ((x - centres[place]) ** 2).sum()
    assert model.evaluate(df)["inertia"] == pytest.approx(inertia)
    assert sorted(model.details["rows"]) == sorted(np.bincount(which))


def test_few_rows_make_no_cluster_where_that_would_tell_of_them() -> None:
    """A centre that is chosen to single a row out gives what it gives without that centre."""
    draw = np.random.default_rng(4)
    x = np.concatenate([draw.normal(size=(40, 2)), [[50.0, 50.0]], draw.normal(9, 1, size=(30, 2))])
    design = Design(KMeans(3), (Number("a"), Number("b")))
    solver = KMeansSolver()
    layout = solver.state(design)
    state = layout.join({"clusters": 3.0, "centres": np.array([[0.0, 0], [50, 50], [9, 9]])})
    told = solver.sums(design).split(
        solver.contribute(design, state, [Examples(x, np.empty(0))], 5)
    )
    assert told["rows"].tolist() == [40, 0, 31]
    assert told["apart"][2] == pytest.approx((x[40:] - 9).sum(axis=0))
    plain = solver.sums(design).split(solver.contribute(design, state, [Examples(x, np.empty(0))]))
    assert plain["rows"].tolist() == [40, 1, 30]
    # Rows of one individual are one.
    people = np.concatenate([np.arange(40), [0], np.zeros(30)]).astype(np.int64)[:, None]
    same = [Examples(x, np.empty(0), people=people)]
    told = solver.sums(design).split(solver.contribute(design, state, same, 5))
    assert told["rows"].tolist() == [71, 0, 0]


def test_directions_are_those_of_all_rows(session: ub.Session) -> None:
    """The right singular vectors of the centred rows, the largest number of each above 0."""
    draw = np.random.default_rng(6)
    x = draw.normal(size=(500, 4)) @ draw.normal(size=(4, 4)) * [1, 10, 0.1, 1] + [1e5, 0, 3, -7]
    df = frame(session, x)
    model = ub.learn.fit(df, features=df.columns, model=PCA(3))
    centred = x - x.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(directions[np.arange(4), np.abs(directions).argmax(axis=1)])
    assert np.abs(model.tensors["components"] - (directions * signs[:, None])[:3]).max() < 1e-9
    assert model.tensors["variance"] == pytest.approx(singular[:3] ** 2 / 499, rel=1e-9)
    share = singular**2 / (singular**2).sum()
    assert model.details["explained_variance_ratio"] == pytest.approx(share[:3], rel=1e-9)
    scores = model.predict(df, output="pc").select("pc_1", "pc_2", "pc_3").collect()
    expected = centred @ (directions * signs[:, None])[:3].T
    assert np.abs(np.column_stack(scores.columns) - expected).max() < 1e-7
    assert model.evaluate(df)["explained"] == pytest.approx(share[:3].sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("model", "x", "error", "message"),
    [
        (KMeans(3), [[1.0], [1.0], [2.0]], DivergedError, "fewer different rows than the 3"),
        (PCA(1), [[1.0]], DivergedError, "two or more"),
        (PCA(1), [[1.0], [1.0]], DivergedError, "all rows are alike"),
        (PCA(2), [[1.0], [2.0]], PlanError, "PCA finds 2 components of 1 columns"),
        (KMeans(1), [[float("nan")]], DivergedError, "no rows to learn from"),
    ],
)
def test_what_cannot_be_learned_says_why(
    session: ub.Session, model: Any, x: Any, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        ub.learn.fit(frame(session, np.array(x)), features=["x0"], model=model)


def test_bad_arguments(session: ub.Session) -> None:
    df = frame(session, np.eye(3))
    with pytest.raises(PlanError, match="KMeans has no label"):
        ub.learn.fit(df, features=["x0"], label="x1", model=KMeans(2))
    with pytest.raises(PlanError, match="KMeans makes 1 to 1,000 clusters, not 0"):
        KMeans(0)
    with pytest.raises(PlanError, match="PCA finds 1 to 4096 components"):
        PCA(0)
    with pytest.raises(PlanError, match="no baseline hazard"):
        ub.learn.fit(df, features=["x0", "x1"], model=PCA(1)).baseline()
