import threading

import pytest

from infraxys.resources.export import is_safe_path, stays_inside
from infraxys.resources.git import explain, git_environment
from infraxys.resources.keyed_lock import KeyedLock
from infraxys.resources.mirror import is_branch_name, is_commit_id


@pytest.mark.parametrize(
    "name", ["master", "feature/x", "a.b", "ü", "release-1.0", "x" * 240, "a@b", "HEAD2", "a/HEAD"]
)
def test_names_that_git_accepts_are_branch_names(name: str) -> None:
    assert is_branch_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "-x", "--upload-pack=touch /tmp/p", "-c core.sshCommand=x", "../x", "a/../b", "refs/heads/a..b", "a b", "a\tb",
     "a\r\nb", "a\x00b", "a\x7f", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", ".a", "a/.b", "a.",
     "a.lock", "a.lock/b", "@", "a@{1}", "HEAD", "\udcff", "x" * 241, "/".join(["x" * 200] * 6)],
)  # fmt: skip
def test_names_that_git_refuses_are_none(name: str) -> None:
    assert not is_branch_name(name)


@pytest.mark.parametrize("text", ["", "HEAD", "a" * 39, "a" * 41, "A" * 40, "../../etc", "a" * 40 + "\n", "g" * 40])
def test_only_whole_commit_ids_are_commits(text: str) -> None:
    assert not is_commit_id(text)
    assert is_commit_id("0123456789" * 4)


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../b", "/etc/passwd", "a//b", "", ".", ".git", "a/.GIT/config", ".git /x", ".git.", "a\\b", "a\nb",
     "a\x00", "x" * 256, "/".join(["x" * 200] * 11), "a\u202eb"],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_unsafe(path: str) -> None:
    assert not is_safe_path(path)


@pytest.mark.parametrize("path", ["a", "a b/c", "-rf", ".gitignore", ".github/x", "ü", "a$(id)", "..a", "a.."])
def test_odd_but_harmless_paths_are_safe(path: str) -> None:
    assert is_safe_path(path)


@pytest.mark.parametrize(
    ("link", "target", "inside"),
    [
        ("a", "b", True),
        ("x/a", "../b", True),
        ("x/y/a", "../../b/./c", True),
        ("a", "../b", False),
        ("x/a", "../../b", False),
        ("x/a", "y/../../../b", False),
        ("a", "/etc/passwd", False),
        ("a", "", False),
        ("a", "b\x00", False),
        ("a", "b/" * 3000, False),
    ],
)
def test_a_link_is_judged_by_where_its_text_leads(link: str, target: str, inside: bool) -> None:  # noqa: FBT001 - a column
    assert stays_inside(link, target) is inside


def test_git_gets_no_more_of_the_environment_than_it_needs() -> None:
    given = {
        "PATH": "/bin", "HOME": "/h", "GIT_CONFIG_GLOBAL": "/g", "SSH_AUTH_SOCK": "/s", "https_proxy": "p",
        "GIT_DIR": "/evil", "GIT_EXTERNAL_DIFF": "evil", "LD_PRELOAD": "evil", "INFRAXYS_KEY": "c4n4ry",
        "GIT_CONFIG_COUNT": "1", "GIT_ASKPASS": "/ask", "GIT_TERMINAL_PROMPT": "1", "GIT_PROXY_COMMAND": "evil",
    }  # fmt: skip
    passed = git_environment(given)
    assert {name: passed[name] for name in ("PATH", "HOME", "GIT_CONFIG_GLOBAL", "SSH_AUTH_SOCK", "https_proxy")} == {
        "PATH": "/bin", "HOME": "/h", "GIT_CONFIG_GLOBAL": "/g", "SSH_AUTH_SOCK": "/s", "https_proxy": "p",
    }  # fmt: skip
    assert passed["GIT_TERMINAL_PROMPT"] == "0"
    assert passed["GIT_ASKPASS"] == "/bin/false"
    assert not {"evil", "/evil", "c4n4ry", "/ask"} & set(passed.values())


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "authentication_required"),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            "authentication_required",
        ),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", "authentication_required"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "unknown_host_key"),
        (
            "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
            "untrusted_certificate",
        ),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 302", "redirected"),
        ("fatal: couldn't find remote ref refs/heads/x", "unknown_branch"),
        ("fatal: repository 'https://h/a/b/' not found", "unknown_repository"),
        ("fatal: '/x' does not appear to be a git repository", "unknown_repository"),
        ("fatal: unable to access 'https://h/': Could not resolve host: h", "unreachable"),
        ("fatal: unable to access 'https://h/': Failed to connect to h port 443", "unreachable"),
        ("fatal: the remote end hung up unexpectedly", "unreachable"),
        ("fatal: write error: No space left on device", "disk_full"),
        ("fatal: detected dubious ownership in repository at '/x'", "foreign_owner"),
        ("error: cannot run ssh: No such file or directory\nfatal: unable to fork", "no_ssh"),
        ("", "git_failed"),
    ],
)
def test_what_git_says_becomes_a_code(said: str, code: str) -> None:
    assert explain("module h/a/b", said).code == code


def test_what_git_says_is_shown_without_addresses_paths_and_control_characters() -> None:
    said = "noise\nfatal: odd \x1b[31m thing at 'https://u:c4n4ry@h/x' in /srv/data/c4n4ry and u:c4n4ry@h"
    message = str(explain("module h/a/b", said))
    assert message.startswith("module h/a/b: Git said: fatal: odd ?[31m thing")
    assert "c4n4ry" not in message


def test_one_thread_at_a_time_holds_a_key_and_nothing_is_kept() -> None:
    locks = KeyedLock()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with locks.hold("key"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    with locks.hold("other"):
        pass
    for thread in threads:
        thread.join()
    assert most == 1
    assert not locks._locks


def test_a_key_is_free_again_after_an_error() -> None:
    locks = KeyedLock()
    with pytest.raises(ZeroDivisionError), locks.hold("key"):
        raise ZeroDivisionError
    with locks.hold("key"):
        assert list(locks._locks) == ["key"]
    assert not locks._locks
