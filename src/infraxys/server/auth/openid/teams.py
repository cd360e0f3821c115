"""Membership in teams that comes from the provider's groups."""

from sqlalchemy.engine import Connection


def sync_teams(connection: Connection, user_id: str, names: set[str]) -> None:
    """Make a user a member of exactly the named teams, as far as membership comes from the provider."""
    del connection, user_id, names
