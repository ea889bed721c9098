"""Log-in by a JSON Web Token that another service of the operator's signed: `org.matrix.login.jwt`."""

from __future__ import annotations

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from homeserver.accounts.newcomers import Newcomers
from homeserver.config.sign_in import JwtLogin as JwtConfig
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock

LOGIN_TYPE = "org.matrix.login.jwt"
TOKEN_CHARS_MAX = 8_192
LEEWAY_S = 60


class JwtLogin:
    """Says who a token names. Only the configured algorithm is taken, never the one that a token wishes for."""

    def __init__(self, config: JwtConfig, newcomers: Newcomers, clock: Clock) -> None:
        self._config = config
        self._newcomers = newcomers
        self._clock = clock
        self._key = _key(config)

    async def prove(self, token: str) -> UserId:
        """Raises Forbidden for a token that isn't good."""
        if len(token) > TOKEN_CHARS_MAX:
            raise Forbidden("the token is too long")
        config = self._config
        try:
            decoded = jwt.decode(token, self._key, algorithms=[config.algorithm])
            requests: dict[str, jwt.ClaimsOption] = {config.subject_claim: {"essential": True}}
            if config.issuer is not None:
                requests["iss"] = {"essential": True, "value": config.issuer}
            if config.audiences:
                requests["aud"] = {"essential": True, "values": list(config.audiences)}
            if config.needs_expiry:
                requests["exp"] = {"essential": True}
            now = self._clock.now_ms() // 1000
            jwt.JWTClaimsRegistry(now=now, leeway=LEEWAY_S, **requests).validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError):
            raise Forbidden("the token is not good") from None
        subject = decoded.claims.get(config.subject_claim)
        if not isinstance(subject, str):
            raise Forbidden("the token names nobody")
        return await self._newcomers.by_name(subject, makes_accounts=config.makes_accounts)


def _key(config: JwtConfig) -> OctKey | RSAKey | ECKey | OKPKey:
    if config.public_key_path is not None:
        data = config.public_key_path.read_bytes()
        if config.algorithm.startswith(("RS", "PS")):
            return RSAKey.import_key(data)
        return OKPKey.import_key(data) if config.algorithm == "EdDSA" else ECKey.import_key(data)
    assert config.secret is not None
    return OctKey.import_key(config.secret.reveal())
