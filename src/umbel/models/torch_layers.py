"""A plan's list of layers as a module of PyTorch; imported only where one is built.

What is listed is built of PyTorch's own classes, by a closed table: nothing is looked up by a name
that somebody gave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from umbel.plan import layers as plan
from umbel.plan.errors import PlanError
from umbel.plan.models import TorchModule

_FUNCTIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "relu": lambda x, _: functional.relu(x),
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "selu": lambda x, _: functional.selu(x),
    "gelu": lambda x, _: functional.gelu(x),
    "gelu_tanh": lambda x, _: functional.gelu(x, approximate="tanh"),
    "silu": lambda x, _: functional.silu(x),
    "mish": lambda x, _: functional.mish(x),
    "softplus": lambda x, _: functional.softplus(x),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "tanh": lambda x, _: torch.tanh(x),
    "hardtanh": lambda x, _: functional.hardtanh(x),
    "hardsigmoid": lambda x, _: functional.hardsigmoid(x),
    "hardswish": lambda x, _: functional.hardswish(x),
    "relu6": lambda x, _: functional.relu6(x),
    "softmax": lambda x, a: torch.softmax(x, int(a)),
    "log_softmax": lambda x, a: torch.log_softmax(x, int(a)),
}
#: Numbers that a network may learn, and compute for one row.
MOST_NUMBERS = 1 << 26
MOST_VALUES = 1 << 26
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CELLS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
_POOLS: dict[str, tuple[Callable[..., torch.Tensor], ...]] = {
    "max": (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d),
    "average": (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d),
    "adaptive_max": (
        functional.adaptive_max_pool1d,
        functional.adaptive_max_pool2d,
        functional.adaptive_max_pool3d,
    ),
    "adaptive_average": (
        functional.adaptive_avg_pool1d,
        functional.adaptive_avg_pool2d,
        functional.adaptive_avg_pool3d,
    ),
}


class Bare(nn.Module):
    """A tensor that is learned and stands by itself."""

    def __init__(self, shape: tuple[int, ...], **where: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape, **where))

    def forward(self) -> torch.Tensor:
        """The tensor."""
        return self.weight


class LayerNetwork(nn.Module):
    """A network of listed layers.

    Attributes:
        draw: where dropout draws from; None for PyTorch's own generator.
        draws_globally: some layer draws from PyTorch's own generator, whatever `draw` is.
        reached: the layer that is computed, from 1 on.
        trial: stop before too many numbers are computed.
        numbers: how many a trial has computed, at most.
    """

    def __init__(self, algorithm: TorchModule, device: str | None = None) -> None:
        """Build.

        Args:
            algorithm: lists the layers.
            device: where its tensors lie; "meta" for nowhere.
        """
        super().__init__()
        where = {"device": device, "dtype": getattr(torch, algorithm.dtype)}
        self.layers = algorithm.layers
        self.draw: torch.Generator | None = None
        self.draws_globally = any(getattr(layer, "dropout", 0) for layer in self.layers)
        self.reached = self.numbers = 0
        self.trial = False
        self.own = nn.ModuleList()
        names: list[str] = []
        self.places: list[int] = []
        for layer in self.layers:
            if layer.learns and layer.name not in names:
                names.append(layer.name)
                self.own.append(_module(layer, where))
            self.places.append(names.index(layer.name) if layer.learns else -1)
        self.names = tuple(names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What it gives for rows."""
        values: list[Any] = [x]
        for number, (layer, place) in enumerate(zip(self.layers, self.places, strict=True), 1):
            self.reached = number
            given = [values[i] for i in layer.inputs]
            if self.trial:
                self.numbers += _most(layer, given)
                if self.numbers > 2 * MOST_VALUES:
                    raise ValueError(f"it computes more than {MOST_VALUES:,} numbers for a row")
            if place < 0:
                made = self._plain(layer, given)
            else:
                made = _learned(layer, self.own[place], given)
            values.append(made)
        last: torch.Tensor = values[-1]
        return last

    def tensors(self) -> list[tuple[str, nn.Module, str, torch.Tensor]]:
        """Its tensors of numbers: each with its name, and the module and the name where it is."""
        found = []
        for name, layer in zip(self.names, self.own, strict=True):
            alone = isinstance(layer, Bare)
            for path, tensor in layer.state_dict(keep_vars=True).items():
                if not tensor.is_floating_point():
                    continue
                home, _, local = path.rpartition(".")
                full = name if alone else f"{name}.{path}"
                found.append((full, layer.get_submodule(home), local, tensor))
        return found

    def _plain(self, layer: plan.Layer, given: list[Any]) -> Any:
        x: Any = given[0] if given else None
        match layer:
            case plan.Activation(function=function, parameter=parameter):
                return _FUNCTIONS[function](x, parameter)
            case plan.Dropout(p=p):
                if not self.training or p == 0:
                    return x
                kept = torch.empty_like(x).bernoulli_(1 - p, generator=self.draw)
                return x * kept / (1 - p)
            case plan.Flatten(start_dim=start, end_dim=end):
                return torch.flatten(x, start, end)
            case plan.Reshape(shape=shape):
                return x.reshape(len(x), *shape)
            case plan.Permute(dims=dims):
                return x.permute(dims)
            case plan.Pick(index=index):
                return x[index]
            case plan.Select(dim=dim, index=index):
                return x.select(dim, index)
            case plan.Scaled(factor=factor, shift=shift):
                return x * factor + shift
            case plan.Pooling():
                return _pooled(layer, x)
            case plan.Reduction(function=function, dims=dims, keepdim=keepdim):
                whole = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}[function]
                return whole(x, dims, keepdim=keepdim)
            case plan.Combine(function=function, dim=dim):
                return _combined(function, dim, given)
        raise PlanError(f"no layer: {type(layer).__name__}")


