"""Every table of the server's own database. Changes go through a migration in `migrations/versions/`.

Conventions: ids are text (UUIDv7 where we make them), times are UTC and end in `_at`, JSON is text that we wrote.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from infraxys.server.db.types import UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    # As compared: NFKC, lower case. `display_name` keeps what was typed.
    Column("name", String(200), nullable=False, unique=True),
    Column("display_name", String(200), nullable=False),
    # "local", "service" (cannot sign in) or "oidc"
    Column("kind", String(16), nullable=False, server_default="local"),
    Column("is_administrator", Boolean, nullable=False, server_default="0"),
    # argon2id, in its own self-describing text form; null: cannot sign in with a password
    Column("password_hash", Text),
    Column("oidc_issuer", Text),
    Column("oidc_subject", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
    UniqueConstraint("oidc_issuer", "oidc_subject"),
)

tokens = Table(
    "tokens",
    metadata,
    # The public part of `ifx_<id>_<secret>_<crc>`; the look-up key.
    Column("id", String(22), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("description", Text),
    # HMAC-SHA-256 of the secret with the server's pepper
    Column("digest", LargeBinary(32), nullable=False),
    # JSON list of scopes; null: as wide as the owner
    Column("scopes", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("last_used_address", String(64)),
    # When the secret was exchanged last, and until when the one before it is good as well.
    Column("rotated_at", UtcDateTime),
    Column("previous_digest", LargeBinary(32)),
    Column("previous_until", UtcDateTime),
)

sessions = Table(
    "sessions",
    metadata,
    # The public part of the cookie `<id>.<secret>`; the look-up key.
    Column("id", String(22), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    # SHA-256 of the secret, which has 256 random bits
    Column("digest", LargeBinary(32), nullable=False),
    Column("address", String(64), nullable=False),
    Column("user_agent", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Kept to the minute.
    Column("seen_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

setup_links = Table(
    "setup_links",
    metadata,
    # SHA-256 of the secret in a link that makes the first administrator
    Column("digest", LargeBinary(32), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
)

openid_accounts = Table(
    "openid_accounts",
    metadata,
    # What the OpenID provider says about a person with an account of it.
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # JSON list of the groups it named, and when it did (seconds since 1970): what is older changes nothing
    Column("groups", Text, nullable=False),
    Column("groups_issued_at", Integer, nullable=False),
    # Access tokens issued up to then (seconds since 1970) are refused: the provider took the sign-in back.
    Column("refused_until", Integer),
)

openid_sessions = Table(
    "openid_sessions",
    metadata,
    Column("session_id", String(22), ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    # The provider's refresh token and ID token, encrypted under the key file openid.key
    Column("sealed", LargeBinary, nullable=False),
    Column("confirmed_at", UtcDateTime, nullable=False),
    Column("refresh_at", UtcDateTime, nullable=False, index=True),
)

openid_used_states = Table(
    "openid_used_states",
    metadata,
    # SHA-256 of the `state` of a sign-in that was answered: each is good for one answer.
    Column("digest", LargeBinary(32), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

projects = Table(
    "projects",
    metadata,
    # "root" for the one at the top, which is there from the beginning.
    Column("id", String(36), primary_key=True),
    Column("parent_id", String(36), ForeignKey("projects.id"), index=True),
    Column("name", String(100), nullable=False),
    # As compared: NFKC, lower case.
    Column("name_key", String(200), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # JSON: what its actions may use, in the names of the API; null for a project that says nothing.
    Column("limits", Text),
    Column("created_at", UtcDateTime, nullable=False),
    # Whether the projects below see its cache, read-only, and under which name; null: its id.
    Column("shares_cache", Boolean, nullable=False, server_default="0"),
    Column("cache_alias", String(100), unique=True, index=True),
    UniqueConstraint("parent_id", "name_key"),
)

project_environments = Table(
    "project_environments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(36), ForeignKey("projects.id"), nullable=False, index=True),
    # host/org/repo
    Column("module", String(500), nullable=False),
    Column("environment_id", String(200), nullable=False),
    # A branch's name, or with `is_prefix` what the names of all its branches begin with.
    Column("branch", String(500), nullable=False),
    Column("is_prefix", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("module", "environment_id", "branch", "is_prefix", name="uq_project_environments_branch"),
    Index("ix_project_environments_environment_id", "environment_id"),
)

project_containers = Table(
    "project_containers",
    metadata,
    # Containers of any environment that a project shares with all of its own, and those below it.
    Column("id", String(36), primary_key=True),
    Column("project_id", String(36), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("module", String(500), nullable=False),
    Column("branch", String(500), nullable=False),
    Column("environment_id", String(200), nullable=False),
    Column("container_id", String(200), nullable=False),
    Column("allow_overrides", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint(
        "project_id", "module", "branch", "environment_id", "container_id", name="uq_project_containers_container"
    ),
)

teams = Table(
    "teams",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(36), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("name_key", String(200), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # The one team of each project that may do everything there and below.
    Column("is_administrators", Boolean, nullable=False, server_default="0"),
    # Members of this group at the identity provider are members of the team.
    Column("external_group", String(500), index=True),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("project_id", "name_key"),
)

team_members = Table(
    "team_members",
    metadata,
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("team_id", String(36), ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True, index=True),
    # "manual", or "group" for what the identity provider said
    Column("source", String(16), primary_key=True),
)

custom_grants = Table(
    "custom_grants",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(36), ForeignKey("projects.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("name_key", String(200), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("project_id", "name_key"),
)

team_grants = Table(
    "team_grants",
    metadata,
    Column("team_id", String(36), ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    # Where it holds, and below: the team's own project or one below that.
    Column("project_id", String(36), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    # The name of a built-in grant or the id of a custom one.
    Column("grant", String(100), primary_key=True),
)

container_protections = Table(
    "container_protections",
    metadata,
    # Who wants to see the container or execute in it needs the grant, while its environment is in the grant's project.
    Column("id", String(36), primary_key=True),
    Column("grant_id", String(36), ForeignKey("custom_grants.id"), nullable=False),
    Column("module", String(500), nullable=False),
    Column("environment_id", String(200), nullable=False),
    Column("container_id", String(200), nullable=False),
    UniqueConstraint("grant_id", "module", "environment_id", "container_id", name="uq_container_protections_container"),
)

access_state = Table(
    "access_state",
    metadata,
    # One row. Every change of projects, teams and grants raises the version.
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
)

variables = Table(
    "variables",
    metadata,
    Column("id", String(36), primary_key=True),
    # "project", "environment" or "container", and which one; see infraxys.server.variables.levels
    Column("kind", String(16), nullable=False),
    Column("project_id", String(36), ForeignKey("projects.id", ondelete="CASCADE"), index=True),
    Column("module", String(500), nullable=False, server_default=""),
    Column("environment_id", String(200), nullable=False, server_default=""),
    Column("branch", String(500), nullable=False, server_default=""),
    Column("is_prefix", Boolean, nullable=False, server_default="0"),
    Column("container_id", String(200), nullable=False, server_default=""),
    # SHA-256 of all of these, in hex
    Column("level_key", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("type", String(200), nullable=False, server_default=""),
    Column("is_protected", Boolean, nullable=False),
    Column("allow_overrides", Boolean, nullable=False),
    Column("is_exported", Boolean, nullable=False),
    Column("is_file", Boolean, nullable=False),
    # The value, encrypted, and the id of the master key; or JSON that says in which store and where it is.
    Column("sealed", LargeBinary),
    Column("key_id", String(16), index=True),
    Column("reference", Text),
    # Raised with each new value.
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("updated_by", String(200)),
    UniqueConstraint("level_key", "name"),
)

variable_state = Table(
    "variable_state",
    metadata,
    # One row. Every change of variables raises the version.
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
)


modules = Table(
    "modules",
    metadata,
    Column("id", String(36), primary_key=True),
    # host/org/repo
    Column("name", String(500), nullable=False, unique=True),
    Column("url", Text, nullable=False),
    # registered by hand, or only because another module depends on it
    Column("is_dependency", Boolean, nullable=False, server_default="0"),
    # What the last fetch said when it failed; null after a good one.
    Column("problem", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("fetched_at", UtcDateTime),
)

module_branches = Table(
    "module_branches",
    metadata,
    Column("module_id", String(36), ForeignKey("modules.id", ondelete="CASCADE"), primary_key=True),
    Column("branch", String(500), primary_key=True),
    # The commit that is served: the last one that could be loaded.
    Column("head", String(64), nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("module", String(500), nullable=False),
    Column("branch", String(500), nullable=False),
    Column("commit", String(64), nullable=False),
    # JSON object: branch path -> commit, every module that had a part in the plan
    Column("commits", Text, nullable=False),
    Column("environment_id", String(200), nullable=False),
    # JSON list of {containerId, instanceId, filename}: what was asked for, enough to plan again
    Column("target", Text, nullable=False),
    Column("container_id", String(200)),
    Column("instance_id", String(200)),
    Column("filename", String(500)),
    Column("workflow_id", String(200)),
    Column("workflow_name", Text),
    # "token", "user", "schedule", "webhook" or "run"
    Column("trigger", String(16), nullable=False),
    Column("user_id", String(36)),
    Column("user_name", String(200)),
    Column("token_id", String(22)),
    # JSON list of the only grants that the token allowed; null: all of the starter's
    Column("scopes", Text),
    # The run whose action started this one
    Column("parent_run_id", String(36)),
    # The run that this one repeats
    Column("rerun_of", String(36)),
    # Whether a person is there to answer what the actions ask
    Column("is_interactive", Boolean, nullable=False, server_default="0"),
    # The JSON text of the argument, byte for byte as it came.
    Column("argument", LargeBinary, nullable=False),
    Column("argument_digest", String(80), nullable=False),
    Column("timeout_seconds", Float),
    Column("action_response", Text),
    Column("errors", Text),
    Column("log_entries", Text),
    Column("executor_id", String(100)),
    Column("cancel_requested_at", UtcDateTime),
    Column("log_bytes", Integer),
    Column("log_sha256", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Index("ix_runs_status", "status"),
    Index("ix_runs_environment_id", "environment_id"),
    Index("ix_runs_instance_id", "instance_id"),
    Index("ix_runs_workflow_id", "workflow_id"),
    Index("ix_runs_created_at", "created_at"),
)

run_steps = Table(
    "run_steps",
    metadata,
    Column("run_id", String(36), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("exit_code", Integer),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("container_id", String(200), nullable=False),
    Column("instance_id", String(200), nullable=False),
    Column("filename", String(500), nullable=False),
    Column("runner", String(200)),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
)

run_dialogs = Table(
    "run_dialogs",
    metadata,
    # Ids sort by time.
    Column("id", String(36), primary_key=True),
    Column("run_id", String(36), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    # The step that asked
    Column("position", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("message", Text, nullable=False),
    # The message is HTML of the action: not to be trusted.
    Column("is_html", Boolean, nullable=False),
    # JSON object: what a browser needs to show it; and what the action changed since, by object
    Column("definition", Text, nullable=False),
    Column("updates", Text, nullable=False),
    # "open", "answered", "abandoned", "closed" or "shown"
    Column("state", String(16), nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime),
    Column("answered_by", String(36)),
    Column("answered_by_name", String(200)),
    # JSON object: the button or a count, never a text that was typed
    Column("answer", Text),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    # Who asked: "user:<id>" or "local"; a key belongs to its caller.
    Column("caller", String(100), primary_key=True),
    Column("key", String(255), primary_key=True),
    # SHA-256 over method, path, query and body
    Column("fingerprint", String(64), nullable=False),
    Column("run_id", String(36), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)

executors = Table(
    "executors",
    metadata,
    # One row per start of a process that executes runs; deleted when it stops well.
    Column("id", String(100), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("beat_at", UtcDateTime, nullable=False),
)

audit_records = Table(
    "audit_records",
    metadata,
    # Without gaps from 1. Triggers keep rows from being changed and deleted; see infraxys.server.audit.trail.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    # noun.verb
    Column("action", String(64), nullable=False),
    # noun/id
    Column("target", String(300), nullable=False),
    # "ok", "failed" or "refused"
    Column("result", String(16), nullable=False),
    Column("user_id", String(36)),
    Column("user_name", String(300)),
    Column("token_id", String(22)),
    Column("session_id", String(22)),
    # The run whose action called.
    Column("run_id", String(36)),
    Column("address", String(64), nullable=False),
    Column("request_id", String(128)),
    # JSON object, small
    Column("details", Text, nullable=False),
    # SHA-256, hexadecimal, of this record and of the hash before it
    Column("hash", String(64), nullable=False),
    Index("ix_audit_records_action", "action", "sequence"),
    Index("ix_audit_records_target", "target", "sequence"),
    Index("ix_audit_records_user_id", "user_id", "sequence"),
    Index("ix_audit_records_user_name", "user_name", "sequence"),
)
