"""What the coordinator remembers: who belongs to the federation, and what sites were asked to do.

SQLite by default, PostgreSQL in production, by one code and one suite of tests. No data of sites
is kept but the results that they committed, until their run is forgotten.
"""

from __future__ import annotations

from umbel.federation.store.members import SiteRecord
from umbel.federation.store.store import Store
from umbel.federation.store.tasks import SegmentRecord, TaskRecord

__all__ = ["SegmentRecord", "SiteRecord", "Store", "TaskRecord"]
