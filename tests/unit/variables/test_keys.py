"""The embedded store: what it seals opens only with the key, for what it was sealed for, and only unchanged."""

import base64
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from infraxys.server.variables.keys import Bound, KeyProblem, KeyRing, key_id_of

BOUND = Bound(("project", "p-1", "password"), 1, is_protected=True)
VALUE = b"canary-9f3b"


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "keys" / "secrets.key")
    ring.open(is_needed=False)
    return ring


def test_a_value_comes_back_and_is_not_in_what_is_kept(ring: KeyRing) -> None:
    sealed = ring.seal(VALUE, BOUND)
    assert ring.unseal(sealed, BOUND) == VALUE
    assert VALUE not in sealed
    assert ring.seal(VALUE, BOUND) != sealed


@pytest.mark.parametrize(
    "other",
    [
        replace(BOUND, path=("project", "p-2", "password")),
        replace(BOUND, path=("project", "p-1", "other")),
        replace(BOUND, version=2),
        replace(BOUND, is_protected=False),
    ],
)
def test_a_value_that_was_moved_or_unprotected_in_the_database_does_not_open(ring: KeyRing, other: Bound) -> None:
    with pytest.raises(KeyProblem, match="not what was sealed"):
        ring.unseal(ring.seal(VALUE, BOUND), other)


def test_a_changed_bit_is_noticed_wherever_it_is(ring: KeyRing) -> None:
    sealed = ring.seal(VALUE, BOUND)
    for place in range(1, len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(KeyProblem):
            ring.unseal(bytes(changed), BOUND)
    for size in range(len(sealed)):
        with pytest.raises(KeyProblem):
            ring.unseal(sealed[:size], BOUND)


def test_the_key_file_is_made_for_its_owner_alone(ring: KeyRing, tmp_path: Path) -> None:
    status = (tmp_path / "keys" / "secrets.key").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) & 0o077 == 0


def test_a_key_file_that_is_open_to_others_is_refused(ring: KeyRing, tmp_path: Path) -> None:
    (tmp_path / "keys" / "secrets.key").chmod(0o640)
    with pytest.raises(KeyProblem, match="mode 600"):
        KeyRing(tmp_path / "keys" / "secrets.key").open(is_needed=True)


def test_a_lost_key_file_is_not_replaced_where_values_need_it(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "secrets.key")
    with pytest.raises(KeyProblem, match="restore it from a backup"):
        ring.open(is_needed=True)
    assert not (tmp_path / "secrets.key").exists()


@pytest.mark.parametrize("content", [b"", b"not base64\n", base64.b64encode(b"short") + b"\n", b"\xff\xfe"])
def test_a_damaged_key_file_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secrets.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyProblem, match="damaged"):
        KeyRing(path).open(is_needed=True)


class TestRotation:
    def test_values_are_sealed_again_and_open_without_the_old_key(self, ring: KeyRing, tmp_path: Path) -> None:
        sealed = ring.seal(VALUE, BOUND)
        old = ring.key_id
        assert ring.rotate() != old
        assert ring.unseal(sealed, BOUND) == VALUE
        again = ring.rewrap(sealed, BOUND)
        assert ring.forget_others() == 1
        assert ring.unseal(again, BOUND) == VALUE
        with pytest.raises(KeyProblem, match=f"master key {old} is not there"):
            ring.unseal(sealed, BOUND)
        assert KeyRing(tmp_path / "keys" / "secrets.key").unseal(again, BOUND) == VALUE

    def test_a_server_that_runs_sees_the_new_key(self, ring: KeyRing, tmp_path: Path) -> None:
        other = KeyRing(tmp_path / "keys" / "secrets.key")
        other.open(is_needed=True)
        key_id = other.rotate()
        sealed = ring.seal(VALUE, BOUND)
        assert ring.key_id == key_id
        assert other.unseal(sealed, BOUND) == VALUE

    def test_the_first_key_of_the_environment_seals_and_all_open(self, tmp_path: Path) -> None:
        keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(2)]
        before = KeyRing(tmp_path / "none", keys[0])
        sealed = before.seal(VALUE, BOUND)
        after = KeyRing(tmp_path / "none", f"{keys[1]}, {keys[0]}")
        assert after.unseal(sealed, BOUND) == VALUE
        assert after.key_id == key_id_of(base64.b64decode(keys[1]))
        after.open(is_needed=True)
        assert after.rotate() == after.key_id
        assert not (tmp_path / "none").exists()

    def test_a_wrong_key_in_the_environment_is_said_without_showing_it(self, tmp_path: Path) -> None:
        with pytest.raises(KeyProblem, match="INFRAXYS_SECRETS_KEY is wrong") as refused:
            KeyRing(tmp_path / "none", "c2hvcnQ=")
        assert "c2hvcnQ" not in str(refused.value)
