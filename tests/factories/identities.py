"""A person of an OpenID provider, and the settings of a server that knows the provider."""

from infraxys.server.auth.openid.accounts import Identity
from infraxys.server.auth.openid.options import OpenIdOptions

ISSUER = "https://provider.test"
OPTIONS = OpenIdOptions(
    oidc_issuer=ISSUER, oidc_client_id="infraxys", oidc_audiences=("api",), oidc_admin_group="admins"
)
GRACE = Identity(ISSUER, "s-1", 1000, "grace", "Grace Hopper", frozenset({"a"}))
