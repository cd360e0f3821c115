import socket

import pytest

from infraxys.resources.errors import InvalidUrl
from infraxys.resources.mirror import escape
from infraxys.resources.url import GitUrl
from infraxys.spec.identity import ModuleId


@pytest.mark.parametrize(
    ("text", "scheme", "module"),
    [
        ("https://github.com/org/repo", "https", "github.com/org/repo"),
        ("https://github.com/org/repo.git", "https", "github.com/org/repo"),
        ("https://github.com/org/repo.git/", "https", "github.com/org/repo"),
        ("  https://GitHub.com/Org/Repo\n", "https", "github.com/Org/Repo"),
        ("https://host:8443/a/b/c/repo", "https", "host:8443/a/b/c/repo"),
        ("https://[::1]:8443/org/repo", "https", "[::1]:8443/org/repo"),
        ("https://github.com/org/.github", "https", "github.com/org/.github"),
        ("https://git.sr.ht/~user/repo", "https", "git.sr.ht/~user/repo"),
        ("http://host/org/repo", "http", "host/org/repo"),
        ("git@host:org/repo.git", "ssh", "host/org/repo"),
        ("host:org/sub/repo", "ssh", "host/org/sub/repo"),
        ("ssh://git@host:2222/org/repo.git", "ssh", "host:2222/org/repo"),
        ("ssh://host/org/repo", "ssh", "host/org/repo"),
        ("file:///srv/git/org/repo.git", "file", "localhost/org/repo"),
        ("file://localhost/srv/org/repo", "file", "localhost/org/repo"),
        ("/srv/git/org/my repo", "file", "localhost/org/my repo"),
        ("/srv/müller/repo", "file", "localhost/müller/repo"),
        ("/repo", "file", "localhost/files/repo"),
    ],
)
def test_a_url_names_its_module(text: str, scheme: str, module: str) -> None:
    url = GitUrl.parse(text)
    assert (url.scheme, str(url.module)) == (scheme, module)


def test_a_path_is_given_to_git_as_a_file_url() -> None:
    assert GitUrl.parse("/srv/git/repo/").text == "file:///srv/git/repo"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "--upload-pack=touch /tmp/p",
        "-oProxyCommand=sh",
        "-u",
        "ext::sh -c 'touch /tmp/p'",
        "ext::https://host/a/b",
        "fd::17",
        "::https://host/a/b",
        "ssh://-oProxyCommand=touch/a/b",
        "ssh://git@-oProxyCommand=touch/a/b",
        "ssh://-x@host/a/b",
        "-oProxyCommand=x@host:a/b",
        "git@-host:a/b",
        "https://-host/a/b",
        "https://host/-a/b",
        "https://host/a/--b",
        "git@host:-a/b",
        "https://host/a",
        "https://host/",
        "https:///a/b",
        "https://host/a/b?x=1",
        "https://host/a/b#c",
        "https://host/a/..",
        "https://host/a/../b",
        "https://host/a/./b",
        "https://host/a/%2e%2e/b",
        "https://host/a/b%00",
        "https://host/a/.git",
        "https://ho st/a/b",
        "https://host\\@evil/a/b",
        "https://host:99999999/a/b",
        "https://host:0/a/b",
        "https://host:x/a/b",
        "https://[::1/a/b",
        "https://[fe80::1%25eth0]/a/b",
        "https://ho..st/a/b",
        "https://host/a\n/b",
        "https://host/a/b\x00",
        "https://host/a/b\x1b[31m",
        "https://host/a\u202e/b",
        "https://host/" + "a" * 201 + "/b",
        "https://host/" + "a/" * 1000 + "b",
        "gopher://host/a/b",
        "ftp://host/a/b",
        "javascript://host/a/b",
        "C:\\repo",
        "file://host/a/b",
        "file:///",
        "file:///srv/../etc/x",
        "file:///srv/%2e%2e/x",
        "relative/path",
        "../up",
    ],
)
def test_what_is_no_plain_repository_is_refused(text: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        GitUrl.parse(text)
    assert caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    "text",
    [
        "https://user:c4n4ry@host/a/b",
        "https://c4n4ry@host/a/b",
        "https://:c4n4ry@host/a/b",
        "http://c4n4ry:@host/a/b",
        "ssh://git:c4n4ry@host/a/b",
        "user:c4n4ry@host:a/b",
        "c4n4ry@host/a/b",
        "https://host/a/b?token=c4n4ry",
        "https://user:c4n4ry@[/a/b",
    ],
)
def test_credentials_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        GitUrl.parse(text)
    assert "c4n4ry" not in str(caught.value)


