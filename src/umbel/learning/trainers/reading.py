"""A module of PyTorch read as data: its layers, and the numbers that it begins with.

The module is traced, here, where it was written; what leaves is the list of its layers, each of a
closed list. A layer or an operation that is not on it is refused by its name.

Source: Reed et al., "torch.fx: Practical Program Capture and Transformation for Deep Learning in
Python", MLSys 2022.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from umbel.models.layout import Array
from umbel.models.modules import flat_of
from umbel.models.torch_layers import LayerNetwork
from umbel.plan import layers as plan
from umbel.plan.errors import PlanError
from umbel.plan.models import TorchModule

_HINT = (
    "build it of the layers that docs/how-to/train-a-pytorch-model.md lists, or have its code "
    "signed and run it under a policy that allows code"
)
_ACTIVATIONS: dict[type[nn.Module], tuple[str, str]] = {
    nn.ReLU: ("relu", ""),
    nn.LeakyReLU: ("leaky_relu", "negative_slope"),
    nn.ELU: ("elu", "alpha"),
    nn.SELU: ("selu", ""),
    nn.SiLU: ("silu", ""),
    nn.Mish: ("mish", ""),
    nn.Sigmoid: ("sigmoid", ""),
    nn.Tanh: ("tanh", ""),
    nn.Hardsigmoid: ("hardsigmoid", ""),
    nn.Hardswish: ("hardswish", ""),
    nn.ReLU6: ("relu6", ""),
    nn.Softmax: ("softmax", "dim"),
    nn.LogSoftmax: ("log_softmax", "dim"),
}
#: Functions and methods of tensors that are activations, by the name of each.
_CALLED = {
    torch.relu: "relu",
    functional.relu: "relu",
    functional.leaky_relu: "leaky_relu",
    functional.elu: "elu",
    functional.selu: "selu",
    functional.gelu: "gelu",
    functional.silu: "silu",
    functional.mish: "mish",
    functional.softplus: "softplus",
    torch.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    functional.tanh: "tanh",
    functional.hardswish: "hardswish",
    functional.relu6: "relu6",
    torch.softmax: "softmax",
    functional.softmax: "softmax",
    torch.log_softmax: "log_softmax",
    functional.log_softmax: "log_softmax",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}
_PARAMETERS = {"leaky_relu": ("negative_slope", 0.01), "elu": ("alpha", 1.0)}
_POOLED: dict[type[nn.Module], tuple[str, int]] = {
    kind: (function, at)
    for function, kinds in {
        "max": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
        "average": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
        "adaptive_max": (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
        "adaptive_average": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    }.items()
    for at, kind in enumerate(kinds, 1)
}
_FUNCTIONAL_POOLS: dict[Any, tuple[str, int]] = {
    kind: (function, at)
    for function, kinds in {
        "max": (
            (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d),
            (torch.max_pool1d, torch.max_pool2d, torch.max_pool3d),
        ),
        "average": ((functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d),),
        "adaptive_average": (
            (
                functional.adaptive_avg_pool1d,
                functional.adaptive_avg_pool2d,
                functional.adaptive_avg_pool3d,
            ),
        ),
    }.items()
    for same in kinds
    for at, kind in enumerate(same, 1)
}
_COMBINED: dict[Any, str] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    operator.sub: "subtract",
    torch.sub: "subtract",
    operator.mul: "multiply",
    operator.imul: "multiply",
    torch.mul: "multiply",
}


def read_module(module: nn.Module, loss: str) -> tuple[TorchModule, Array]:
    """Read a module.

    Args:
        module: takes a tensor of rows by numbers, and gives a tensor with a row for each.
        loss: see `TorchModule`.

    Returns:
        The module as data, and its numbers.

    Raises:
        PlanError: it holds a layer that is not on the list, its steps depend on the numbers of
            rows, or its tensors are of several types.
    """
    dtypes = {p.dtype for p in module.parameters()}
    if not dtypes:
        raise PlanError(f"{type(module).__name__} has nothing that could be learned")
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise PlanError(
            f"the parameters of {type(module).__name__} are {', '.join(sorted(map(str, dtypes)))}",
            hint="they must all be float32 or all float64: module.float()",
        )
    _check_shared(module)
    if type(module).__module__.startswith("torch.nn") and type(module) is not nn.Sequential:
        module = nn.Sequential(module)  # a layer alone has no steps to trace
    try:
        graph = fx.Tracer().trace(module)
    except (fx.proxy.TraceError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise PlanError(
            f"the steps of {type(module).__name__} cannot be read: {error}",
            hint="forward takes one tensor, and what it does depends on no number of it",
        ) from error
    reader = _Reader(module)
    for node in graph.nodes:
        reader.read(node)
    dtype = "float32" if dtypes == {torch.float32} else "float64"
    algorithm = TorchModule(tuple(reader.layers), loss, dtype)  # type: ignore[arg-type]
    network = LayerNetwork(algorithm, device="cpu")
    own = module.state_dict()
    with torch.no_grad():
        for name, _, _, tensor in network.tensors():
            tensor.copy_(own[name])
    return algorithm, flat_of(network)


def _check_shared(module: nn.Module) -> None:
    """Refuse a tensor that two layers share: trained apart they would differ."""
    seen: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        other = seen.setdefault(id(parameter), name)
        if other != name:
            raise PlanError(
                f"{other!r} and {name!r} are one tensor",
                hint="use one layer twice instead of two layers with one tensor",
            )
        if not parameter.requires_grad:
            raise PlanError(
                f"{name!r} is frozen, and every tensor of a module is trained",
                hint="leave it out of the module, and give what it makes of rows as features",
            )


class _Reader:
    """Reads the nodes of a traced module, in their order."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._values: dict[fx.Node, int] = {}
        self._parts: dict[fx.Node, int] = {}
        self.layers: list[plan.Layer] = []

    def read(self, node: fx.Node) -> None:
        """Read a node."""
        match node.op:
            case "placeholder":
                if self._values:
                    raise PlanError("the module takes more than one tensor", hint=_HINT)
                self._values[node] = 0
            case "get_attr":
                self._parameter(node)
            case "call_module":
                target = str(node.target)
                self._module_of(node, target, self._module.get_submodule(target))
            case "call_function" | "call_method":
                self._called(node)
            case "output":
                given = node.args[0]
                if not isinstance(given, fx.Node):
                    raise PlanError("the module gives several values, not one tensor")
                if self._values[given] != len(self.layers):
                    # The last layer's value is the network's.
                    self._add(node, plan.Scaled((self._values[given],)))

    def _add(self, node: fx.Node, layer: plan.Layer) -> None:
        self.layers.append(layer)
        self._values[node] = len(self.layers)

    def _at(self, value: Any, node: fx.Node) -> int:
        if not isinstance(value, fx.Node) or value not in self._values:
            raise _refused(node, f"it reads {value!r}, which is no value of the network")
        return self._values[value]

    def _parameter(self, node: fx.Node) -> None:
        name = str(node.target)
        tensor: Any = operator.attrgetter(name)(self._module)
        if not isinstance(tensor, nn.Parameter):
            raise PlanError(
                f"{name!r} is a tensor that is not learned", hint="make it an nn.Parameter"
            )
        self._add(node, plan.Parameter((), name, tuple(tensor.shape)))

    def _module_of(self, node: fx.Node, name: str, module: nn.Module) -> None:
        kind = type(module)
        if kind is nn.MultiheadAttention:
            given = [
                *node.args,
                *(node.kwargs[k] for k in ("query", "key", "value") if k in node.kwargs),
            ]
            extra = set(node.kwargs) - {"query", "key", "value", "need_weights"}
            if len(given) != 3 or extra:
                raise _refused(node, "attention takes queries, keys and values, and no masks")
            inputs = tuple(self._at(value, node) for value in given)
        elif len(node.args) != 1 or node.kwargs:
            raise _refused(node, f"{kind.__name__} is given more than one tensor")
        else:
            inputs = (self._at(node.args[0], node),)
        if kind is nn.Identity:
            self._values[node] = inputs[0]
            return
        self._add(node, _layer_of(module, name, inputs))

    def _called(self, node: fx.Node) -> None:
        target, args, kwargs = node.target, node.args, dict(node.kwargs)
        if target in _CALLED:
            self._activation(node, _CALLED[target])
        elif target in _COMBINED:
            self._combined(node, _COMBINED[target])
        elif target in (torch.cat, torch.concat):
            values = args[0] if args else kwargs["tensors"]
            dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            inputs = tuple(self._at(value, node) for value in values)
            self._add(node, plan.Combine(inputs, "", "concatenate", _whole(dim, node)))
        elif target in (torch.flatten, "flatten"):
            start, end = _told(node, ("start_dim", "end_dim"), (0, -1))
            if start == 0:
                raise _refused(node, "the first dimension stays that of rows")
            self._add(node, plan.Flatten(self._first(node), "", start, end))
        elif target in ("view", "reshape", torch.reshape):
            self._reshaped(node)
        elif target in _FUNCTIONAL_POOLS:
            self._pooled(node, *_FUNCTIONAL_POOLS[target])
        elif target in ("unsqueeze", torch.unsqueeze) and self._first(node) == (0,):
            if _told(node, ("dim",), (0,))[0] not in (1, -2):
                raise _refused(node, "the first dimension stays that of rows")
            self._add(node, plan.Reshape((0,), "", (1, -1)))
        elif target in ("squeeze", torch.squeeze):
            dim = _whole(_told(node, ("dim",), (None,))[0], node)
            self._add(node, plan.Select(self._first(node), "", dim, 0))
        elif target in ("permute", torch.permute):
            dims = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
            self._add(node, plan.Permute(self._first(node), "", _wholes(dims, node)))
        elif target in ("mean", torch.mean, "sum", torch.sum):
            function: Any = target if isinstance(target, str) else target.__name__
            dim, keepdim = _told(node, ("dim", "keepdim"), (None, False))
            if dim is None:
                raise _refused(node, "it takes rows together")
            self._add(
                node, plan.Reduction(self._first(node), "", function, _wholes(dim, node), keepdim)
            )
        elif target is operator.getitem:
            self._item(node)
        elif target in (functional.dropout, torch.dropout):
            told = _told(node, ("p",), (0.5,))
            self._add(node, plan.Dropout(self._first(node), "", float(told[0])))
        elif target in ("contiguous", "float", "long"):
            self._values[node] = self._first(node)[0]
        elif target == "size" or target is getattr:
            # The number of rows, for a view: what reads it says where it may stand.
            self._parts[node] = 0
        else:
            raise _refused(node, "it is not on the list")

    def _first(self, node: fx.Node) -> tuple[int]:
        return (self._at(node.args[0] if node.args else node.kwargs.get("input"), node),)

    def _activation(self, node: fx.Node, function: str) -> None:
        parameter = 0.0
        if function in _PARAMETERS:
            name, usual = _PARAMETERS[function]
            parameter = float(_told(node, (name,), (usual,))[0])
        elif function in ("softmax", "log_softmax"):
            parameter = _whole(_told(node, ("dim",), (-1,))[0], node)
        elif function == "gelu" and node.kwargs.get("approximate") == "tanh":
            function = "gelu_tanh"
        self._add(node, plan.Activation(self._first(node), "", function, parameter))  # type: ignore[arg-type]

    def _combined(self, node: fx.Node, function: str) -> None:
        if set(node.kwargs) or len(node.args) != 2:
            raise _refused(node, "it takes two values")
        one, other = node.args
        numbers = [v for v in (one, other) if isinstance(v, (int, float))]
        if not numbers:
            inputs = (self._at(one, node), self._at(other, node))
            self._add(node, plan.Combine(inputs, "", function))  # type: ignore[arg-type]
            return
        number = float(numbers[0])
        value = (self._at(other if isinstance(one, (int, float)) else one, node),)
        match function:
            case "add":
                self._add(node, plan.Scaled(value, "", 1.0, number))
            case "subtract" if isinstance(one, (int, float)):
                self._add(node, plan.Scaled(value, "", -1.0, number))
            case "subtract":
                self._add(node, plan.Scaled(value, "", 1.0, -number))
            case _:
                self._add(node, plan.Scaled(value, "", number, 0.0))

    def _pooled(self, node: fx.Node, function: str, dimensions: int) -> None:
        adaptive = function.startswith("adaptive")
        names = ("output_size",) if adaptive else ("kernel_size", "stride", "padding")
        told = _told(node, names, (None, None, 0)[: len(names)])
        usual = {"dilation": 1, "count_include_pad": True}
        more_told = set(node.kwargs) - {"input", *names}
        unusual = [k for k in more_told if node.kwargs[k] not in (usual.get(k, False), None)]
        if len(node.args) > 1 + len(names) or unusual:
            raise _refused(node, f"it takes {', '.join(names)}, and nothing else")

        def sides(value: Any) -> tuple[int, ...]:
            several = value if isinstance(value, (tuple, list)) else (value,) * dimensions
            return _wholes(several, node)

        more = () if adaptive or told[1] is None else sides(told[1])
        padding = () if adaptive else sides(told[2])
        layer = plan.Pooling(self._first(node), "", function, sides(told[0]), more, padding)  # type: ignore[arg-type]
        self._add(node, layer)

    def _reshaped(self, node: fx.Node) -> None:
        shape = (
            node.args[1]
            if len(node.args) == 2 and isinstance(node.args[1], (tuple, list))
            else node.args[1:]
        )
        first, *others = shape
        if not (first == -1 or (isinstance(first, fx.Node) and first in self._parts)):
            raise _refused(node, "the first dimension stays that of rows: len(x), x.size(0) or -1")
        if first == -1 and -1 in others:
            raise _refused(node, "-1 stands once")
        self._add(node, plan.Reshape(self._first(node), "", _wholes(others, node)))

    def _item(self, node: fx.Node) -> None:
        source, index = node.args
        if source in self._parts:  # x.shape[0]
            if index != 0:
                raise _refused(node, "of a shape only the number of rows is known")
            self._parts[node] = 0
            return
        at = self._at(source, node)
        if isinstance(index, int) and self._several(at):
            self._add(node, plan.Pick((at,), "", index))
            return
        places = index if isinstance(index, tuple) else (index,)
        chosen = [(dim, i) for dim, i in enumerate(places) if i != slice(None)]
        if len(chosen) != 1 or not isinstance(chosen[0][1], int):
            raise _refused(node, "only one position of one dimension is taken: x[:, -1]")
        dim, position = chosen[0]
        if dim == 0 and not self._picked(at):
            raise _refused(node, "it takes one row apart from the others")
        self._add(node, plan.Select((at,), "", dim, position))

    def _several(self, at: int) -> bool:
        """Whether a value is several, one of which can be picked."""
        layer = self.layers[at - 1] if at else None
        return isinstance(layer, (plan.Recurrent, plan.Attention)) or (
            isinstance(layer, plan.Pick)
            and layer.index == 1
            and isinstance(self.layers[layer.inputs[0] - 1], plan.Recurrent)
            and self.layers[layer.inputs[0] - 1].cell == "LSTM"  # type: ignore[attr-defined]
        )

    def _picked(self, at: int) -> bool:
        """Whether a value is a recurrent layer's last state, whose first dimension is of layers."""
        layer = self.layers[at - 1] if at else None
        if not isinstance(layer, plan.Pick):
            return False
        source = self.layers[layer.inputs[0] - 1]
        return isinstance(source, plan.Pick) or (
            isinstance(source, plan.Recurrent) and source.cell != "LSTM" and layer.index == 1
        )


