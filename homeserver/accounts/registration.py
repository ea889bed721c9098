"""Making accounts: by anyone, by token, as a guest, or with the operator's shared secret."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from homeserver.accounts.captcha import Captcha
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.proof_of_work import ProofOfWork
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.short_lived import ShortLived
from homeserver.accounts.uia import CAPTCHA, DUMMY, EMAIL, TERMS, TOKEN, WORK, Flow, Uia
from homeserver.accounts.users import NewUser, Users
from homeserver.config.schema import Registration as RegistrationConfig
from homeserver.core.errors import Forbidden, MatrixError, MissingParam
from homeserver.core.identifiers import UserId, localpart_of
from homeserver.ports import AbuseCheck
from homeserver.rooms.policy import CaptchaNeeded
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import registration_tokens
from homeserver.storage.database import Database, Tx

NONCES_MAX = 1_000
SUSPECTS_MAX = 10_000
SUSPECT_S = 900.0
NONCE_LIFETIME_S = 60.0
_GUEST_LETTERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody who registers asks for."""

    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    display_name: str | None = None
    inhibit_login: bool = False
    refreshable: bool = False
    # Of a guest who becomes a user of the same name.
    guest_token: str | None = None
    # Where it comes from, as rate limits count.
    network: str = ""


class Registration:
    """Leads through registration and makes the account, its device and its session in one transaction."""

    abuse: AbuseCheck | None = None

    def __init__(
        self, db: Database, users: Users, sessions: Sessions, passwords: Passwords, tools: RegistrationTools
    ) -> None:
        self._db = db
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self.tools = tools
        self._config = tools.config
        self._suspects: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def register(self, wish: Wish, auth: Mapping[str, Any] | None) -> dict[str, Any]:
        """user_id and, unless inhibited, the session. Raises Challenge while stages are missing; Forbidden; …"""
        self.check_open()
        user_id = await self._wanted_id(wish)
        if wish.password is not None:
            self._passwords.check_new(wish.password)
        operation = f"register {wish.username or ''}"
        is_suspect = self._is_suspect(operation, wish)
        done = await self._lead(operation, auth, is_suspect=is_suspect)
        if wish.password is None:
            raise MissingParam("the field password is missing")
        is_solved = CAPTCHA in done or WORK in done
        try:
            return await self._make(user_id, wish, token=done.get(TOKEN), proof=done.get(EMAIL), is_solved=is_solved)
        except CaptchaNeeded:
            if self.tools.captcha is None and self.tools.work is None and self.tools.work_asked is None:
                raise
            self._suspects[operation, wish.network] = self.tools.clock.monotonic_s()
            if len(self._suspects) > SUSPECTS_MAX:
                self._suspects.popitem(last=False)
            await self._lead(operation, None, is_suspect=True)
            raise

    def check_open(self) -> None:
        """Raises Forbidden where nobody may register, by token neither."""
        if self._config.mode == "off":
            raise Forbidden("this server takes no registrations")

    async def _lead(self, operation: str, auth: Mapping[str, Any] | None, *, is_suspect: bool) -> Mapping[str, str]:
        flows, params = self._flows(), self._params()
        if is_suspect and self.tools.work_asked is not None:
            flows = [(WORK, *flow) for flow in flows]
            params[WORK] = self.tools.work_asked.challenge()
        return await self.tools.uia.require(operation, auth, flows, params=params)

    def _is_suspect(self, operation: str, wish: Wish) -> bool:
        """Whether a rule asked for a captcha a short time ago."""
        asked_s = self._suspects.get((operation, wish.network))
        return asked_s is not None and self.tools.clock.monotonic_s() - asked_s < SUSPECT_S

    @property
    def is_possible_on_page(self) -> bool:
        """Whether our own page can lead through it."""
        lacks_mail = self.wants_email and (self.tools.email is None or not self.tools.email.are_possible)
        return self._config.mode != "off" and not lacks_mail

    @property
    def wants_token(self) -> bool:
        return self._config.mode == "token"

    @property
    def wants_email(self) -> bool:
        """Whether an address must be confirmed first."""
        return self._config.email == "required"

    @property
    def terms_url(self) -> str | None:
        return self._config.terms_url if self._config.terms_version else None

    def password_policy(self) -> dict[str, Any]:
        """What a new password must be, as clients read it."""
        return self._passwords.rules.as_policy()

    def work_on_page(self, *, is_asked: bool) -> dict[str, Any] | None:
        """What the page has the visitor's machine do first; `is_asked` where a rule wants it of this one."""
        work = self.tools.work or (self.tools.work_asked if is_asked else None)
        return work.challenge() if work is not None else None

    async def register_on_page(
        self,
        wish: Wish,
        *,
        token: str | None,
        accepts_terms: bool,
        work: str | None = None,
        proof: Mapping[str, str] | None = None,
        solved: str | None = None,
    ) -> UserId:
        """An account without a session; `proof` has the sid and client_secret of a mail, `solved` a captcha's answer.

        Raises CaptchaNeeded where a rule wants work done, NoProof, Forbidden, MatrixError.
        """
        if not self.is_possible_on_page:
            raise Forbidden("this server takes no registrations here")
        user_id = await self._wanted_id(wish)
        self._passwords.check_new(wish.password or "")
        if self.terms_url is not None and not accepts_terms:
            raise Forbidden("the terms must be accepted")
        if self.wants_token and token is None:
            raise MissingParam("a registration token is needed")
        asked = self.tools.work or (self.tools.work_asked if work else None)
        if asked is not None:
            asked.check(work)
        if self.tools.captcha is not None:
            await self.tools.captcha.stage({"response": solved}, "register", None)
        sid = None
        if self.wants_email and self.tools.email is not None:
            sid = await self.tools.email.stage({"threepid_creds": proof}, "register", None)
        used = token if self.wants_token else None
        await self._make(
            user_id, wish, token=used, proof=sid, is_solved=asked is not None or self.tools.captcha is not None
        )
        return user_id

    async def register_guest(self, wish: Wish) -> dict[str, Any]:
        if not self._config.guests:
            raise Forbidden("guests are not welcome here", errcode="M_GUEST_ACCESS_FORBIDDEN")
        user_id = self._users.new_user_id(f"guest-{self.tools.randomness.letters(_GUEST_LETTERS).lower()}")
        async with self._db.transaction() as tx:
            await self._users.insert(tx, NewUser(user_id=user_id, is_guest=True))
            opened = await self._sessions.open(tx, user_id, display_name=wish.display_name)
        return {"user_id": user_id, "home_server": self._users.server_name, **opened}

    async def check_available(self, username: str) -> None:
        """Raises InvalidUsername, UserInUse, MatrixError (M_EXCLUSIVE)."""
        await self._users.check_free(self._users.new_user_id(username, self._config.reserved_localparts))

    async def _wanted_id(self, wish: Wish) -> UserId:
        username = wish.username
        if wish.guest_token is not None:
            guest = await self._sessions.guest(wish.guest_token)
            if username is None or username.lower() != localpart_of(guest):
                raise Forbidden("a guest keeps their name: username must be theirs")
            return guest
        if username is None:
            return self._users.new_user_id(self.tools.randomness.letters(_GUEST_LETTERS).lower())
        localpart = username.removeprefix("@").removesuffix(f":{self._users.server_name}").lower()
        user_id = self._users.new_user_id(localpart, self._config.reserved_localparts)
        await self._users.check_free(user_id)
        return user_id

    async def _judge(self, user_id: UserId, wish: Wish, *, is_solved: bool) -> None:
        shown = {"displayname": wish.display_name} if wish.display_name else {}
        try:
            if self.abuse is not None:
                await self.abuse.check("registration", user_id, content=shown, address=wish.network)
        except CaptchaNeeded:
            if not is_solved:
                raise

    async def _make(
        self, user_id: UserId, wish: Wish, *, token: str | None, proof: str | None, is_solved: bool = False
    ) -> dict[str, Any]:
        assert wish.password is not None
        await self._judge(user_id, wish, is_solved=is_solved)
        hashed = await self._passwords.hash(wish.password)
        async with self._db.transaction() as tx:
            if token is not None and not await registration_tokens.use(tx, token, self.tools.clock.now_ms()):
                raise MatrixError("the registration token was used up", errcode="M_UNAUTHORIZED", status=401)
            if wish.guest_token is not None:
                await self._users.make_of_guest(tx, user_id, hashed)
            else:
                await self._users.insert(tx, NewUser(user_id=user_id, password_hash=hashed))
            if proof is not None and self.tools.email is not None:
                await self.tools.email.keep(tx, user_id, proof)
            answer: dict[str, Any] = {"user_id": user_id, "home_server": self._users.server_name}
            if not wish.inhibit_login:
                answer |= await self._sessions.open(
                    tx,
                    user_id,
                    device_id=wish.device_id,
                    display_name=wish.display_name,
                    refreshable=wish.refreshable,
                )
        self._sessions.account_changed(user_id)
        self.tools.welcome(user_id)
        return answer

    def _flows(self) -> list[Flow]:
        first: Flow = () if self.tools.captcha is None else (CAPTCHA,)
        first += (WORK,) if self.tools.work is not None else ()
        first += (TERMS,) if self._config.terms_version else ()
        first += (TOKEN,) if self._config.mode == "token" else ()
        has_mail = self.tools.email is not None and self._config.email != "off"
        # Beside a flow with mail: else whoever has sent the token would be done, and their address never asked for.
        plain = first if TOKEN in first and not has_mail else (*first, DUMMY)
        with_mail = (*first, EMAIL)
        return [with_mail] if has_mail and self._config.email == "required" else [plain, *([with_mail] * has_mail)]

    def _params(self) -> dict[str, Any]:
        params: dict[str, Any] = {}
        if self.tools.captcha is not None:
            params[CAPTCHA] = {"public_key": self.tools.captcha.site_key}
        if self.tools.work is not None:
            params[WORK] = self.tools.work.challenge()
        if self._config.terms_version:
            text = {"name": self._config.terms_name, "url": self._config.terms_url}
            version = self._config.terms_version
            params[TERMS] = {"policies": {"terms_of_service": {"version": version, "en": text}}}
        return params


