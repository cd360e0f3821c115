"""The audit trail, and runs that were started by actions."""

import sqlalchemy as sa
from alembic import op

from infraxys.server.db.types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

REFUSAL = "audit records are never changed or deleted"
# REPLACE deletes without asking triggers: a row can only be added behind the last one.
SQLITE = (
    f"CREATE TRIGGER audit_records_update BEFORE UPDATE ON audit_records BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    f"CREATE TRIGGER audit_records_delete BEFORE DELETE ON audit_records BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    (
        "CREATE TRIGGER audit_records_insert BEFORE INSERT ON audit_records "
        "WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit_records) "
        "BEGIN SELECT RAISE(ABORT, 'audit records are added behind the last one only'); END"
    ),
)
POSTGRESQL = (
    (
        "CREATE FUNCTION audit_records_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
    ),
    (
        "CREATE TRIGGER audit_records_change BEFORE UPDATE OR DELETE ON audit_records "
        "FOR EACH ROW EXECUTE FUNCTION audit_records_refuse()"
    ),
    (
        "CREATE TRIGGER audit_records_truncate BEFORE TRUNCATE ON audit_records "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_records_refuse()"
    ),
)


def upgrade() -> None:
    op.create_table(
        "audit_records",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target", sa.String(300), nullable=False),
        sa.Column("result", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(36)),
        sa.Column("user_name", sa.String(300)),
        sa.Column("token_id", sa.String(22)),
        sa.Column("session_id", sa.String(22)),
        sa.Column("run_id", sa.String(36)),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_records")),
    )
    op.create_index(op.f("ix_audit_records_at"), "audit_records", ["at"])
    for column in ("action", "target", "user_id", "user_name"):
        op.create_index(f"ix_audit_records_{column}", "audit_records", [column, "sequence"])
    for statement in SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)
    op.add_column("runs", sa.Column("parent_run_id", sa.String(36), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("parent_run_id")
    op.drop_table("audit_records")
    if op.get_context().dialect.name != "sqlite":
        op.execute("DROP FUNCTION audit_records_refuse()")
