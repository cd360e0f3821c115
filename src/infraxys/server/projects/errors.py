"""What is refused about projects, teams and grants."""

from infraxys.server.auth.grants import ADMINISTER
from infraxys.server.errors import Conflict, Forbidden, NotFound, Unprocessable


class UnknownProject(NotFound):
    """There is no such project, or none that the caller may know of."""

    code = "unknown_project"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"there is no project '{project_id[:100]}'")


class UnknownTeam(NotFound):
    """There is no such team, or none that the caller may know of."""

    code = "unknown_team"

    def __init__(self, team_id: str) -> None:
        super().__init__(f"there is no team '{team_id[:100]}'")


class UnknownGrant(NotFound):
    """There is no such grant, or none that the caller may know of."""

    code = "unknown_grant"

    def __init__(self, grant: str) -> None:
        super().__init__(f"there is no grant '{grant[:100]}'")


class UnknownMember(NotFound):
    """There is no such account, or it is not in the team."""

    code = "unknown_member"

    def __init__(self, user: str, where: str) -> None:
        super().__init__(f"there is no account '{user[:100]}'{where}")


class UnknownEntry(NotFound):
    """A project or a grant has no such entry."""

    code = "unknown_entry"

    def __init__(self, what: str, entry_id: str) -> None:
        super().__init__(f"there is no {what} '{entry_id[:100]}' here")


class NameTaken(Conflict):
    """Something beside it has the name."""

    code = "name_taken"


class ProjectNotEmpty(Conflict):
    """The project still has something in it."""

    code = "project_not_empty"


class NotPossibleHere(Conflict):
    """The root project and the administrators teams are there for good."""

    code = "not_possible"


class TooMany(Conflict):
    """There are as many as there can be."""

    code = "too_many"


class GrantInUse(Conflict):
    """The grant protects something."""

    code = "grant_in_use"


class BadGrant(Unprocessable):
    """The grant cannot be given there."""

    code = "grant_not_possible"


class OnlyAdministrators(Forbidden):
    """Only administrators of the project that loses something may decide it."""

    def __init__(self, what: str) -> None:
        super().__init__(ADMINISTER)
        self.detail = f"{what} needs the grant '{ADMINISTER}' on the project that it leaves"
