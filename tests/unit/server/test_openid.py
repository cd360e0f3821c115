"""The parts of sign-in by OpenID that need no provider."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from factories.identities import ISSUER, OPTIONS
from infraxys.server.auth.openid import accounts
from infraxys.server.auth.openid.accounts import AccountRefused, Identity
from infraxys.server.auth.openid.browser import UnsafeRedirect, check_next
from infraxys.server.auth.openid.http import tls_context
from infraxys.server.auth.openid.keys import Keys
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.provider import Cached, ProviderUnavailable
from infraxys.server.auth.openid.sealing import Sealer
from infraxys.server.auth.openid.verify import TokenRefused, Verifier


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path / "keys" / "openid.key")


class TestOptions:
    @pytest.mark.parametrize("name", ["none", "HS256", "HS512", "rs256", "dir", ""])
    def test_algorithms_with_shared_secrets_and_without_any_are_refused(self, name: str) -> None:
        with pytest.raises(ValidationError):
            OpenIdOptions(oidc_algorithms=(name,))

    @pytest.mark.parametrize(
        "change",
        [
            {"oidc_issuer": "http://provider.test"},
            {"oidc_issuer": "https://user@provider.test"},
            {"oidc_issuer": "https://provider.test?x"},
            {"oidc_client_id": ""},
            {"oidc_scopes": "profile"},
            {"oidc_audiences": "api,infraxys"},
            {"public_url": "javascript:alert(1)"},
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, change: dict[str, str]) -> None:
        good = {"oidc_issuer": ISSUER, "oidc_client_id": "infraxys"}
        OpenIdOptions.model_validate(good)
        with pytest.raises(ValidationError):
            OpenIdOptions.model_validate({**good, **change})

    def test_the_secret_is_shown_nowhere_and_may_come_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("from-a-file\n")
        assert OpenIdOptions(oidc_client_secret_file=tmp_path / "secret").read_client_secret() == "from-a-file"
        assert "hidden" not in repr(OpenIdOptions.model_validate({"oidc_client_secret": "hidden"}))

    def test_files_that_cannot_be_read_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match=r"nothing.* oidc_client_secret_file"):
            OpenIdOptions(oidc_client_secret_file=tmp_path / "nothing").read_client_secret()
        (tmp_path / "empty").touch()
        for name in ("nothing", "empty"):
            with pytest.raises(OSError, match=rf"{name}.* oidc_ca"):
                tls_context(tmp_path / name)

    def test_lists_come_from_the_environment_as_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INFRAXYS_OIDC_AUDIENCES", "a, b c")

        class Settings(OpenIdOptions):
            model_config = SettingsConfigDict(env_prefix="INFRAXYS_")

        assert Settings().oidc_audiences == ("a", "b", "c")


class TestNext:
    @given(st.text(max_size=60))
    def test_b9_only_own_paths_pass(self, text: str) -> None:
        try:
            path = check_next(text)
        except UnsafeRedirect:
            return
        assert path.startswith("/")
        assert not path.startswith(("//", "/\\"))
        assert path.isascii()
        assert path.isprintable()

    @pytest.mark.parametrize("path", ["/", "/runs", "/runs?status=FAILED&x=%2F#top", "/modules/a%2Fb"])
    def test_paths_of_the_web_app_pass(self, path: str) -> None:
        assert check_next(path) == path


class TestSealer:
    def test_what_was_sealed_is_opened_for_its_purpose_only(self, sealer: Sealer, tmp_path: Path) -> None:
        sealed = sealer.seal("one", {"a": 1})
        assert b"a" not in sealed[:4]
        assert sealer.open("one", sealed) == {"a": 1}
        assert sealer.open("two", sealed) is None
        assert Sealer(tmp_path / "keys" / "openid.key").open("one", sealed) == {"a": 1}
        assert Sealer(tmp_path / "keys" / "other.key").open("one", sealed) is None
        assert sealer.open("one", sealed[:-2] + b"AA") is None
        assert sealer.open("one", b"") is None

    def test_what_was_sealed_too_long_ago_is_refused(self, sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
        sealed = sealer.seal("one", {})
        later = time.time() + 700
        monkeypatch.setattr("cryptography.fernet.time.time", lambda: later)
        assert sealer.open("one", sealed, 600) is None
        assert sealer.open("one", sealed) == {}

    def test_the_key_is_private_and_a_damaged_one_is_reported(self, tmp_path: Path) -> None:
        file = tmp_path / "openid.key"
        Sealer(file)
        assert file.stat().st_mode & 0o777 == 0o600
        file.write_bytes(b"x")
        with pytest.raises(OSError, match=r"openid\.key"):
            Sealer(file)


class TestCached:
    """A value from the provider, with a clock and answers of the test's."""

    def make(self, answers: list[object]) -> tuple[Cached[str], list[float]]:
        now = [1000.0]

        async def fetch() -> str:
            await asyncio.sleep(0)
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        return Cached(fetch, 60, lambda: now[0]), now

    def test_many_at_once_fetch_once(self) -> None:
        cached, _ = self.make(["first"])

        async def main() -> list[str]:
            return await asyncio.gather(*(cached.get() for _ in range(50)))

        assert asyncio.run(main()) == ["first"] * 50

    def test_a_failure_is_told_to_all_and_tried_again_after_a_pause(self) -> None:
        cached, now = self.make([ProviderUnavailable("away"), "back"])

        async def main() -> str:
            for _ in range(3):
                with pytest.raises(ProviderUnavailable, match="away"):
                    await cached.get()
            now[0] += 6
            return await cached.get()

        assert asyncio.run(main()) == "back"

    def test_a_failure_leaves_what_there_is_for_a_day(self) -> None:
        cached, now = self.make(["good", *[ProviderUnavailable("away")] * 3])

        async def main() -> None:
            await cached.get()
            now[0] += 61
            await cached.keep_fresh()
            assert await cached.get() == "good"
            now[0] += 24 * 3600
            with pytest.raises(ProviderUnavailable):
                await cached.get()

        asyncio.run(main())

    def test_it_is_not_renewed_more_often_than_asked(self) -> None:
        cached, now = self.make(["one", "two"])

        async def main() -> None:
            await cached.get()
            for _ in range(10):
                await cached.renew(60)
            assert await cached.get() == "one"
            now[0] += 61
            await cached.renew(60)
            assert await cached.get() == "two"

        asyncio.run(main())


