"""Models that are trained where the rows are: `umbel.learn`.

`fit` trains over whatever a DataFrame is made of: files, databases, or tables with parts at several
sites, of which only sums over many rows come here. The algorithms are records of a plan
(`umbel.plan.models`), their mathematics is in `umbel.models`, and here is what drives rounds:
states, updates, strategies, masks and noise.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.learning.beginning import torch_module as torch_module
    from umbel.learning.compression.quantized import Quantized as Quantized
    from umbel.learning.compression.sparse import RandomK as RandomK
    from umbel.learning.compression.sparse import TopK as TopK
    from umbel.learning.debugging.diagnosis import Diagnosis as Diagnosis
    from umbel.learning.debugging.diagnosis import diagnose as diagnose
    from umbel.learning.debugging.diagnosis import replay as replay
    from umbel.learning.debugging.journal import Journal as Journal
    from umbel.learning.gathering import Patience as Patience
    from umbel.learning.model import Evaluation as Evaluation
    from umbel.learning.model import Model as Model
    from umbel.learning.planned import PlannedModel as PlannedModel
    from umbel.learning.planned import plan_fit as plan_fit
    from umbel.learning.preparation import binned as binned
    from umbel.learning.preparation import numeric as numeric
    from umbel.learning.preparation import one_hot as one_hot
    from umbel.learning.privacy.accounting import Budget as Budget
    from umbel.learning.privacy.clipping import AdaptiveClip as AdaptiveClip
    from umbel.learning.privacy.clipping import FixedClip as FixedClip
    from umbel.learning.privacy.private import Private as Private
    from umbel.learning.registry import Registry as Registry
    from umbel.learning.registry import Version as Version
    from umbel.learning.secure.options import Secure as Secure
    from umbel.learning.simulation.partition import dirichlet as dirichlet
    from umbel.learning.simulation.partition import iid as iid
    from umbel.learning.simulation.partition import quantity_skew as quantity_skew
    from umbel.learning.simulation.simulate import simulate as simulate
    from umbel.learning.strategies.base import Settings as Settings
    from umbel.learning.strategies.catalogue import strategy as strategy
    from umbel.learning.trainers.linear import LinearTrainer as LinearTrainer
    from umbel.learning.training import fit as fit
    from umbel.plan.models import PCA as PCA
    from umbel.plan.models import BoostedTrees as BoostedTrees
    from umbel.plan.models import CoxRegression as CoxRegression
    from umbel.plan.models import KMeans as KMeans
    from umbel.plan.models import LinearRegression as LinearRegression
    from umbel.plan.models import LogisticRegression as LogisticRegression
    from umbel.plan.models import MultinomialRegression as MultinomialRegression
    from umbel.plan.models import NaiveBayes as NaiveBayes
    from umbel.plan.models import Network as Network
    from umbel.plan.models import PoissonRegression as PoissonRegression
    from umbel.plan.models import SklearnModel as SklearnModel
    from umbel.plan.models import TorchModule as TorchModule

#: Where each public name lives; imported when it is first used, as in `umbel` itself.
_HOMES = {
    "umbel.learning.beginning": ["torch_module"],
    "umbel.learning.model": ["Evaluation", "Model"],
    "umbel.learning.planned": ["PlannedModel", "plan_fit"],
    "umbel.learning.preparation": ["binned", "numeric", "one_hot"],
    "umbel.learning.compression.quantized": ["Quantized"],
    "umbel.learning.compression.sparse": ["RandomK", "TopK"],
    "umbel.learning.privacy.accounting": ["Budget"],
    "umbel.learning.privacy.clipping": ["AdaptiveClip", "FixedClip"],
    "umbel.learning.privacy.private": ["Private"],
    "umbel.learning.debugging.diagnosis": ["Diagnosis", "diagnose", "replay"],
    "umbel.learning.debugging.journal": ["Journal"],
    "umbel.learning.gathering": ["Patience"],
    "umbel.learning.secure.options": ["Secure"],
    "umbel.learning.registry": ["Registry", "Version"],
    "umbel.learning.simulation.partition": ["dirichlet", "iid", "quantity_skew"],
    "umbel.learning.simulation.simulate": ["simulate"],
    "umbel.learning.strategies.base": ["Settings"],
    "umbel.learning.strategies.catalogue": ["strategy"],
    "umbel.learning.trainers.linear": ["LinearTrainer"],
    "umbel.learning.training": ["fit"],
    "umbel.plan.models": [
        "BoostedTrees", "CoxRegression", "KMeans", "LinearRegression", "LogisticRegression",
        "MultinomialRegression", "NaiveBayes", "Network", "PCA", "PoissonRegression",
        "SklearnModel", "TorchModule",
    ],
}  # fmt: skip
_PUBLIC = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PCA",
    "AdaptiveClip",
    "BoostedTrees",
    "Budget",
    "CoxRegression",
    "Diagnosis",
    "Evaluation",
    "FixedClip",
    "Journal",
    "KMeans",
    "LinearRegression",
    "LinearTrainer",
    "LogisticRegression",
    "Model",
    "MultinomialRegression",
    "NaiveBayes",
    "Network",
    "Patience",
    "PlannedModel",
    "PoissonRegression",
    "Private",
    "Quantized",
    "RandomK",
    "Registry",
    "Secure",
    "Settings",
    "SklearnModel",
    "TopK",
    "TorchModule",
    "Version",
    "binned",
    "diagnose",
    "dirichlet",
    "fit",
    "iid",
    "numeric",
    "one_hot",
    "plan_fit",
    "quantity_skew",
    "replay",
    "simulate",
    "strategy",
    "torch_module",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'umbel.learning' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> Sequence[str]:
    return __all__
