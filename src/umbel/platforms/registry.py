"""The platforms of a session: found by entry point, or given by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points

from umbel.plan.errors import PlacementError, UnknownNameError
from umbel.platforms.base import Conversion, MissingEngineError, Platform

GROUP = "umbel.platforms"


class Registry:
    """Platforms by name, and the engines that are known but cannot be used, with the reason.

    >>> sorted(p.name for p in Registry.discover())
    ['duckdb', 'polars', 'python']
    """

    def __init__(
        self,
        *platforms: Platform,
        missing: dict[str, str] | None = None,
        conversions: Sequence[Conversion] = (),
    ) -> None:
        self._platforms: dict[str, Platform] = {}
        self._conversions = list(conversions)
        self.missing: dict[str, str] = dict(missing or {})
        for platform in platforms:
            self.add(platform)

    @classmethod
    def discover(cls) -> Registry:
        """Find every engine that some installed package offers under `umbel.platforms`."""
        registry = cls()
        for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
            try:
                registry.add(entry.load()())
            except MissingEngineError as missing:
                registry.missing[entry.name] = str(missing)
            except ImportError as error:
                registry.missing[entry.name] = f"cannot be imported: {error}"
        return registry

    def add(self, platform: Platform) -> None:
        """Add a platform; its name must be free."""
        if platform.name in self._platforms:
            raise PlacementError(f"there is a platform {platform.name!r} already")
        self._platforms[platform.name] = platform
        self._conversions.extend(c for c in platform.conversions if c not in self._conversions)

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
        return Registry(*(self[name] for name in names), conversions=self._conversions)
