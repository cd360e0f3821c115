"""The provider's public keys."""

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

MAX_KEYS = 100
MIN_RSA_BITS = 2048
# Which kind of key an algorithm takes. There is no kind for shared secrets: a published one is none.
_KINDS: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}
_BY_NAME: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class Keys:
    """A key set (RFC 7517), reduced to public keys for signatures."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        return bool(self._keys)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> "Keys":
        """Read a key set; what is not a usable public key for signatures is left out."""
        found = value.get("keys")
        candidates = found[:MAX_KEYS] if isinstance(found, list) else []
        return cls([key for item in candidates if (key := _read_key(item)) is not None])

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """Find the key that a signature names; without a name only where there is no choice."""
        kind = _KINDS.get(algorithm[:2])
        fitting = [
            key
            for key in self._keys
            if kind is not None and isinstance(key, kind) and key.get("alg") in {None, algorithm}
        ]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == key_id), None)


def _read_key(item: object) -> Key | None:
    if not isinstance(item, dict) or item.get("use", "sig") != "sig":
        return None
    kind = _BY_NAME.get(str(item.get("kty")))
    if kind is None:
        return None
    try:
        key = kind.import_key(item)
        if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
            return None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key
