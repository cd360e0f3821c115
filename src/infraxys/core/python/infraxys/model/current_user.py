"""Who started the run."""

from __future__ import annotations

from .. import places
from ..json.json_utils import JsonUtils
from ..logger import Logger


class CurrentUser:
    """Their name, and what they may do where the environment is."""

    def __init__(self) -> None:
        self.logger = Logger.get_logger(type(self).__name__)
        self.load_json_file()

    def load_json_file(self) -> None:
        """Read what the server says."""
        self.json_object = JsonUtils.get_instance().load_from_file(places.system("current_user.json"))
        self.username: str = self.json_object["username"]
        self.full_name: str = self.json_object["full_name"]
        self._grants: list[str] = self.json_object["grants"]
        self._teams: list[str] = self.json_object["teams"]
        self._projects: list[str] = self.json_object["projects"]

    def has_grant(self, grant: str) -> bool:
        """Whether they have a grant, by its name or id."""
        return bool(grant) and (grant in self._grants or "*" in self._grants)

    def has_team(self, team: str) -> bool:
        """Whether they are in a team."""
        return team in self._teams

    def get_projects(self) -> list[str]:
        """Give the names of the projects that they may know of."""
        return self._projects
