"""Names from files become file names, directories and shell variables only when they are safe there."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infraxys.spec import names

# Everything that a file can hold: JSON has no lone surrogates and ids no control characters.
text = st.text(st.characters(codec="utf-8"), max_size=60)
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
harmless = re.compile(r"[A-Za-z0-9_@,=%+~.-]+\Z")


@pytest.mark.parametrize(
    "name", ["aws_region", "A", "_x", "instance_label", "x1", "http_proxy", "PATHS", "LDAP", "GITHUB"]
)
def test_plain_identifiers_are_exported(name: str) -> None:
    assert names.is_exportable(name)


@pytest.mark.parametrize(
    "name",
    ["", "PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "ENV", "IFS", "PS4", "PROMPT_COMMAND", "SHELLOPTS",
     "PYTHONPATH", "GIT_SSH_COMMAND", "TMOUT", "BASH_FUNC_x%%", "a;rm -rf", "a-b", "a b", "1a", "a\n", "ä", "a=b",
     "a$(id)", "a\0", "x" * 201, "__infraxys_root"],
)  # fmt: skip
def test_names_that_steer_the_shell_or_are_none_are_not_exported(name: str) -> None:
    assert not names.is_exportable(name)


@pytest.mark.parametrize("name", ["run.sh", "a b.tf", ".gitignore", "ü", "a..b", "x" * 200])
def test_plain_names_are_file_names(name: str) -> None:
    assert names.is_safe_file_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "-rf", "a\nb", "a\0", "a\x1b[31m", "a\u202eb", "x" * 201,
     "ü" * 101, "a\x7f", "\ud800"],
)  # fmt: skip
def test_paths_options_and_hidden_characters_are_no_file_names(name: str) -> None:
    assert not names.is_safe_file_name(name)


def test_directories_are_named_as_the_original_names_them() -> None:
    assert names.environment_directory("atoz-ec2-instances", "12") == "atoz-ec2-instances_12"
    assert names.container_directory("Execute over SSH") == "Execute+over+SSH"
    assert names.instance_directory("Execute over ssh", "26c5581c-ec7c") == "Execute_over_ssh_26c5581c-ec7c"


@pytest.mark.parametrize("directory", ["Execute over SSH", "Execute+over+SSH"])
def test_both_spellings_of_a_container_directory_mean_the_same(directory: str) -> None:
    assert names.container_name(directory) == "Execute over SSH"


@pytest.mark.parametrize("name", ["environment.auto", "container.auto"])
def test_a_container_cannot_take_the_directory_of_generated_files(name: str) -> None:
    assert names.container_directory(name) != name


@given(text, ids)
def test_directory_names_are_safe_whatever_the_names_are(name: str, unique: str) -> None:
    for directory in (
        names.environment_directory(name, unique),
        names.container_directory(name),
        names.instance_directory(name, unique),
    ):
        assert harmless.match(directory)
        assert not directory.startswith((".", "-", "~"))
        assert len(directory) <= names.MAX_NAME
        assert names.is_safe_file_name(directory)


@given(text, text)
def test_distinct_containers_have_distinct_directories(one: str, other: str) -> None:
    assert (names.container_directory(one) == names.container_directory(other)) == (one == other)


@given(text, ids, text, ids)
def test_distinct_ids_have_distinct_directories(one: str, one_id: str, other: str, other_id: str) -> None:
    if one_id != other_id:
        assert names.instance_directory(one, one_id) != names.instance_directory(other, other_id)
        assert names.environment_directory(one, one_id) != names.environment_directory(other, other_id)


def test_names_that_look_like_two_parts_stay_apart() -> None:
    assert names.instance_directory("a", "b_c") != names.instance_directory("a_b", "c")
    assert names.container_directory("a%2B") != names.container_directory("a+")


def test_a_shortened_name_is_nobody_elses() -> None:
    long = names.container_directory("x" * 300)
    assert len(long) == names.MAX_NAME
    assert long != names.container_directory("x" * 301)
    assert names.container_directory(long) != long


@pytest.mark.parametrize(
    "name", ["$(touch bad)", "`touch bad`", "a;touch bad", "a\ntouch bad", "..", "-rf", "'\"", "*", "~"]
)
def test_a_shell_that_forgets_its_quotes_is_not_deceived(name: str, tmp_path: Path) -> None:
    directory = names.instance_directory(name, "i")
    (tmp_path / directory).mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f"cd {directory} && pwd"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / directory)
    assert [path.name for path in tmp_path.iterdir()] == [directory]