def _module(layer: plan.Layer, where: dict[str, Any]) -> nn.Module:
    """Build the module of a layer that learns; its fields are the module's own arguments."""
    told = {k: v for k, v in vars(layer).items() if k not in ("inputs", "name")}
    match layer:
        case plan.Linear():
            return nn.Linear(**told, **where)
        case plan.Convolution(kernel_size=kernel):
            return _CONVOLUTIONS[len(kernel) - 1](**told, **where)
        case plan.BatchNorm(dimensions=dimensions):
            del told["dimensions"]
            return _NORMS[dimensions - 1](**told, **where)
        case plan.LayerNorm():
            return nn.LayerNorm(**told, **where)
        case plan.GroupNorm():
            return nn.GroupNorm(**told, **where)
        case plan.Embedding():
            return nn.Embedding(**told, **where)
        case plan.Recurrent(cell=cell):
            del told["cell"]
            return _CELLS[cell](**told, **where)
        case plan.Attention():
            return nn.MultiheadAttention(**told, **where)
        case plan.Encoder():
            return nn.TransformerEncoderLayer(**told, **where)
        case plan.Parameter(shape=shape):
            return Bare(shape, **where)
    raise PlanError(f"no layer: {type(layer).__name__}")


def _learned(layer: plan.Layer, module: nn.Module, given: list[Any]) -> Any:
    match layer:
        case plan.Embedding(num_embeddings=count):
            # An error would tell that a row holds such a number: the nearest stands for it.
            return module(given[0].long().clamp(0, count - 1))
        case plan.Attention():
            query, key, value = given
            return module(query, key, value, need_weights=False)
    return module(*given)


def _pooled(layer: plan.Pooling, x: torch.Tensor) -> torch.Tensor:
    pool = _POOLS[layer.function][len(layer.size) - 1]
    if layer.function.startswith("adaptive"):
        return pool(x, layer.size)
    return pool(x, layer.size, layer.stride or None, layer.padding or 0)


def _combined(function: str, dim: int, given: list[torch.Tensor]) -> torch.Tensor:
    if function == "concatenate":
        rows = max(len(value) for value in given)
        return torch.cat([v.expand(rows, *v.shape[1:]) if len(v) == 1 else v for v in given], dim)
    one, other = given
    match function:
        case "add":
            return one + other
        case "subtract":
            return one - other
    return one * other