def _layer_of(module: nn.Module, name: str, inputs: tuple[int, ...]) -> plan.Layer:
    """Read one of PyTorch's layers; of subclasses nothing is known."""
    kind = type(module)
    what = f"the layer {name!r} ({kind.__name__})"
    if kind in _ACTIVATIONS:
        function, told = _ACTIVATIONS[kind]
        value = getattr(module, told) if told else 0.0
        if value is None:
            raise PlanError(f"{what} does not say along which dimension")
        return plan.Activation(inputs, "", function, float(value))  # type: ignore[arg-type]
    if kind in _POOLED:
        return _pooling(module, inputs, what)
    match module:
        case nn.Linear() if kind is nn.Linear:
            sizes = (module.in_features, module.out_features)
            return plan.Linear(inputs, name, *sizes, module.bias is not None)
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d() if kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
            if isinstance(module.padding, str) or module.padding_mode != "zeros":
                raise PlanError(
                    f"{what} pads by {module.padding!r}", hint="pad by numbers of zeros"
                )
            return plan.Convolution(
                inputs,
                name,
                module.in_channels,
                module.out_channels,
                tuple(module.kernel_size),
                tuple(module.stride),
                tuple(module.padding),
                tuple(module.dilation),
                module.groups,
                module.bias is not None,
            )
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            if kind not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                raise PlanError(f"{what} is not on the list", hint=_HINT)
            if module.momentum is None or not module.track_running_stats:
                raise PlanError(f"{what} must keep means over batches, by a momentum")
            dimensions = int(kind.__name__[-2])
            norm = (module.num_features, module.eps, module.momentum, module.affine)
            return plan.BatchNorm(inputs, name, dimensions, *norm)
        case nn.LayerNorm() if kind is nn.LayerNorm:
            bias = module.elementwise_affine and module.bias is not None
            shape = tuple(module.normalized_shape)
            return plan.LayerNorm(inputs, name, shape, module.eps, module.elementwise_affine, bias)
        case nn.GroupNorm() if kind is nn.GroupNorm:
            groups = (module.num_groups, module.num_channels, module.eps, module.affine)
            return plan.GroupNorm(inputs, name, *groups)
        case nn.Embedding() if kind is nn.Embedding:
            if module.max_norm is not None or module.sparse or module.scale_grad_by_freq:
                raise PlanError(f"{what} must have no max_norm, sparse or scale_grad_by_freq")
            words = (module.num_embeddings, module.embedding_dim, module.padding_idx)
            return plan.Embedding(inputs, name, *words)
        case nn.LSTM() | nn.GRU() | nn.RNN() if kind in (nn.LSTM, nn.GRU, nn.RNN):
            if getattr(module, "proj_size", 0) or module.mode == "RNN_RELU":
                raise PlanError(f"{what} must have no proj_size, and tanh")
            return plan.Recurrent(
                inputs,
                name,
                module.mode[:4].rstrip("_") if kind is not nn.RNN else "RNN",
                module.input_size,
                module.hidden_size,
                module.num_layers,
                module.bias,
                module.batch_first,
                float(module.dropout),
                module.bidirectional,
            )
        case nn.MultiheadAttention() if kind is nn.MultiheadAttention:
            plain = module._qkv_same_embed_dim and module.bias_k is None
            if not plain or module.add_zero_attn:
                raise PlanError(f"{what} must have one width, and no add_bias_kv, add_zero_attn")
            return plan.Attention(
                inputs,
                name,
                module.embed_dim,
                module.num_heads,
                float(module.dropout),
                module.in_proj_bias is not None,
                module.batch_first,
            )
        case nn.TransformerEncoderLayer() if kind is nn.TransformerEncoderLayer:
            function = getattr(module.activation, "__name__", type(module.activation).__name__)
            if function.lower() not in ("relu", "gelu"):
                raise PlanError(f"{what} has relu or gelu, not {function}")
            return plan.Encoder(
                inputs,
                name,
                module.self_attn.embed_dim,
                module.self_attn.num_heads,
                module.linear1.out_features,
                float(module.dropout.p),
                function.lower(),  # type: ignore[arg-type]
                module.norm1.eps,
                module.self_attn.batch_first,
                module.norm_first,
                module.linear1.bias is not None,
            )
        case nn.Dropout() if kind is nn.Dropout:
            return plan.Dropout(inputs, "", float(module.p))
        case nn.Flatten() if kind is nn.Flatten and module.start_dim:
            return plan.Flatten(inputs, "", module.start_dim, module.end_dim)
        case nn.Unflatten() if kind is nn.Unflatten and module.dim == 1:
            # Rows are of numbers in a line when they come; later shapes are told by Reshape too.
            return plan.Reshape(inputs, "", tuple(int(side) for side in module.unflattened_size))
        case nn.GELU() if kind is nn.GELU:
            function = "gelu_tanh" if module.approximate == "tanh" else "gelu"
            return plan.Activation(inputs, "", function)  # type: ignore[arg-type]
        case nn.Softplus() if kind is nn.Softplus and (module.beta, module.threshold) == (1, 20):
            return plan.Activation(inputs, "", "softplus")
        case nn.Hardtanh() if kind is nn.Hardtanh and (module.min_val, module.max_val) == (-1, 1):
            return plan.Activation(inputs, "", "hardtanh")
    raise PlanError(f"{what} is not on the list", hint=_HINT)