@dataclass(frozen=True, slots=True)
class RegistrationTools:
    """What registration uses beside the accounts themselves."""

    config: RegistrationConfig
    uia: Uia
    clock: Clock
    randomness: Randomness
    email: AddressKeeper | None = None
    captcha: Captcha | None = None
    work: ProofOfWork | None = None
    # For those whom a rule asks for it, where not everybody is.
    work_asked: ProofOfWork | None = None
    # Told of each new account, once it is there.
    welcome: Callable[[UserId], None] = lambda user_id: None


class AddressKeeper(Protocol):
    """Keeps the confirmed address of a new account. Implemented by accounts.email_stage."""

    @property
    def are_possible(self) -> bool: ...

    async def stage(self, auth: Mapping[str, Any], operation: str, user_id: UserId | None) -> str: ...

    async def keep(self, tx: Tx, user_id: UserId, sid: str) -> None: ...


class SharedSecretRegistration:
    """Accounts for whoever knows the shared secret: `/_synapse/admin/v1/register`, as scripts call it."""

    def __init__(
        self, db: Database, users: Users, sessions: Sessions, passwords: Passwords, tools: RegistrationTools
    ) -> None:
        self._db = db
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._tools = tools
        self._nonces = ShortLived[bool](tools.clock, lifetime_s=NONCE_LIFETIME_S, most=NONCES_MAX)

    def nonce(self) -> str:
        """A number used once, good for a minute."""
        self._secret()
        nonce = self._tools.randomness.token(32)
        self._nonces.put(nonce, True)
        return nonce

    async def register(
        self,
        *,
        nonce: str,
        username: str,
        password: str,
        mac: str,
        is_admin: bool,
        user_type: str | None,
        display_name: str | None,
    ) -> dict[str, Any]:
        """The account and a session. Raises Forbidden for a wrong code, MatrixError for a nonce that isn't good."""
        secret = self._secret()
        if not self._nonces.take(nonce):
            raise MatrixError("unrecognised nonce: ask for a new one")
        parts = [nonce, username, password, "admin" if is_admin else "notadmin"]
        if user_type is not None:
            parts.append(user_type)
        code = hmac.new(secret.encode(), "\x00".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha1)
        if not hmac.compare_digest(code.hexdigest().encode(), mac.lower().encode("utf-8", "replace")):
            raise Forbidden("HMAC incorrect")
        user_id = self._users.new_user_id(username.lower())
        await self._users.check_free(user_id)
        hashed = await self._passwords.hash(password)
        async with self._db.transaction() as tx:
            new = NewUser(
                user_id=user_id,
                password_hash=hashed,
                is_admin=is_admin,
                user_type=user_type,
                display_name=display_name,
            )
            await self._users.insert(tx, new)
            opened = await self._sessions.open(tx, user_id)
        self._tools.welcome(user_id)
        return {"user_id": user_id, "home_server": self._users.server_name, **opened}

    def _secret(self) -> str:
        secret = self._tools.config.shared_secret
        if secret is None:
            raise Forbidden("registration by shared secret is off")
        return secret.reveal()
