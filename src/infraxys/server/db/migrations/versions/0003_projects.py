"""Projects, teams and grants."""

import sqlalchemy as sa
from alembic import op

from infraxys.kit.clock import utc_now
from infraxys.server.db.types import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    access_state = op.create_table(
        "access_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_state")),
    )
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("name_key", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["projects.id"], name=op.f("fk_projects_parent_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("parent_id", "name_key", name=op.f("uq_projects_parent_id_name_key")),
    )
    op.create_index("ix_projects_parent_id", "projects", ["parent_id"])
    op.create_table(
        "custom_grants",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("name_key", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_custom_grants_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_custom_grants")),
        sa.UniqueConstraint("project_id", "name_key", name=op.f("uq_custom_grants_project_id_name_key")),
    )
    op.create_table(
        "project_containers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("module", sa.String(length=500), nullable=False),
        sa.Column("branch", sa.String(length=500), nullable=False),
        sa.Column("environment_id", sa.String(length=200), nullable=False),
        sa.Column("container_id", sa.String(length=200), nullable=False),
        sa.Column("allow_overrides", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_project_containers_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_containers")),
        sa.UniqueConstraint(
            "project_id", "module", "branch", "environment_id", "container_id", name="uq_project_containers_container"
        ),
    )
    op.create_table(
        "project_environments",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("module", sa.String(length=500), nullable=False),
        sa.Column("environment_id", sa.String(length=200), nullable=False),
        sa.Column("branch", sa.String(length=500), nullable=False),
        sa.Column("is_prefix", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_project_environments_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_environments")),
        sa.UniqueConstraint("module", "environment_id", "branch", "is_prefix", name="uq_project_environments_branch"),
    )
    op.create_index("ix_project_environments_environment_id", "project_environments", ["environment_id"])
    op.create_index("ix_project_environments_project_id", "project_environments", ["project_id"])
    teams = op.create_table(
        "teams",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("name_key", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("is_administrators", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("external_group", sa.String(length=500), nullable=True),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_teams_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("project_id", "name_key", name=op.f("uq_teams_project_id_name_key")),
    )
    op.create_index("ix_teams_external_group", "teams", ["external_group"])
    op.create_table(
        "container_protections",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("grant_id", sa.String(length=36), nullable=False),
        sa.Column("module", sa.String(length=500), nullable=False),
        sa.Column("environment_id", sa.String(length=200), nullable=False),
        sa.Column("container_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["custom_grants.id"], name=op.f("fk_container_protections_grant_id_custom_grants")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_container_protections")),
        sa.UniqueConstraint(
            "grant_id", "module", "environment_id", "container_id", name="uq_container_protections_container"
        ),
    )
    op.create_table(
        "team_grants",
        sa.Column("team_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("grant", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_team_grants_project_id_projects"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_team_grants_team_id_teams"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "grant", name=op.f("pk_team_grants")),
    )
    op.create_table(
        "team_members",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("team_id", sa.String(length=36), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_team_members_team_id_teams"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_team_members_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "team_id", "source", name=op.f("pk_team_members")),
    )
    op.create_index("ix_team_members_team_id", "team_members", ["team_id"])
    op.add_column("runs", sa.Column("scopes", sa.Text(), nullable=True))
    now = utc_now()
    op.bulk_insert(access_state, [{"id": 1, "version": 1}])
    op.bulk_insert(projects, [{"id": "root", "name": "Root", "name_key": "root", "created_at": now}])
    administrators = {
        "id": "root-administrators",
        "project_id": "root",
        "name": "administrators",
        "name_key": "administrators",
        "is_administrators": True,
        "created_at": now,
    }
    op.bulk_insert(teams, [administrators])


def downgrade() -> None:
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("scopes")
    op.drop_table("team_members")
    op.drop_table("team_grants")
    op.drop_table("container_protections")
    op.drop_table("teams")
    op.drop_table("project_environments")
    op.drop_table("project_containers")
    op.drop_table("custom_grants")
    op.drop_table("projects")
    op.drop_table("access_state")
