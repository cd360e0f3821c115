"""Sign-in with an OpenID provider."""

import sqlalchemy as sa
from alembic import op

import infraxys.server.db.types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "openid_accounts",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("groups_issued_at", sa.Integer(), nullable=False),
        sa.Column("refused_until", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_openid_accounts_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_openid_accounts")),
    )
    op.create_table(
        "openid_sessions",
        sa.Column("session_id", sa.String(length=22), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("confirmed_at", infraxys.server.db.types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("refresh_at", infraxys.server.db.types.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_openid_sessions_session_id_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_openid_sessions")),
    )
    op.create_index(op.f("ix_openid_sessions_refresh_at"), "openid_sessions", ["refresh_at"])
    op.create_table(
        "openid_used_states",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", infraxys.server.db.types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_openid_used_states")),
    )
    op.create_index(op.f("ix_openid_used_states_expires_at"), "openid_used_states", ["expires_at"])


def downgrade() -> None:
    raise NotImplementedError("going back is not supported: restore a backup")
