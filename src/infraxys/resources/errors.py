"""What can go wrong with a repository, for the person who registered it."""


class ResourceError(Exception):
    """Base. `code` is stable; the message names the repository or branch and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidUrl(ResourceError):  # noqa: N818 - reads as what is wrong
    """The text is no repository URL that this server accepts."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_url", message)


class GitFailed(ResourceError):  # noqa: N818 - see above
    """A network command of Git failed.

    Codes: unreachable, authentication_required, untrusted_certificate, unknown_host_key, redirected,
    unknown_repository, other_repository, unknown_branch, no_branches, unknown_commit, foreign_owner, too_large,
    disk_full, busy, timeout, git_failed.
    """


class TooLarge(ResourceError):  # noqa: N818 - see above
    """A repository is larger than the limits of this server."""

    def __init__(self, message: str) -> None:
        super().__init__("too_large", message)
