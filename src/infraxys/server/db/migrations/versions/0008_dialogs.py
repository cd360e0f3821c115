"""Dialogs of actions, who is there to answer them, and runs that repeat others."""

import sqlalchemy as sa
from alembic import op

from infraxys.server.db.types import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_dialogs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("is_html", sa.Boolean(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("updates", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("answered_at", UtcDateTime(timezone=True)),
        sa.Column("answered_by", sa.String(36)),
        sa.Column("answered_by_name", sa.String(200)),
        sa.Column("answer", sa.Text()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_dialogs_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_dialogs")),
    )
    op.create_index(op.f("ix_run_dialogs_run_id"), "run_dialogs", ["run_id"])
    op.add_column("runs", sa.Column("is_interactive", sa.Boolean(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("rerun_of", sa.String(36)))


def downgrade() -> None:
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("rerun_of")
        batch.drop_column("is_interactive")
    op.drop_table("run_dialogs")
