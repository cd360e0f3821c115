"""People, teams and grants in a server's database, made directly: tests of permissions need many."""

from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth import tokens, users
from infraxys.server.auth.access import lock
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import (
    container_protections,
    custom_grants,
    project_environments,
    projects,
    team_grants,
    team_members,
    teams,
)

MODULE = "localhost/tests/library"


class AccessFactory:
    """Makes what permissions are made of. `key` is that of the server's tokens, where there is a server."""

    def __init__(self, database: Database, key: TokenKey | None = None) -> None:
        self.database, self.key = database, key

    @classmethod
    def of_server(cls, data: Path) -> "AccessFactory":
        """Work on the data folder of a running server."""
        return cls(Database(f"sqlite:///{data / 'db' / 'infraxys.db'}"), TokenKey(data / "keys" / "tokens.key"))

    def project(self, parent: str = "root", name: str | None = None) -> str:
        """Make a project with its administrators team; gives its id."""
        project_id = new_id()
        name = name or project_id

        def write(connection: Connection) -> None:
            lock(connection)
            now = utc_now()
            connection.execute(
                projects.insert().values(id=project_id, parent_id=parent, name=name, name_key=name, created_at=now)
            )
            connection.execute(
                teams.insert().values(
                    id=new_id(),
                    project_id=project_id,
                    name="administrators",
                    name_key="administrators",
                    is_administrators=True,
                    created_at=now,
                )
            )

        self.database.write_now(write)
        return project_id

    def team(self, project_id: str, grants: Iterable[str] = (), on: str | None = None) -> str:
        """Make a team that was given grants on its project, or on another; gives its id."""
        team_id = new_id()
        rows = [{"team_id": team_id, "project_id": on or project_id, "grant": grant} for grant in grants]

        def write(connection: Connection) -> None:
            lock(connection)
            connection.execute(
                teams.insert().values(
                    id=team_id, project_id=project_id, name=team_id, name_key=team_id, created_at=utc_now()
                )
            )
            if rows:
                connection.execute(team_grants.insert(), rows)

        self.database.write_now(write)
        return team_id

    def administrators_of(self, project_id: str) -> str:
        """Give the id of a project's administrators team."""
        query = sa.select(teams.c.id).where(teams.c.project_id == project_id, teams.c.is_administrators)
        found: str = self.database.read_now(lambda connection: connection.execute(query).scalar_one())
        return found

    def user(self, *team_ids: str, is_administrator: bool = False) -> str:
        """Make an account that is in teams; gives its id."""

        def write(connection: Connection) -> str:
            user_id = users.create_user(connection, f"user-{new_id()}", is_administrator=is_administrator)
            for team_id in team_ids:
                connection.execute(team_members.insert().values(user_id=user_id, team_id=team_id, source="manual"))
            return user_id

        return self.database.write_now(write)

    def token(self, user_id: str, scopes: list[str] | None = None) -> str:
        """Make a token; gives its text."""
        key = self.key
        assert key is not None
        return self.database.write_now(
            lambda connection: tokens.create_token(connection, key, user_id, "test", scopes=scopes).text
        )

    def custom(self, project_id: str, name: str | None = None) -> str:
        """Make a custom grant; gives its id."""
        grant_id = new_id()
        name = name or f"grant {grant_id[-12:]}"

        def write(connection: Connection) -> None:
            lock(connection)
            values = {"id": grant_id, "project_id": project_id, "name": name, "name_key": name.casefold()}
            connection.execute(custom_grants.insert().values(**values, created_at=utc_now()))

        self.database.write_now(write)
        return grant_id

    def attach(self, project_id: str, environment_id: str, branch: str = "*", module: str = MODULE) -> str:
        """Attach an environment, in place of an attachment for the same branches; gives the attachment's id."""
        entry_id, is_prefix = new_id(), branch.endswith("*")
        where = {
            "module": module,
            "environment_id": environment_id,
            "branch": branch.removesuffix("*"),
            "is_prefix": is_prefix,
        }

        def write(connection: Connection) -> None:
            lock(connection)
            connection.execute(project_environments.delete().filter_by(**where))
            values = {"id": entry_id, "project_id": project_id, **where}
            connection.execute(project_environments.insert().values(**values, created_at=utc_now()))

        self.database.write_now(write)
        return entry_id

    def protect(self, grant_id: str, environment_id: str, container_id: str) -> str:
        """Protect a container by a custom grant; gives the protection's id."""
        entry_id = new_id()
        values = {
            "id": entry_id,
            "grant_id": grant_id,
            "module": MODULE,
            "environment_id": environment_id,
            "container_id": container_id,
        }

        def write(connection: Connection) -> None:
            lock(connection)
            connection.execute(container_protections.insert().values(values))

        self.database.write_now(write)
        return entry_id

    def leave(self, user_id: str, team_id: str) -> None:
        """Take somebody out of a team."""
        self.database.write_now(
            lambda connection: connection.execute(team_members.delete().filter_by(user_id=user_id, team_id=team_id))
        )
