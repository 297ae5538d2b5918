"""The layers that a network from outside may be made of, as data: a closed list.

A network is a list of layers, each of which says which earlier values it reads: 0 is the row's
features, i what the i-th layer gives. Whoever is given such a list builds it anew of parts that are
known there, so nothing of it is imported, evaluated or unpickled. What layers compute, and how
large what they learn is, is the affair of `umbel.models.modules`.
"""

from __future__ import annotations

from typing import Literal as OneOf

from umbel.plan.errors import PlanError
from umbel.plan.records import Record

#: Layers of a network from outside.
MAX_MODULE_LAYERS = 1024
#: Recurrent layers on top of one another.
MAX_STACKED = 64
#: The largest size of a layer: of a side of what it learns, and of what it is told in numbers.
MAX_SIDE = 1 << 24


class Layer(Record):
    """A step of a network.

    Attributes:
        inputs: the values that it reads.
        name: what the names of its tensors begin with; layers of one name share them.
    """

    inputs: tuple[int, ...]
    name: str = ""

    def __post_init__(self) -> None:
        for field, value in self.__dict__.items():
            numbers = value if isinstance(value, tuple) else (value,)
            for number in numbers:
                if isinstance(number, (int, float)) and not abs(number) <= MAX_SIDE:
                    raise PlanError(f"{field} of {type(self).__name__} is {number}: too large")

        for field in ("kernel_size", "size"):
            if len(getattr(self, field, (1,))) not in (1, 2, 3):
                raise PlanError(f"{type(self).__name__} works on one to three dimensions")
        if not 1 <= getattr(self, "dimensions", 1) <= 3:
            raise PlanError(f"{type(self).__name__} works on one to three dimensions")
        if not 1 <= getattr(self, "num_layers", 1) <= MAX_STACKED:
            raise PlanError(f"{type(self).__name__} stacks 1 to {MAX_STACKED} layers")

    @property
    def learns(self) -> bool:
        """Whether it has tensors of its own."""
        return True


class Plain(Layer):
    """A layer without tensors of its own."""

    @property
    def learns(self) -> bool:
        return False


class Linear(Layer):
    """`x W' + b`."""

    in_features: int = 1
    out_features: int = 1
    bias: bool = True


class Convolution(Layer):
    """A convolution over one to three dimensions, as many as the kernel has."""

    in_channels: int = 1
    out_channels: int = 1
    kernel_size: tuple[int, ...] = (1,)
    stride: tuple[int, ...] = (1,)
    padding: tuple[int, ...] = (0,)
    dilation: tuple[int, ...] = (1,)
    groups: int = 1
    bias: bool = True


class BatchNorm(Layer):
    """Scales each channel by the mean and the spread of the batch, and of those so far."""

    dimensions: int = 1
    num_features: int = 1
    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = True


class LayerNorm(Layer):
    """Scales each row's last dimensions by their own mean and spread."""

    normalized_shape: tuple[int, ...] = (1,)
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True


class GroupNorm(Layer):
    """Scales groups of each row's channels by their own mean and spread."""

    num_groups: int = 1
    num_channels: int = 1
    eps: float = 1e-5
    affine: bool = True


class Embedding(Layer):
    """A vector for each of some whole numbers."""

    num_embeddings: int = 1
    embedding_dim: int = 1
    padding_idx: int | None = None


class Recurrent(Layer):
    """LSTM, GRU or plain recurrence over a sequence; gives the sequence, and the last state."""

    cell: OneOf["LSTM", "GRU", "RNN"] = "LSTM"
    input_size: int = 1
    hidden_size: int = 1
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False


class Attention(Layer):
    """Attention of several heads; reads queries, keys and values; gives a pair."""

    embed_dim: int = 1
    num_heads: int = 1
    dropout: float = 0.0
    bias: bool = True
    batch_first: bool = False


class Encoder(Layer):
    """One layer of a transformer's encoder."""

    d_model: int = 1
    nhead: int = 1
    dim_feedforward: int = 2048
    dropout: float = 0.1
    activation: OneOf["relu", "gelu"] = "relu"
    layer_norm_eps: float = 1e-5
    batch_first: bool = False
    norm_first: bool = False
    bias: bool = True


