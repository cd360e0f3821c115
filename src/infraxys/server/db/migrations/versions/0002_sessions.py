"""Sessions, the first administrator's link, tokens that can be rotated."""

import sqlalchemy as sa
from alembic import op

from infraxys.server.db.types import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(22), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("user_agent", sa.String(200), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_table(
        "setup_links",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_setup_links")),
    )
    op.execute("DELETE FROM tokens WHERE revoked_at IS NOT NULL")  # from now on a token that is deleted is gone
    with op.batch_alter_table("tokens") as batch:
        batch.add_column(sa.Column("rotated_at", UtcDateTime(timezone=True)))
        batch.add_column(sa.Column("previous_digest", sa.LargeBinary(32)))
        batch.add_column(sa.Column("previous_until", UtcDateTime(timezone=True)))
        batch.drop_column("revoked_at")


def downgrade() -> None:
    with op.batch_alter_table("tokens") as batch:
        batch.add_column(sa.Column("revoked_at", UtcDateTime(timezone=True)))
        batch.drop_column("previous_until")
        batch.drop_column("previous_digest")
        batch.drop_column("rotated_at")
    op.drop_table("setup_links")
    op.drop_table("sessions")
