"""Paths of the API and how their segments are read. Importing it makes the convertors known to the router."""

import urllib.parse

from starlette.convertors import Convertor, register_url_convertor

API = "/api/v1"


class SegmentConvertor(Convertor[str]):
    """One path segment: decoded after routing, so that `feature%2Fx` is one segment."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Decode; the path was checked before."""
        return urllib.parse.unquote(value)

    def to_string(self, value: str) -> str:
        """Encode, slashes included."""
        return urllib.parse.quote(value, safe="")


class BranchConvertor(SegmentConvertor):
    """A branch: one segment as it should be, or several where somebody pasted `feature/x` as it is."""

    regex = ".+"


class RestConvertor(Convertor[str]):
    """The rest of a path, still encoded: who takes it splits it first. See `infraxys.kit.trees.split`."""

    regex = ".*"

    def convert(self, value: str) -> str:
        """Leave it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Leave it as it is."""
        return value


register_url_convertor("rest", RestConvertor())
register_url_convertor("segment", SegmentConvertor())
register_url_convertor("branch", BranchConvertor())
