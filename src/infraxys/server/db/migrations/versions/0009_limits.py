"""What the actions of a project may use."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("limits", sa.Text))


def downgrade() -> None:
    op.drop_column("projects", "limits")
