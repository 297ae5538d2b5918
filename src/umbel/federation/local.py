"""A federation in one process: for tests, notebooks, and trying out what rules let through."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from umbel.federation.execution import SiteExecution
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.publishing import Site
from umbel.federation.site_config import read_site
from umbel.federation.tasks import Limits, Requester


def local(
    sites: Iterable[Site] | Mapping[str, Site | str | os.PathLike[str]],
    *,
    user: str = "nobody",
    limits: Limits | None = None,
    **settings: Any,
) -> FederatedSession:
    """Begin a session over sites that run in this process, under their own rules.

    Args:
        sites: the sites; or by name, where each is a `Site` or the file of its settings.
        user: on whose behalf.
        limits: what each task may take.
        settings: as those of `umbel.connect`.

    >>> import umbel as ub
    >>> from umbel.federation import Form, Rule, Site
    >>> north, south = Site("north", ub.connect()), Site("south", ub.connect())
    >>> rule = Rule(Form.AGGREGATES, min_individuals=2)
    >>> north.publish("people", north.session.from_dict({"age": [30, 40]}), rule)
    >>> south.publish("people", south.session.from_dict({"age": [50, 60]}), rule)
    >>> session = local([north, south])
    >>> session.sql("select count(*) as n, avg(age) as mean from people").collect().to_pylist()
    [{'n': 4, 'mean': 45.0}]
    """
    given = list(sites.items()) if isinstance(sites, Mapping) else [(s.name, s) for s in sites]
    found = {name: s if isinstance(s, Site) else read_site(s, name=name) for name, s in given}
    executions = {site.name: SiteExecution(site) for site in found.values()}
    return FederatedSession(
        [site.manifest() for site in found.values()],
        DirectDispatcher(executions),
        Requester(user),
        limits=limits,
        **settings,
    )


__all__ = ["local"]
