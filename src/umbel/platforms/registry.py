"""The platforms of a session: found by entry point, or given by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from umbel.catalog.address import Address
from umbel.catalog.statistics import TableStatistics
from umbel.catalog.statistics import statistics as source_statistics
from umbel.plan.errors import PlacementError, PlanError, UnknownNameError
from umbel.plan.sources import AttachedSource, Source
from umbel.platforms.base import Conversion, Engine, MissingEngineError, Platform, TableStore
from umbel.platforms.costs import Price

GROUP = "umbel.platforms"

#: Names that mean something else: what umbel itself runs, and the channel of Arrow tables.
_RESERVED = frozenset({"umbel", "arrow"})


class Registry:
    """Platforms by name, and the engines that are known but cannot be used, with the reason.

    Attributes:
        missing: why engines cannot be used, by name.
        engines: those that can be attached by URL, by name.
        attached: names of the platforms that were.
        prices: what platforms cost, by name, where their configuration says so.

    >>> sorted(p.name for p in Registry.discover())
    ['duckdb', 'polars', 'python']
    """

    def __init__(
        self,
        *platforms: Platform,
        missing: dict[str, str] | None = None,
        conversions: Sequence[Conversion] = (),
        engines: Mapping[str, Engine] | None = None,
    ) -> None:
        self._platforms: dict[str, Platform] = {}
        self._conversions: list[Conversion] = list(conversions)
        self.attached: set[str] = set()
        self.prices: dict[str, Price] = {}
        self.missing: dict[str, str] = dict(missing or {})
        self.engines: dict[str, Engine] = dict(engines or {})
        for platform in platforms:
            self.add(platform)

    @classmethod
    def discover(cls) -> Registry:
        """Find every engine that some installed package offers under `umbel.platforms`."""
        registry = cls()
        for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
            try:
                registry._offer(entry.name, entry.load())
            except MissingEngineError as missing:
                registry.missing[entry.name] = str(missing)
            except ImportError as error:
                registry.missing[entry.name] = f"cannot be imported: {error}"
        return registry

    def _offer(self, name: str, offered: Engine | Callable[[], Platform]) -> None:
        """Take what an entry point names."""
        if not isinstance(offered, Engine):
            self.add(offered())
            return
        self.engines[name] = offered
        offered.check()
        if offered.make is not None:
            self.add(offered.make(name))

    def add(self, platform: Platform) -> None:
        """Add a platform; its name must be free."""
        if platform.name in self._platforms or platform.name in _RESERVED:
            raise PlacementError(f"there is a platform {platform.name!r} already")
        self._platforms[platform.name] = platform
        self._conversions.extend(c for c in platform.conversions if c not in self._conversions)

    @property
    def schemes(self) -> Mapping[str, str]:
        """The URL schemes that can be attached, each with the engine that takes it."""
        return {scheme: name for name, e in self.engines.items() for scheme in e.schemes}

    def attach(self, name: str, url: str, **options: Any) -> Platform:
        """Add a platform at a URL, by the engine that takes the URL's scheme.

        Nothing is connected before it is needed.

        Args:
            name: the platform's name; two platforms may have one engine.
            url: where it is. A password in it is split off, and shown nowhere.
            options: further parts of the address. Secrets are references: "env:NAME" or
                "file:/path". Two are prices, which budgets go by: `dollars_per_hour` and
                `dollars_per_tb_scanned`.

        Raises:
            PlacementError: the name is taken, or the engine is not installed.
            UnknownNameError: no engine takes such URLs.
        """
        price = _price(options)
        address = Address.of(url, options)
        if address.scheme not in self.schemes:
            raise UnknownNameError("scheme of a URL", address.scheme, self.schemes)
        engine = self.schemes[address.scheme]
        if engine in self.missing:
            raise PlacementError(f"engine {engine!r} is not here", hint=self.missing[engine])
        attach = self.engines[engine].attach
        if attach is None:
            raise PlanError(f"engine {engine!r} says what URLs it takes, but not how")
        platform = attach(name, address)
        self.add(platform)
        self.attached.add(name)
        if price is not None:
            self.prices[name] = price
        return platform

    def set_price(self, name: str, price: Price) -> None:
        """Say what a platform costs.

        Raises:
            UnknownNameError: there is no such platform.
        """
        self.prices[self[name].name] = price

    def price(self, platform: Platform) -> Price:
        """What a platform costs: as configured, or else as its cost profile says."""
        return self.prices.get(platform.name, platform.costs.price)

    def detach(self, name: str) -> None:
        """Remove a platform that was attached, and close it."""
        if name not in self.attached:
            raise UnknownNameError("attached platform", name, self.attached)
        platform = self._platforms.pop(name)
        self.attached.discard(name)
        self.prices.pop(name, None)
        own = list(platform.conversions)
        self._conversions = [c for c in self._conversions if c not in own]
        if isinstance(platform, TableStore):
            platform.close()

    def store(self, name: str) -> TableStore:
        """Give a platform that holds tables.

        Raises:
            UnknownNameError: there is no such platform.
            PlacementError: it holds no tables.
        """
        platform = self[name]
        if not isinstance(platform, TableStore):
            raise PlacementError(f"platform {name!r} holds no tables of its own")
        return platform

    def statistics(self, source: Source) -> TableStatistics:
        """Find what can be known of a source without reading it; databases know their own best."""
        if isinstance(source, AttachedSource) and source.platform in self._platforms:
            store = self._platforms[source.platform]
            if isinstance(store, TableStore):
                return store.statistics(source)
        return source_statistics(source)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """The edges of the channel graph."""
        return self._conversions

    def __iter__(self) -> Iterator[Platform]:
        return iter(sorted(self._platforms.values(), key=lambda p: p.name))

    def __len__(self) -> int:
        return len(self._platforms)

    def __contains__(self, name: str) -> bool:
        return name in self._platforms

    def __getitem__(self, name: str) -> Platform:
        """Give a platform by name.

        Raises:
            PlacementError: the engine is known but not installed; says how to install it.
            UnknownNameError: there is no such platform, with the closest names.
        """
        if name in self._platforms:
            return self._platforms[name]
        if name in self.missing:
            raise PlacementError(f"platform {name!r} is not here", hint=self.missing[name])
        raise UnknownNameError("platform", name, [*self._platforms, *self.missing])

    def only(self, *names: str) -> Registry:
        """The registry reduced to some of its platforms; all conversions stay at hand."""
        chosen = Registry(*(self[name] for name in names), conversions=self._conversions)
        chosen.attached = self.attached & set(names)
        chosen.prices = {name: price for name, price in self.prices.items() if name in names}
        return chosen


def _price(options: dict[str, Any]) -> Price | None:
    """Take the prices out of the options of a platform."""
    names = {"dollars_per_hour": "per_hour", "dollars_per_tb_scanned": "per_tb_scanned"}
    given = {new: options.pop(old) for old, new in names.items() if old in options}
    return Price(**given) if given else None
