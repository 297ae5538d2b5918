"""Networks of PyTorch, built of a plan's list of layers: what they predict, and how they are trained.

The numbers of a state and a network's tensors are the same memory, so a step of an optimizer is one
operation on one array. Everything runs on one thread and draws from its own generator: a site gets
the same bits on any machine of its kind, however many others train beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.models.optimizers import Floats
from umbel.plan.errors import PlanError
from umbel.plan.models import Design, TorchModule, Training

if TYPE_CHECKING:
    import torch

    from umbel.models.torch_layers import LayerNetwork

#: Numbers of a network's values that are held at a time, about.
HELD = 1 << 24


class ModuleMathematics:
    """A network whose layers a plan lists."""

    def state(self, design: Design) -> Layout:
        """Its tensors of numbers, those that only training moves included."""
        return _known(design)[0]

    def initial(self, design: Design, seed: int) -> Array:
        """Draw it as PyTorch does."""
        _known(design)
        from umbel.models.torch_layers import LayerNetwork

        torch = torch_module()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = LayerNetwork(algorithm_of(design))
        return flat_of(network)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """What it predicts; of classes their shares."""
        torch = torch_module()
        walker = ModuleWalk(design, state, Examples(x, np.empty(0)), None)
        walker.network.eval()
        found = []
        with walker, torch.no_grad():
            for begin in range(0, len(x), walker.at_once):
                given = walker.network(walker.x[begin : begin + walker.at_once])
                found.append(_predicted(design, given))
        if not found:
            return np.empty((0, len(design.classes)) if design.classes else 0)
        return torch.cat(found).numpy()

    def slope(self, design: Design, state: Array, examples: Examples) -> tuple[Array, float]:
        """The slope of the mean loss as it is applied, without what training draws."""
        walk = ModuleWalk(design, state, examples, None)
        with walk:
            loss, slope = walk.loss(), walk.slope(None)
        if slope is None:
            raise PlanError("a network with BatchNorm has no slope of a single row")
        return slope.astype(np.float64), loss

    def walk(
        self, design: Design, start: Array, examples: Examples, training: Training
    ) -> ModuleWalk:
        """Begin to train."""
        return ModuleWalk(design, start, examples, training)


class ModuleWalk:
    """A network over the rows of one part, whose tensors are `now`.

    Attributes:
        now: its numbers.
        network: the network, over the same memory.
        x: the rows' numbers.
        at_once: rows that are computed together.
    """

    def __init__(
        self, design: Design, start: Array, examples: Examples, training: Training | None
    ) -> None:
        """Bind.

        Args:
            design: the network.
            start: its numbers.
            examples: the rows.
            training: how it is trained; None if it is applied.
        """
        from umbel.models.torch_layers import LayerNetwork

        torch = torch_module()
        algorithm = algorithm_of(design)
        _, self.at_once = _known(design)
        self.now: Floats = start.astype(algorithm.dtype)
        self.network = LayerNetwork(algorithm, device="meta")
        self._slope: Floats = np.zeros_like(self.now)
        self._kept = bind(self.network, self.now, self._slope)
        self._before: list[Floats] = []
        self.x = torch.from_numpy(np.asarray(examples.x, algorithm.dtype))
        self.y = torch.from_numpy(examples.y)
        self._loss = loss_of(design)
        self._training = training
        if training is not None:
            self.network.draw = torch.Generator().manual_seed(training.seed)
        self._whole = bool(self._kept)  # a batch whose means count is not computed in parts

    def __enter__(self) -> Self:
        self._guard = _alone(self.network.draws_globally and self._training is not None)
        self._guard.__enter__()
        if self._training is not None and self.network.draws_globally:
            torch_module().manual_seed(self._training.seed)
        return self

    def __exit__(self, *told: object) -> None:
        self._guard.__exit__(None, None, None)

    def loss(self) -> float:
        """The loss of all rows, summed; as it is applied."""
        self.network.eval()
        total = 0.0
        with torch_module().no_grad():
            for begin in range(0, len(self.x), self.at_once):
                rows = slice(begin, begin + self.at_once)
                total += float(self._loss(self.network(self.x[rows]), self.y[rows]))
        return total

    def slope(self, rows: np.ndarray | None) -> Floats | None:
        """See `Walk.slope`."""
        self.network.train(self._training is not None)
        count = len(self.x) if rows is None else len(rows)
        self._slope[:] = 0
        self._before = []
        if self._training is not None and self._whole and count < 2:
            return None
        chosen = None if rows is None else torch_module().from_numpy(rows)
        width = count if self._whole else self.at_once
        for begin in range(0, count, width):
            part = slice(begin, begin + width)
            index = part if chosen is None else chosen[part]
            loss = self._loss(self.network(self.x[index]), self.y[index]) / count
            loss.backward()
        self._before = [self.now[span].copy() for span in self._kept]
        return self._slope

    def settle(self) -> None:
        """Means over batches have moved by the batch alone: take back what the step did to them."""
        for span, before in zip(self._kept, self._before, strict=True):
            self.now[span] = before


def algorithm_of(design: Design) -> TorchModule:
    """The algorithm of a design that is known to be a network of PyTorch."""
    if not isinstance(design.algorithm, TorchModule):
        raise PlanError(f"{type(design.algorithm).__name__} is no network of PyTorch")
    return design.algorithm


def torch_module() -> Any:
    """PyTorch, which is imported when it is first needed.

    Raises:
        PlanError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise PlanError(
            "networks of PyTorch need the package torch, which is not installed here",
            hint='pip install "umbel[torch]"',
        ) from error
    return torch


