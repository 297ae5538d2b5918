"""Kinds of models: what is learned, and by which parameters that are chosen and not learned."""

from __future__ import annotations

import math
from typing import Literal as OneOf

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.estimators import CLASSIFIERS, Plain, check_estimator, plain_value
from umbel.plan.layers import Layer, check_layers
from umbel.plan.records import Record
from umbel.plan.types import FLOAT64, INT64

#: Columns that the numbers of a model's features may make together.
MAX_WIDTH = 4096
#: Layers of a network.
MAX_LAYERS = 32
#: Points in time that a model of durations tells apart.
MAX_TIMES = 10_000
#: Trees of a model, levels of a tree, and bins of a feature.
MAX_TREES, MAX_DEPTH, MAX_BINS = 10_000, 10, 256
#: Clusters of a model.
MAX_CLUSTERS = 1000


class Algorithm(Record):
    """What kind of model is learned, and how."""

    @property
    def classifies(self) -> bool:
        """Whether it predicts one of some classes."""
        return False

    @property
    def constant(self) -> bool:
        """Whether features get a constant column."""
        return bool(getattr(self, "intercept", False))

    @property
    def labelled(self) -> bool:
        """Whether it learns to predict a column, the label."""
        return True

    @property
    def beside(self) -> tuple[str, ...]:
        """The columns of numbers that training reads besides features and label."""
        return ()

    @property
    def by_steps(self) -> bool:
        """Whether it can be trained by steps against the slope of its loss."""
        return True

    @property
    def exact(self) -> bool:
        """Whether a solver finds it, where no strategy is given."""
        return True

    @property
    def own_steps(self) -> bool:
        """Whether parts train it by steps of its own, which nothing is put into."""
        return False

    @property
    def rounds(self) -> int:
        """In how many rounds an exact solver finds it, if it can be found."""
        return 100

    def fields(self, name: str) -> list[pa.Field]:
        """The columns of what it predicts, where that is no class.

        Args:
            name: of the prediction.
        """
        return [pa.field(name, FLOAT64)]


class Regression(Algorithm):
    """A generalised linear model.

    Attributes:
        l2: weight of the penalty on the squares of coefficients, the intercept left out; the loss
            is the negative log-likelihood of all rows (of LinearRegression half the squared error)
            plus `l2 / 2` times their sum.
        intercept: whether there is a constant term.
    """

    l2: float = 0.0
    intercept: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.l2 < math.inf:
            raise PlanError(f"l2 is 0 or more, not {self.l2:g}")


class LinearRegression(Regression):
    """Least squares."""


class PoissonRegression(Regression):
    """Counts whose logarithm of the mean is linear."""


class LogisticRegression(Regression):
    """The odds of the second of two classes; their logarithm is linear."""

    @property
    def classifies(self) -> bool:
        return True


class MultinomialRegression(Regression):
    """The odds of each class against the first one; their logarithms are linear."""

    @property
    def classifies(self) -> bool:
        return True


class NaiveBayes(Algorithm):
    """Each class by its share, and by a normal distribution of every feature on its own.

    Attributes:
        smoothing: share of the largest variance of a feature that is added to all variances.
    """

    smoothing: float = 1e-9

    def __post_init__(self) -> None:
        if not 0 < self.smoothing < math.inf:
            raise PlanError(f"smoothing is above 0, not {self.smoothing:g}")

    @property
    def classifies(self) -> bool:
        return True

    @property
    def by_steps(self) -> bool:
        return False


