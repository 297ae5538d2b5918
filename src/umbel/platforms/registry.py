"""The platforms of a session: found by entry point, or given by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from umbel.catalog.address import Address
from umbel.catalog.statistics import TableStatistics
from umbel.catalog.statistics import statistics as source_statistics
from umbel.garbage import fewer_collections
from umbel.installed import offered
from umbel.plan.errors import PlacementError, PlanError, SourceError, UnknownNameError
from umbel.plan.sources import AttachedSource, Source
from umbel.platforms.base import Conversion, Engine, MissingEngineError, Platform, TableStore
from umbel.platforms.calibrated import Calibration, read_calibration
from umbel.platforms.costs import CostProfile, Linear, Price

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
        calibration: cost profiles that were measured on this machine.

    >>> {"duckdb", "polars", "python"} <= {p.name for p in Registry.discover()}
    True
    """

    def __init__(
        self,
        *platforms: Platform,
        missing: dict[str, str] | None = None,
        conversions: Sequence[Conversion] = (),
        engines: Mapping[str, Engine] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.calibration = calibration or Calibration()
        self._platforms: dict[str, Platform] = {}
        self._profiles: dict[str, CostProfile] = {}
        self._conversions: dict[str, list[Conversion]] = {"": list(conversions)}
        self.attached: set[str] = set()
        self.prices: dict[str, Price] = {}
        self.missing: dict[str, str] = dict(missing or {})
        self.engines: dict[str, Engine] = dict(engines or {})
        for platform in platforms:
            self.add(platform)

    @classmethod
    @fewer_collections()
    def discover(cls) -> Registry:
        """Find every engine that some installed package offers under `umbel.platforms`.

        Their costs are those that `umbel calibrate` measured here, if it was run.
        """
        registry = cls(calibration=read_calibration())
        for entry in sorted(offered(GROUP), key=lambda e: e.name):
            try:
                registry._offer(entry.name, entry.load())
            except MissingEngineError as missing:
                registry.missing[entry.name] = str(missing)
            except ImportError as error:
                registry.missing[entry.name] = f"cannot be imported: {error}"
        return registry

    def _offer(self, name: str, engine: Engine | Callable[[], Platform]) -> None:
        """Take what an entry point names."""
        if not isinstance(engine, Engine):
            self.add(engine())
            return
        self.engines[name] = engine
        engine.check()
        if engine.make is not None:
            self.add(engine.make(name))

    def add(self, platform: Platform) -> None:
        """Add a platform; its name must be free."""
        if platform.name in self._platforms or platform.name in _RESERVED:
            raise PlacementError(f"there is a platform {platform.name!r} already")
        self._platforms[platform.name] = platform
        profile = self.calibration.profile(platform)
        if profile is not None or platform.name != platform.engine:
            self._profiles[platform.name] = _with_own_channel(profile or platform.costs, platform)
        known = self.conversions
        own = (self._calibrated(platform, c) for c in platform.conversions)
        self._conversions[platform.name] = [c for c in own if c not in known]

    def _calibrated(self, platform: Platform, conversion: Conversion) -> Conversion:
        """The conversion with what the platform's profile says that it costs."""
        cost = self.costs(platform).conversions.get(conversion_name(platform, conversion))
        return conversion if cost is None else replace(conversion, cost=cost)

    def costs(self, platform: Platform) -> CostProfile:
        """A platform's cost profile: as measured on this machine, or else as shipped."""
        known = self._profiles.get(platform.name)
        return platform.costs if known is None else known

    @property
    def schemes(self) -> Mapping[str, str]:
        """The URL schemes that can be attached, each with the engine that takes it."""
        return {scheme: name for name, e in self.engines.items() for scheme in e.schemes}

    def scheme_of(self, file: Path) -> str | None:
        """Find out by its first bytes which engine's file this is; None if no engine's.

        Raises:
            SourceError: it cannot be read.
        """
        try:
            with file.open("rb") as stream:
                head = stream.read(64)
        except OSError as error:
            raise SourceError(f"cannot read {file}: {error.strerror}") from None
        for engine in self.engines.values():
            if engine.signature is not None:
                start, mark = engine.signature
                if head[start : start + len(mark)] == mark:
                    return engine.schemes[0]
        return None

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
        return self.prices.get(platform.name, self.costs(platform).price)

    def detach(self, name: str) -> None:
        """Remove a platform that was attached, and close it."""
        if name not in self.attached:
            raise UnknownNameError("attached platform", name, self.attached)
        platform = self._platforms.pop(name)
        self.attached.discard(name)
        self.prices.pop(name, None)
        self._profiles.pop(name, None)
        self._conversions.pop(name)
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
        return [c for edges in self._conversions.values() for c in edges]

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
        if name in self.engines and self.engines[name].schemes:
            scheme = self.engines[name].schemes[0]
            raise PlacementError(
                f"platform {name!r} is not attached",
                hint=f"session.catalog.attach({name!r}, '{scheme}://…')",
            )
        raise UnknownNameError("platform", name, [*self._platforms, *self.missing])

    def only(self, *names: str) -> Registry:
        """The registry reduced to some of its platforms; all conversions stay at hand."""
        chosen = Registry(
            *(self[name] for name in names),
            conversions=self.conversions,
            calibration=self.calibration,
        )
        chosen.attached = self.attached & set(names)
        chosen.prices = {name: price for name, price in self.prices.items() if name in names}
        return chosen


def _with_own_channel(profile: CostProfile, platform: Platform) -> CostProfile:
    """Call the channel of a platform's own data as the platform is called, not as its engine."""

    def renamed(sides: Mapping[str, Linear]) -> dict[str, Linear]:
        own = {platform.engine: platform.name}
        return {own.get(channel, channel): cost for channel, cost in sides.items()}

    return replace(profile, read=renamed(profile.read), write=renamed(profile.write))


def conversion_name(platform: Platform, conversion: Conversion) -> str:
    """What a conversion is called in the cost profiles of its platform's engine."""
    ends = (
        platform.engine if channel == platform.name else channel
        for channel in (conversion.source, conversion.target)
    )
    return " -> ".join(ends)


def _price(options: dict[str, Any]) -> Price | None:
    """Take the prices out of the options of a platform."""
    names = {"dollars_per_hour": "per_hour", "dollars_per_tb_scanned": "per_tb_scanned"}
    given = {new: options.pop(old) for old, new in names.items() if old in options}
    return Price(**given) if given else None
