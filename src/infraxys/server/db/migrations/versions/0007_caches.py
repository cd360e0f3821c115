"""Projects can show their cache to those below."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("shares_cache", sa.Boolean(), nullable=False, server_default="0"))
    op.add_column("projects", sa.Column("cache_alias", sa.String(100), nullable=True))
    op.create_index(op.f("ix_projects_cache_alias"), "projects", ["cache_alias"], unique=True)


def downgrade() -> None:
    op.drop_index(op.f("ix_projects_cache_alias"), table_name="projects")
    op.drop_column("projects", "cache_alias")
    op.drop_column("projects", "shares_cache")