class Network(Algorithm):
    """A network of layers, each of which sees all of the one before; between them stands max(x, 0).

    It is trained by steps against the slope of the loss, not exactly.

    Attributes:
        hidden: how many numbers each layer between features and prediction gives.
        task: what is predicted: one of some classes, or a number.
        l2: weight of the penalty on the squares of weights, as `l2 / 2` times their sum beside the
            mean loss of rows.
    """

    hidden: tuple[int, ...] = (16,)
    task: OneOf["classes", "number"] = "classes"
    l2: float = 0.0

    def __post_init__(self) -> None:
        if not all(1 <= width <= MAX_WIDTH for width in self.hidden):
            raise PlanError(f"layers give 1 to {MAX_WIDTH} numbers, not {self.hidden}")
        if len(self.hidden) > MAX_LAYERS:
            raise PlanError(f"a network has at most {MAX_LAYERS} layers, not {len(self.hidden)}")
        if not 0 <= self.l2 < math.inf:
            raise PlanError(f"l2 is 0 or more, not {self.l2:g}")

    @property
    def classifies(self) -> bool:
        return self.task == "classes"

    @property
    def exact(self) -> bool:
        return False


#: Losses of networks whose label is one of some classes.
CLASS_LOSSES = ("cross_entropy",)


class TorchModule(Algorithm):
    """A network of PyTorch, layer by layer; what it gives for a row is compared with the label.

    Attributes:
        layers: in the order in which they compute; the last one's value is the network's.
        loss: "cross_entropy" for classes (with one number for two of them: of the second one's
            odds), "squared" (half the squared error), "absolute", "huber", or "poisson", whose
            network gives the logarithm of the mean.
        dtype: of what is computed.
    """

    layers: tuple[Layer, ...]
    loss: OneOf["cross_entropy", "squared", "absolute", "huber", "poisson"] = "cross_entropy"
    dtype: OneOf["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        check_layers(self.layers)

    @property
    def classifies(self) -> bool:
        return self.loss in CLASS_LOSSES

    @property
    def exact(self) -> bool:
        return False


class SklearnModel(Algorithm):
    """An estimator of scikit-learn, which parts train by its own `partial_fit`, batch by batch.

    Attributes:
        estimator: its name.
        parameters: those that `partial_fit` goes by, in order of their names; values as JSON.
    """

    estimator: OneOf["SGDClassifier", "SGDRegressor", "Perceptron"]
    parameters: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_estimator(self.estimator, self.parameters)

    @property
    def values(self) -> dict[str, Plain]:
        """The parameters' values."""
        return {key: plain_value(self.estimator, key, text) for key, text in self.parameters}

    @property
    def classifies(self) -> bool:
        return self.estimator in CLASSIFIERS

    @property
    def exact(self) -> bool:
        return False

    @property
    def own_steps(self) -> bool:
        return True


class BoostedTrees(Algorithm):
    """Trees, each of which mends what those before it leave; they split features at bins' edges.

    Attributes:
        trees: how many; with more than two classes as many for each.
        depth: of every tree.
        rate: how much of what a tree would mend it does.
        bins: that the numbers of each feature are cut into, of about as many rows.
        task: what is predicted: one of some classes, or a number.
        l2: weight of the penalty on the squares of leaves.
        least: curvature that each side of a split needs; of numbers it is the rows.
        gain: what a split has to gain.
    """

    trees: int = 100
    depth: int = 4
    rate: float = 0.3
    bins: int = 64
    task: OneOf["classes", "number"] = "classes"
    l2: float = 1.0
    least: float = 1.0
    gain: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.trees <= MAX_TREES or not 1 <= self.depth <= MAX_DEPTH:
            raise PlanError(
                f"BoostedTrees takes 1 to {MAX_TREES:,} trees of a depth of 1 to {MAX_DEPTH}, not "
                f"{self.trees} of {self.depth}"
            )
        if not 2 <= self.bins <= MAX_BINS:
            raise PlanError(f"features are cut into 2 to {MAX_BINS} bins, not {self.bins}")
        if not 0 < self.rate <= 1:
            raise PlanError(f"the rate lies from 0 to 1, and is not {self.rate:g}")
        for name, value in (("l2", self.l2), ("least", self.least), ("gain", self.gain)):
            if not 0 <= value < math.inf:
                raise PlanError(f"{name} is 0 or more, not {value:g}")

    @property
    def classifies(self) -> bool:
        return self.task == "classes"

    @property
    def by_steps(self) -> bool:
        return False

    @property
    def rounds(self) -> int:
        return self.trees * self.depth + 10


class CoxRegression(Algorithm):
    """How long it takes until something happens; the logarithm of its hazard is linear.

    The label is the time until it happened, or until which it was known not to have. It predicts
    the hazard against that of a row whose features are all 0.

    Attributes:
        event: the column that says whether it happened: true or 1; false or 0.
        ties: what is made of rows to which it happened at the same time: "efron" or "breslow".
        l2: weight of the penalty on the squares of coefficients, as `l2 / 2` times their sum.
        times: rising points in time, in the label's unit. What happens between two of them counts
            as happening at the earlier one. Training finds them where none are given.
        intervals: of so many, where times are not given; 0 takes each time at which it happened.
    """

    event: str
    ties: OneOf["efron", "breslow"] = "efron"
    l2: float = 0.0
    times: tuple[float, ...] = ()
    intervals: int = 0

    def __post_init__(self) -> None:
        if not self.event:
            raise PlanError("CoxRegression needs the name of the column that says what happened")
        if not 0 <= self.l2 < math.inf:
            raise PlanError(f"l2 is 0 or more, not {self.l2:g}")
        pairs = zip(self.times, self.times[1:], strict=False)
        if not all(map(math.isfinite, self.times)) or not all(a < b for a, b in pairs):
            raise PlanError(f"the times of CoxRegression must rise: {self.times[:6]}")
        if len(self.times) > MAX_TIMES or not 0 <= self.intervals <= MAX_TIMES:
            raise PlanError(
                f"CoxRegression tells at most {MAX_TIMES:,} times apart",
                hint="cut time into intervals: CoxRegression(…, intervals=100)",
            )

    @property
    def beside(self) -> tuple[str, ...]:
        return (self.event,)

    @property
    def by_steps(self) -> bool:
        return False


class KMeans(Algorithm):
    """Rows in clusters, each about its mean; it predicts the number of a row's cluster, from 0 on.

    Attributes:
        clusters: how many.
        tolerance: the last round moves no centre further than this times the spread of features.
    """

    clusters: int
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if not 1 <= self.clusters <= MAX_CLUSTERS:
            raise PlanError(f"KMeans makes 1 to {MAX_CLUSTERS:,} clusters, not {self.clusters}")
        if not 0 <= self.tolerance < math.inf:
            raise PlanError(f"tolerance is 0 or more, not {self.tolerance:g}")

    @property
    def labelled(self) -> bool:
        return False

    @property
    def by_steps(self) -> bool:
        return False

    def fields(self, name: str) -> list[pa.Field]:
        return [pa.field(name, INT64)]


class PCA(Algorithm):
    """The directions in which rows vary most; it predicts how far a row lies along each.

    Attributes:
        components: how many directions.
    """

    components: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.components <= MAX_WIDTH:
            raise PlanError(f"PCA finds 1 to {MAX_WIDTH} components, not {self.components}")

    @property
    def labelled(self) -> bool:
        return False

    @property
    def by_steps(self) -> bool:
        return False

    def fields(self, name: str) -> list[pa.Field]:
        return [pa.field(f"{name}_{i + 1}", FLOAT64) for i in range(self.components)]


ALGORITHMS: dict[str, type[Algorithm]] = {
    cls.__name__: cls
    for cls in (
        BoostedTrees,
        CoxRegression,
        KMeans,
        LinearRegression,
        LogisticRegression,
        MultinomialRegression,
        NaiveBayes,
        Network,
        PCA,
        PoissonRegression,
        SklearnModel,
        TorchModule,
    )
}

__all__ = [
    "ALGORITHMS",
    "MAX_TIMES",
    "MAX_WIDTH",
    "PCA",
    "Algorithm",
    "BoostedTrees",
    "CoxRegression",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "MultinomialRegression",
    "NaiveBayes",
    "Network",
    "PoissonRegression",
    "Regression",
    "SklearnModel",
    "TorchModule",
]
