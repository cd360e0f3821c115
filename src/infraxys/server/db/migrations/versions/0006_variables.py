"""Variables."""

import sqlalchemy as sa
from alembic import op

from infraxys.server.db.types import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "variables",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("project_id", sa.String(36)),
        sa.Column("module", sa.String(500), nullable=False, server_default=""),
        sa.Column("environment_id", sa.String(200), nullable=False, server_default=""),
        sa.Column("branch", sa.String(500), nullable=False, server_default=""),
        sa.Column("is_prefix", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("container_id", sa.String(200), nullable=False, server_default=""),
        sa.Column("level_key", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("type", sa.String(200), nullable=False, server_default=""),
        sa.Column("is_protected", sa.Boolean(), nullable=False),
        sa.Column("allow_overrides", sa.Boolean(), nullable=False),
        sa.Column("is_exported", sa.Boolean(), nullable=False),
        sa.Column("is_file", sa.Boolean(), nullable=False),
        sa.Column("sealed", sa.LargeBinary()),
        sa.Column("key_id", sa.String(16)),
        sa.Column("reference", sa.Text()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.String(200)),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_variables_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variables")),
        sa.UniqueConstraint("level_key", "name", name=op.f("uq_variables_level_key_name")),
    )
    op.create_index(op.f("ix_variables_project_id"), "variables", ["project_id"])
    op.create_index(op.f("ix_variables_key_id"), "variables", ["key_id"])
    state = op.create_table(
        "variable_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variable_state")),
    )
    op.bulk_insert(state, [{"id": 1, "version": 1}])


def downgrade() -> None:
    op.drop_table("variable_state")
    op.drop_table("variables")
