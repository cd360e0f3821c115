"""What is refused about caches."""

from infraxys.server.errors import Conflict, NotFound


class UnknownCache(NotFound):
    """There is no such cache, or none that the caller may know of."""

    code = "unknown_cache"

    def __init__(self, cache_id: str) -> None:
        super().__init__(f"there is no cache '{cache_id[:100]}'")


class UnknownCacheFile(NotFound):
    """There is no such file in the cache, or something that is no plain file."""

    code = "unknown_file"

    def __init__(self, path: str) -> None:
        super().__init__(f"the cache has no file or folder '{path[:300]}'; links and special files are not given out")


class NotPossibleThere(Conflict):
    """Something else is in the way."""

    code = "not_a_file"


class FileExists(Conflict):
    """There is a file of that name, which was not to be replaced."""

    code = "file_exists"


class OverQuota(Conflict):
    """The cache is full."""

    code = "cache_over_quota"