def test_only_allowed_schemes_are_accepted() -> None:
    assert GitUrl.parse("git@host:a/b", ("https", "ssh")).scheme == "ssh"
    for text in ("http://host/a/b", "file:///srv/a", "/srv/a"):
        with pytest.raises(InvalidUrl, match="not accepted here; allowed are: https, ssh"):
            GitUrl.parse(text, ("https", "ssh"))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "[ff02::1]",
    ],
)
@pytest.mark.parametrize("form", ["http://{}/a/b", "https://{}:8443/a/b", "ssh://git@{}/a/b"])
def test_metadata_addresses_are_refused_in_every_spelling(host: str, form: str) -> None:
    url = GitUrl.parse(form.format(host))
    with pytest.raises(InvalidUrl, match="address that no repository can have"):
        url.check_address()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "[::1]",
             "[fd12::1]", "[::ffff:10.0.0.1]", "100.64.0.1"],
)  # fmt: skip
def test_private_addresses_are_refused_when_they_are_not_allowed(host: str) -> None:
    url = GitUrl.parse(f"https://{host}/a/b")
    url.check_address()
    with pytest.raises(InvalidUrl, match="git_private_hosts"):
        url.check_address(allow_private=False)


def _resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        assert host == "git.example.org"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_checked_addresses_are_those_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_to(monkeypatch, "93.184.216.34", "2606:2800::1")
    pin = GitUrl.parse("https://git.example.org/a/b").check_address(allow_private=False)
    assert pin == "git.example.org:443:93.184.216.34,[2606:2800::1]"
    assert GitUrl.parse("http://git.example.org:81/a/b").check_address().startswith("git.example.org:81:93.")
    assert GitUrl.parse("git@git.example.org:a/b").check_address() == ""


def test_one_bad_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_to(monkeypatch, "93.184.216.34", "169.254.169.254")
    with pytest.raises(InvalidUrl):
        GitUrl.parse("https://git.example.org/a/b").check_address()


def test_a_name_that_is_not_known_is_left_to_git(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert GitUrl.parse("https://mirrored.example.org/a/b").check_address() == ""


HOSTILE_PARTS = ["..", ".", "", "...", "a/b", "a%2Fb", "%2E%2E", "..%2F", "A", "a", "-rf", "a b", "a\n", "\x00",
                 "\u00e9", "e\u0301", "CON", "~", "a" * 300, "a" * 299 + "b", "%", ".git", ".removed-1"]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE_PARTS)
def test_every_part_becomes_one_harmless_directory_name(part: str) -> None:
    name = escape(part)
    assert name not in {"", ".", ".."}
    assert len(name) <= 240
    assert not set("/\x00\n") & set(name)
    assert not name.startswith(".")
    assert ".." not in name


def test_distinct_parts_stay_distinct() -> None:
    parts = set(HOSTILE_PARTS)
    assert len({escape(part) for part in parts}) == len(parts)


def test_the_usual_names_stay_readable() -> None:
    module = ModuleId("github.com", "infraxys-modules", "aws_core.v2")
    assert [escape(part) for part in (module.host, module.org, module.repo)] == [module.host, module.org, module.repo]