class Parameter(Layer):
    """A tensor that is learned and stands by itself."""

    shape: tuple[int, ...] = ()


class Activation(Plain):
    """A function of each number; softmax and log_softmax of the numbers along a dimension.

    Attributes:
        function: which.
        parameter: slope of leaky_relu, alpha of elu, dimension of softmax and log_softmax.
    """

    function: OneOf[
        "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus",
        "sigmoid", "tanh", "hardtanh", "hardsigmoid", "hardswish", "relu6",
        "softmax", "log_softmax",
    ] = "relu"  # fmt: skip
    parameter: float = 0.0


class Dropout(Plain):
    """In training each number is 0 with a probability, and the others are larger for it."""

    p: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.p < 1:
            raise PlanError(f"Dropout takes a probability from 0 to 1, not {self.p:g}")


class Pooling(Plain):
    """The largest number or the mean of windows; adaptive ones give as many as `size` says."""

    function: OneOf["max", "average", "adaptive_max", "adaptive_average"] = "max"
    size: tuple[int, ...] = (1,)
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()


class Reshape(Plain):
    """The numbers of each row in another shape; -1 stands once for what is left."""

    shape: tuple[int, ...] = (-1,)


class Flatten(Plain):
    """Some dimensions as one."""

    start_dim: int = 1
    end_dim: int = -1


class Permute(Plain):
    """The dimensions in another order; the first stays that of rows."""

    dims: tuple[int, ...] = (0, 1)


class Pick(Plain):
    """One of several values that a layer gives."""

    index: int = 0


class Select(Plain):
    """One position of a dimension, without that dimension."""

    dim: int = 1
    index: int = -1


class Reduction(Plain):
    """The mean, the sum or the largest of some dimensions, the rows' left out."""

    function: OneOf["mean", "sum", "max"] = "mean"
    dims: tuple[int, ...] = (-1,)
    keepdim: bool = False


class Combine(Plain):
    """Several values as one: added, multiplied, or one beside the other along a dimension."""

    function: OneOf["add", "subtract", "multiply", "concatenate"] = "add"
    dim: int = 1


class Scaled(Plain):
    """`x * factor + shift`."""

    factor: float = 1.0
    shift: float = 0.0


LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        Activation,
        Attention,
        BatchNorm,
        Combine,
        Convolution,
        Dropout,
        Embedding,
        Encoder,
        Flatten,
        GroupNorm,
        LayerNorm,
        Linear,
        Parameter,
        Permute,
        Pick,
        Pooling,
        Recurrent,
        Reduction,
        Reshape,
        Scaled,
        Select,
    )
}


def check_layers(layers: tuple[Layer, ...]) -> None:
    """Raise `PlanError` unless layers are a network."""
    if not 1 <= len(layers) <= MAX_MODULE_LAYERS:
        raise PlanError(f"a network has 1 to {MAX_MODULE_LAYERS} layers, not {len(layers)}")
    named: dict[str, Layer] = {}
    for at, layer in enumerate(layers):
        kind = type(layer).__name__
        if not isinstance(layer, Layer) or LAYERS.get(kind) is not type(layer):
            raise PlanError(f"no layer: {kind}", hint=f"there are {', '.join(LAYERS)}")
        if not all(0 <= i <= at for i in layer.inputs):
            raise PlanError(f"layer {at + 1} ({kind}) reads a value that comes after it")
        if layer.learns and (not layer.name or len(layer.name) > 200):
            raise PlanError(f"layer {at + 1} ({kind}) needs a name for its tensors")
        same = named.setdefault(layer.name, layer) if layer.learns else layer
        if type(same) is not type(layer) or _sizes(same) != _sizes(layer):
            raise PlanError(f"two different layers are called {layer.name!r}")


def _sizes(layer: Layer) -> dict[str, object]:
    return {name: value for name, value in vars(layer).items() if name != "inputs"}


__all__ = [
    "LAYERS",
    "Activation",
    "Attention",
    "BatchNorm",
    "Combine",
    "Convolution",
    "Dropout",
    "Embedding",
    "Encoder",
    "Flatten",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "Linear",
    "Parameter",
    "Permute",
    "Pick",
    "Plain",
    "Pooling",
    "Recurrent",
    "Reduction",
    "Reshape",
    "Scaled",
    "Select",
    "check_layers",
]