class TestTokens:
    """Whatever a token is, it is checked or refused: nothing else is raised."""

    KEY = ECKey.generate_key("P-256", {"kid": "k", "use": "sig"}, private=True)

    def verifier(self, options: OpenIdOptions = OPTIONS) -> Verifier:
        keys = Keys.read({"keys": [self.KEY.as_dict(private=False)]})

        class Provider:
            issuer = ISSUER

            async def keys(self) -> Keys:
                return keys

            async def renew_keys(self, _pause_seconds: float) -> Keys:
                return keys

        return Verifier(Provider(), options)  # type: ignore[arg-type]  # the keys of a provider without the network

    @pytest.mark.parametrize("cli_client_id", [None, "infraxys-cli"])
    @pytest.mark.parametrize("claims", [{}, {"client_id": None}, {"azp": "else"}, {"client_id": "else"}])
    def test_the_age_of_a_token_counts_only_where_the_command_line_got_it(
        self, cli_client_id: str | None, claims: dict[str, Any]
    ) -> None:
        now = int(time.time())
        good = {"iss": ISSUER, "aud": "api", "sub": "s", "iat": now - 600, "exp": now + 60}
        token = jwt.encode({"alg": "ES256", "kid": "k", "typ": "at+jwt"}, {**good, **claims}, self.KEY)
        options = OPTIONS.model_copy(update={"oidc_cli_client_id": cli_client_id})
        assert asyncio.run(self.verifier(options).access_token(token))["sub"] == "s"

    @given(
        st.one_of(
            st.text(max_size=100), st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}")
        )
    )
    def test_any_text(self, text: str) -> None:
        with pytest.raises(TokenRefused):
            asyncio.run(self.verifier().access_token(text))

    @given(
        st.dictionaries(
            st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "nonce"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
                max_leaves=4,
            ),
            min_size=1,
        )
    )
    def test_any_claims_signed_by_the_provider(self, changes: dict[str, Any]) -> None:
        now = int(time.time())
        good = {"iss": ISSUER, "aud": "api", "sub": "s", "iat": now, "exp": now + 60}
        token = jwt.encode({"alg": "ES256", "kid": "k", "typ": "at+jwt"}, {**good, **changes}, self.KEY)
        try:
            claims = asyncio.run(self.verifier().access_token(token))
        except TokenRefused:
            return
        assert claims["iss"] == ISSUER
        assert "api" in claims["aud"]
        assert isinstance(claims["sub"], str)
        assert claims["exp"] > now - 60
        assert "nonce" not in claims

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["keys", "kty", "kid", "n", "e", "x", "y", "crv", "use", "k"]), inner, max_size=5
                )
            ),
        )
    )
    def test_any_key_set(self, value: Any) -> None:
        assert not Keys.read({"keys": value})


class TestIdentities:
    def read(self, **claims: object) -> Identity:
        return accounts.read_signed_in(ISSUER, {"sub": "s", "iat": 7, **claims}, OPTIONS)

    def test_an_unverified_address_is_no_name(self) -> None:
        assert self.read(email="a@b.c", email_verified=False).name is None
        assert self.read(email="a@b.c", email_verified="true").name is None
        assert self.read(email="a@b.c", email_verified=True).name == "a@b.c"

    @pytest.mark.parametrize("groups", ["a", {"a": 1}, 7, True, [1], [["a"]], [None], [""], ["x"] * 2001, ["x" * 501]])
    def test_b8_groups_of_the_wrong_type_are_refused(self, groups: object) -> None:
        with pytest.raises(AccountRefused):
            self.read(groups=groups)

    def test_no_groups_at_a_sign_in_are_none(self) -> None:
        assert self.read().groups == frozenset()
        assert accounts.read_identity(ISSUER, {"sub": "s", "iat": 7}, OPTIONS).groups is None

    def test_names_of_the_wrong_type_are_left_out(self) -> None:
        identity = self.read(preferred_username=["root"], name={"a": 1})
        assert (identity.name, identity.display_name) == (None, None)
        assert self.read(name="a\x1b[31mb\u202ec").display_name == "a[31mbc"


def test_the_same_groups_are_one_text_however_they_are_ordered() -> None:
    assert json.loads(accounts._groups_text(frozenset({"b", "a"}))) == ["a", "b"]
