"""The same questions with the sites behind the wire: mutual TLS, leases, segments."""

import polars as pl
import pyarrow as pa
import pytest

from tests.federation.harness import ANN, federation
from tests.federation.planning.conftest import CODES
from umbel.federation.errors import PolicyError, SiteError
from umbel.federation.execution import SiteExecution
from umbel.federation.manifest import Manifest
from umbel.federation.planning import FederatedSession
from umbel.federation.publishing import Site
from umbel.federation.wire import WireDispatcher


def test_sites_behind_the_wire_answer_alike(sites: dict[str, Site], pooled: pl.DataFrame) -> None:
    with federation() as there:
        for name, site in sites.items():
            there.agent(name, SiteExecution(site), slots=4)
        manifests = [Manifest.from_json(site.manifest().to_json()) for site in sites.values()]
        session = FederatedSession(manifests, WireDispatcher(there.endpoint), ANN)
        text = (
            "select label, count(*) as n, sum(cost) as total from visits join codes on sex = code "
            "where age > 40 group by label order by label"
        )
        labels = pl.DataFrame(pl.from_arrow(CODES))
        expected = (
            pooled.filter(pl.col("age") > 40)
            .join(labels, left_on="sex", right_on="code")
            .group_by("label")
            .agg(n=pl.len(), total=pl.col("cost").sum())
            .sort("label")
        )
        for _ in range(2):
            found: pa.Table = session.sql(text).collect()
            assert found.to_pylist() == expected.to_dicts()
        with pytest.raises(PolicyError):
            session.table("visits").collect()
        with pytest.raises(SiteError, match="which is not shown") as caught:
            session.sql("select cast(label as int) as s from registry.codes").collect()
        assert "male" not in str(caught.value)