def _most(layer: plan.Layer, given: list[Any]) -> int:
    """How many numbers a layer computes at most, of the sizes of what it is given alone."""
    shapes = [tuple(value.shape) for value in given if isinstance(value, torch.Tensor)]
    sizes = [prod(shape) for shape in shapes]
    first, size = (shapes[0], sizes[0]) if shapes else ((), 1)
    match layer:
        case plan.Linear(in_features=before, out_features=after):
            return size // max(before, 1) * after
        case plan.Convolution(out_channels=channels, padding=padding):
            return _padded(first, padding) * channels
        case plan.Pooling(function=function, size=sides) if function.startswith("adaptive"):
            return prod(first[: -len(sides)]) * prod(map(abs, sides))
        case plan.Pooling(padding=padding):
            return prod(first[:2]) * _padded(first, padding or (0,))
        case plan.Embedding(embedding_dim=width):
            return size * width
        case plan.Recurrent(hidden_size=width, num_layers=layers, input_size=before):
            return size // max(before, 1) * width * layers * 10
        case plan.Encoder(nhead=heads, dim_feedforward=inner) if len(first) == 3:
            return _heeding(first, heads) + first[0] * first[1] * inner
        case plan.Attention(num_heads=heads) if len(first) == 3:
            return _heeding(first, heads)
        case plan.Combine(function="concatenate"):
            return sum(sizes) + max(shape[0] for shape in shapes) * sum(sizes)
        case plan.Combine():
            return prod(torch.broadcast_shapes(*shapes))
        case plan.Parameter(shape=shape):
            return prod(shape)
    return sum(sizes)


def _padded(shape: tuple[int, ...], padding: tuple[int, ...]) -> int:
    """How many places of rows there are, their channels left out, with what is padded."""
    sides = shape[2:]
    wide = padding * len(sides) if len(padding) == 1 else padding
    return shape[0] * prod(side + 2 * abs(by) for side, by in zip(sides, wide, strict=False))


def _heeding(shape: tuple[int, ...], heads: int) -> int:
    """How many numbers say how much each of a sequence heeds each other."""
    return 3 * prod(shape) + heads * shape[0] * shape[1] * max(shape[0], shape[1])


def tried(
    algorithm: TorchModule, names: Sequence[str]
) -> tuple[tuple[int, ...], int, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Try a network on two rows of zeros; nothing is allocated before it is known to be small.

    Args:
        algorithm: lists the layers.
        names: of the numbers of a row.

    Returns:
        The shape of what it gives for two rows, about how many numbers it computes for one, and the
        names and shapes of its tensors.

    Raises:
        PlanError: its layers do not fit together, or it is too large.
    """
    network = None
    try:
        network = LayerNetwork(algorithm, device="meta").eval()
        size = sum(tensor.numel() for *_, tensor in network.tensors())
        if size > MOST_NUMBERS:
            raise ValueError(f"it learns {size:,} numbers, and {MOST_NUMBERS:,} are the most")
        network.to_empty(device="cpu")
        with torch.no_grad():
            for *_, tensor in network.tensors():
                tensor.zero_()
            rows = torch.zeros(2, len(names), dtype=getattr(torch, algorithm.dtype))
            network.trial = True
            made = network(rows)
        if not isinstance(made, torch.Tensor):
            raise TypeError("it gives several values where one is needed: Pick one")
    except (
        RuntimeError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        at = len(algorithm.layers) if network is None else max(network.reached, 1)
        kind = type(algorithm.layers[at - 1]).__name__
        why = str(error).split("\n")[0]
        raise PlanError(
            f"the network cannot be computed at its layer {at} ({kind}): {why}",
            hint=f"each row has {len(names)} numbers: {', '.join(names[:8])}",
        ) from error
    parts = tuple((name, tuple(tensor.shape)) for name, _, _, tensor in network.tensors())
    return tuple(made.shape), network.numbers // 2 + len(names), parts


__all__ = ["Bare", "LayerNetwork", "tried"]
