"""The coordinator's tables, as SQLAlchemy knows them; the migrations make the same."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()

#: Who coordinates: one row, whose number grows with each start and fences the coordinator before.
COORDINATOR = Table(
    "coordinator",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

#: Times are seconds since 1970 by the coordinator's clock.
SITES = Table(
    "sites",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("joined", Float, nullable=False),
    Column("revoked", Float),
    Column("seen", Float),
    Column("version", String(50)),
    Column("clock_ahead", Float),
    Column("round_trip", Float),
    Column("manifest", Text),
    Column("manifest_at", Float),
    # The newest head of the site's audit log that it has shown.
    Column("audit_seq", BigInteger),
    Column("audit_digest", String(64)),
    Column("audit_at", Float),
)

CERTIFICATES = Table(
    "certificates",
    METADATA,
    Column("serial", String(50), primary_key=True),
    Column("site", String(63), ForeignKey("sites.name"), nullable=False),
    Column("issued", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("revoked", Float),
)
Index("certificates_site", CERTIFICATES.c.site)

INVITATIONS = Table(
    "invitations",
    METADATA,
    Column("id", String(50), primary_key=True),
    Column("site", String(63), nullable=False),
    Column("expires", Float, nullable=False),
    Column("proof_key", LargeBinary, nullable=False),
    Column("used", Float),
)

#: Tokens of people and tools: never the token itself, only the digest that it is known by.
TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(50), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("roles", Text, nullable=False),
    Column("expires", Float, nullable=False),
    Column("revoked", Boolean, nullable=False),
)

TASKS = Table(
    "tasks",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("run", String(128), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("site", String(63), nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("submitted", Float, nullable=False),
    Column("leased", Float),
    Column("finished", Float),
    Column("outcome", Text),
    Column("failure", Text),
)
Index("tasks_run", TASKS.c.run)

#: The segments of committed results; small ones with their content, others are files.
SEGMENTS = Table(
    "segments",
    METADATA,
    Column("task", String(64), ForeignKey("tasks.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("content", LargeBinary),
)

__all__ = [
    "CERTIFICATES",
    "COORDINATOR",
    "INVITATIONS",
    "METADATA",
    "SEGMENTS",
    "SITES",
    "TASKS",
    "TOKENS",
]
