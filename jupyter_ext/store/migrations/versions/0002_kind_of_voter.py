"""Labeling functions and models are told apart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("label_function") as table:
        table.add_column(sa.Column("kind", sa.String(length=16), nullable=False, server_default="function"))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("label_function") as table:
        table.drop_column("kind")