def bind(network: LayerNetwork, now: Floats, slope: Floats | None) -> list[slice]:
    """Make a network's tensors views of a state.

    Args:
        network: the network; what its tensors held is forgotten.
        now: the state.
        slope: where slopes are added up; None if there are none.

    Returns:
        Where tensors lie that only training moves, such as means over batches.
    """
    torch, kept, at = torch_module(), [], 0
    for _, home, local, tensor in network.tensors():
        span = slice(at, at + tensor.numel())
        at = span.stop
        view = torch.from_numpy(now[span]).reshape(tensor.shape)
        if local in home._parameters:
            made = torch.nn.Parameter(view)
            if slope is not None:
                made.grad = torch.from_numpy(slope[span]).reshape(tensor.shape)
            setattr(home, local, made)
        else:
            kept.append(span)
            setattr(home, local, view)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64)
    return kept


def flat_of(network: LayerNetwork) -> Array:
    """A network's numbers, one tensor after the other."""
    found = [t.detach().numpy().ravel() for _, _, _, t in network.tensors()]
    return np.concatenate(found).astype(np.float64) if found else np.empty(0)


@lru_cache(maxsize=64)
def _known(design: Design) -> tuple[Layout, int]:
    """What a network's tensors are, and how many rows are computed together.

    A list of layers that somebody sent is tried on two rows.

    Raises:
        PlanError: its layers do not fit together, or it gives other numbers than the label needs.
    """
    torch_module()
    from umbel.models.torch_layers import tried

    shape, each, parts = tried(algorithm_of(design), design.names)
    wanted = {(2, len(design.classes))} if design.classes else {(2, 1), (2,)}
    if len(design.classes) == 2:
        wanted |= {(2, 1), (2,)}
    if shape not in wanted:
        needs = f"{len(design.classes)} numbers, one for each class" if design.classes else "one"
        gives = " by ".join(map(str, shape[1:])) or "one number"
        raise PlanError(f"the network gives {gives} for a row, and {design.label!r} needs {needs}")
    return Layout(parts), max(1, HELD // each)


def loss_of(design: Design) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of a network's numbers against labels, summed over rows."""
    functional = torch_module().nn.functional
    algorithm = algorithm_of(design)

    def of_classes(made: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if made.ndim == 1 or made.shape[1] == 1:
            odds = made.reshape(-1)
            return functional.binary_cross_entropy_with_logits(odds, y.to(odds), reduction="sum")
        return functional.cross_entropy(made, y.long(), reduction="sum")

    def of_numbers(made: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        made = made.reshape(-1)
        y = y.to(made)
        match algorithm.loss:
            case "absolute":
                return functional.l1_loss(made, y, reduction="sum")
            case "huber":
                return functional.huber_loss(made, y, reduction="sum")
            case "poisson":
                return (torch_module().exp(made) - y * made).sum()
        return 0.5 * functional.mse_loss(made, y, reduction="sum")

    return of_classes if design.classes else of_numbers


def _predicted(design: Design, made: torch.Tensor) -> torch.Tensor:
    """What is predicted, in 64 bits; of classes their shares, which add up to 1."""
    made = made.double()
    if not design.classes:
        made = made.reshape(-1)
        return made.exp() if algorithm_of(design).loss == "poisson" else made
    if made.ndim == 1 or made.shape[1] == 1:
        second = made.reshape(-1).sigmoid()
        return torch_module().stack([1 - second, second], dim=1)
    return made.softmax(dim=1)


#: Held while PyTorch's own generator is drawn from: some of its layers know no other.
_DRAWING = threading.Lock()


class _Threads:
    """How many trainings are under way, and how many threads there were before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.under_way, self.before = 0, 1


_THREADS = _Threads()


@contextmanager
def _alone(drawing: bool) -> Iterator[None]:
    """Compute on one thread, so that sums are added up in one order wherever that is."""
    torch, threads = torch_module(), _THREADS
    with threads.lock:
        if not threads.under_way:
            threads.before = torch.get_num_threads()
        threads.under_way += 1
        torch.set_num_threads(1)
    try:
        if drawing:
            with _DRAWING, torch.random.fork_rng(devices=[]):
                yield
        else:
            yield
    finally:
        with threads.lock:
            threads.under_way -= 1
            torch.set_num_threads(1 if threads.under_way else threads.before)


__all__ = [
    "ModuleMathematics",
    "ModuleWalk",
    "algorithm_of",
    "bind",
    "flat_of",
    "loss_of",
    "torch_module",
]
