"""What sites have shown of their audit logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("sites", sa.Column("audit_seq", sa.BigInteger))
    op.add_column("sites", sa.Column("audit_digest", sa.String(64)))
    op.add_column("sites", sa.Column("audit_at", sa.Float))


def downgrade() -> None:
    """Remove the columns."""
    with op.batch_alter_table("sites") as sites:
        for column in ("audit_seq", "audit_digest", "audit_at"):
            sites.drop_column(column)
