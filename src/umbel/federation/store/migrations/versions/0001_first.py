"""The first tables: sites and what proves who they are, tasks and their results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "coordinator",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sites",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("joined", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
        sa.Column("seen", sa.Float),
        sa.Column("version", sa.String(50)),
        sa.Column("clock_ahead", sa.Float),
        sa.Column("round_trip", sa.Float),
        sa.Column("manifest", sa.Text),
        sa.Column("manifest_at", sa.Float),
    )
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(50), primary_key=True),
        sa.Column("site", sa.String(63), sa.ForeignKey("sites.name"), nullable=False),
        sa.Column("issued", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
    )
    op.create_index("certificates_site", "certificates", ["site"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(50), primary_key=True),
        sa.Column("site", sa.String(63), nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("proof_key", sa.LargeBinary, nullable=False),
        sa.Column("used", sa.Float),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(50), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("run", sa.String(128), nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("site", sa.String(63), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("submitted", sa.Float, nullable=False),
        sa.Column("leased", sa.Float),
        sa.Column("finished", sa.Float),
        sa.Column("outcome", sa.Text),
        sa.Column("failure", sa.Text),
    )
    op.create_index("tasks_run", "tasks", ["run"])
    op.create_table(
        "segments",
        sa.Column("task", sa.String(64), sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary),
    )


def downgrade() -> None:
    """Remove the tables."""
    for table in (
        "segments", "tasks", "tokens", "invitations", "certificates", "sites", "coordinator",
    ):  # fmt: skip
        op.drop_table(table)