def _pooling(module: Any, inputs: tuple[int, ...], what: str) -> plan.Pooling:
    function, dimensions = _POOLED[type(module)]

    def sides(value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * dimensions

    if function.startswith("adaptive"):
        size = module.output_size
        if getattr(module, "return_indices", False) or None in sides(0 if size is None else size):
            raise PlanError(f"{what} must give numbers only, as many as output_size says")
        return plan.Pooling(inputs, "", function, sides(size))  # type: ignore[arg-type]
    unusual = (
        getattr(module, "ceil_mode", False),
        getattr(module, "return_indices", False),
        sides(getattr(module, "dilation", 1)) != (1,) * dimensions,
        not getattr(module, "count_include_pad", True),
        getattr(module, "divisor_override", None) is not None,
    )
    if any(unusual):
        raise PlanError(f"{what} takes kernel_size, stride and padding, and nothing else")
    return plan.Pooling(
        inputs,
        "",
        function,  # type: ignore[arg-type]
        sides(module.kernel_size),
        sides(module.stride),
        sides(module.padding),
    )


def _told(node: fx.Node, names: tuple[str, ...], usual: tuple[Any, ...]) -> list[Any]:
    """What a call was told after the tensor, by position or by name."""
    given = list(node.args[1 : 1 + len(names)])
    found = []
    for at, (name, value) in enumerate(zip(names, usual, strict=True)):
        found.append(given[at] if at < len(given) else node.kwargs.get(name, value))
    return found


def _whole(value: Any, node: fx.Node) -> int:
    if not isinstance(value, int):
        raise _refused(node, f"{value!r} must be a whole number that is known beforehand")
    return value


def _wholes(values: Any, node: fx.Node) -> tuple[int, ...]:
    several = values if isinstance(values, (tuple, list)) else (values,)
    return tuple(_whole(value, node) for value in several)


def _refused(node: fx.Node, why: str) -> PlanError:
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    return PlanError(f"the network's operation {target!r} cannot be read: {why}", hint=_HINT)


__all__ = ["read_module"]
