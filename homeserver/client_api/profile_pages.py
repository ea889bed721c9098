"""The page on which people see and change their profile. spec: client-server-api/#oauth-20-account-management"""

from __future__ import annotations

import asyncio
import re
import zoneinfo
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

import orjson

from homeserver.accounts.profiles import Profiles
from homeserver.accounts.users import Users
from homeserver.client_api.visits import LOGIN_PATH, Visit, Visits
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import UserId
from homeserver.media.headers import headers_for
from homeserver.media.repository import Found, MediaRepository, Upload
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.forms import SentFile
from homeserver.web.rate_limits import RateLimiter

PATH = "/_hansa/account/profile"
PICTURE_PATH = PATH + "/picture"
ACTION = "org.matrix.profile"
PICTURE_BYTES_MAX = 8 * 1024 * 1024
PICTURE_PIXELS = 192
PICTURE_TYPES = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"))
# How long a picture of another server is waited for.
_WAIT_MS = 10_000
_MXC = re.compile(r"mxc://([^/]+)/([0-9A-Za-z_-]{1,255})", re.ASCII)
_OWN_FORMS = ("displayname", "avatar_url", "m.tz")


class FormRefused(InvalidParam):
    """Something on the page was filled in so that it can't be taken. The message is the key of a text."""


class ProfileWork:
    """What the page does: the profile's fields, and its picture's file."""

    def __init__(self, profiles: Profiles, users: Users, media: MediaRepository) -> None:
        self._profiles = profiles
        self._users = users
        self._media = media

    async def fields(self, user_id: UserId) -> dict[str, Any]:
        return await self._profiles.get(user_id)

    async def set(self, user_id: UserId, field: str, value: Any) -> None:
        """Sets a field; an empty name or time zone takes it away. Raises MatrixError."""
        await self._check(user_id)
        if field in _OWN_FORMS and value == "":
            await self._profiles.delete(user_id, field)
            return
        if field == "m.tz" and value not in await _time_zones():
            raise FormRefused("profile_no_such_zone")
        await self._profiles.set(user_id, field, value)

    async def remove(self, user_id: UserId, field: str) -> None:
        await self._check(user_id)
        await self._profiles.delete(user_id, field)

    async def set_picture(self, user_id: UserId, file: SentFile) -> None:
        """Keeps a file and makes it the profile's picture. Raises MatrixError for what is none."""
        await self._check(user_id)
        if file.content_type not in PICTURE_TYPES:
            raise FormRefused("profile_no_picture_file")
        upload = Upload(pieces=_pieces(file.content), content_type=file.content_type, size_bytes=len(file.content))
        uri = await self._media.upload(user_id, upload)
        server_name, media_id = uri.removeprefix("mxc://").split("/")
        try:
            # What can't be made smaller is no picture, whatever its type says.
            await self._small(user_id, server_name, media_id)
            await self._profiles.set(user_id, "avatar_url", uri)
        except MatrixError as error:
            await self._media.delete([media_id])
            if error.errcode == "M_UNKNOWN":
                raise FormRefused("profile_no_picture_file") from None
            raise

    async def picture(self, user_id: UserId) -> Found:
        """The profile's picture, small. Raises NotFound, MatrixError."""
        match = _MXC.fullmatch(str(await self._profiles.field(user_id, "avatar_url")))
        if match is None:
            raise NotFound("there is no picture")
        return await self._small(user_id, match[1], match[2])

    async def time_zones(self) -> list[str]:
        return sorted(await _time_zones())

    async def _small(self, user_id: UserId, server_name: str, media_id: str) -> Found:
        return await self._media.thumbnail(
            server_name,
            media_id,
            width=PICTURE_PIXELS,
            height=PICTURE_PIXELS,
            method="crop",
            animated=False,
            timeout_ms=_WAIT_MS,
            fetch_for=user_id,
        )

    async def _check(self, user_id: UserId) -> None:
        """Raises Forbidden for an account that may only read. spec: client-server-api/#account-suspension"""
        if (await self._users.get(user_id)).is_suspended:
            raise Forbidden("this account is suspended", errcode="M_USER_SUSPENDED")


class ProfilePages:
    """/_hansa/account/profile, and the picture on it."""

    def __init__(self, visits: Visits, work: ProfileWork, limiter: RateLimiter) -> None:
        self._visits = visits
        self._work = work
        self._limiter = limiter

    @endpoint("GET", PATH, access=Access.NONE, limit="page", spec="")
    async def profile(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        if visit.user_id is None:
            return self._sign_in()
        return await self._page(visit, visit.user_id, is_saved="saved" in request.raw_query)

    @endpoint("POST", PATH, access=Access.NONE, limit="page", raw_body=True, spec="")
    async def change(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        user_id = visit.user_id
        if user_id is None:
            return self._sign_in()
        field, action = fields.get("field", ""), fields.get("action", "")
        try:
            self._limiter.check("profile", user_id)
            if action == "remove":
                await self._work.remove(user_id, field)
            elif action == "set":
                await self._work.set(user_id, field, _value(fields))
            else:
                raise InvalidParam("the form doesn't say what to do")
        except MatrixError as error:
            return await self._page(visit, user_id, error, {"field": field, "value": fields.get("value", "")})
        return self._visits.go(f"{PATH}?saved=1")

    @endpoint("GET", PICTURE_PATH, access=Access.NONE, limit="media_download", timeout_s=None, spec="")
    async def picture(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        if visit.user_id is None:
            raise NotFound("there is no picture")
        found = await self._work.picture(visit.user_id)
        # Whose it is depends on the cookie: not for other sites, and not from a cache.
        headers = {**headers_for(found.content_type, None), "Cross-Origin-Resource-Policy": "same-origin"}
        headers["Cache-Control"] = "no-store"
        headers["Content-Length"] = str(found.size_bytes)
        return Answer(await found.read(0, found.size_bytes), content_type=found.content_type, headers=headers)

    @endpoint(
        "POST",
        PICTURE_PATH,
        access=Access.NONE,
        limit="page",
        raw_body=True,
        body_bytes_max=PICTURE_BYTES_MAX + 2**17,
        spec="",
    )
    async def set_picture(self, request: Request) -> Answer:
        visit, _, file = await self._visits.upload(request, "file", file_bytes_max=PICTURE_BYTES_MAX)
        user_id = visit.user_id
        if user_id is None:
            return self._sign_in()
        try:
            self._limiter.check("profile", user_id)
            self._limiter.check("media_upload", user_id)
            if file is None:
                raise FormRefused("profile_no_file_chosen")
            await self._work.set_picture(user_id, file)
        except MatrixError as error:
            return await self._page(visit, user_id, error)
        return self._visits.go(f"{PATH}?saved=1")

    def _sign_in(self) -> Answer:
        return self._visits.go(f"{LOGIN_PATH}?next={quote(PATH, safe='')}")

    async def _page(
        self,
        visit: Visit,
        user_id: UserId,
        error: MatrixError | None = None,
        sent: Mapping[str, str] | None = None,
        *,
        is_saved: bool = False,
    ) -> Answer:
        """`sent` is what a form said that was refused: nobody has to write it again."""
        found = await self._work.fields(user_id)
        shown = {"field": "", "value": ""} if sent is None else dict(sent)
        own = {field: found.get(field, "") for field in _OWN_FORMS}
        if shown["field"] in own:
            own[shown["field"]] = shown["value"]
        others = [
            {
                "name": name,
                "is_text": isinstance(value, str),
                "value": shown["value"] if shown["field"] == name else _written(value),
            }
            for name, value in sorted(found.items())
            if name not in own
        ]
        values = {
            "action": PATH,
            "picture_path": PICTURE_PATH,
            "error": error.message if error else "",
            "error_text": error.message if isinstance(error, FormRefused) else "",
            "is_saved": is_saved,
            "displayname": own["displayname"],
            "has_picture": bool(found.get("avatar_url")),
            "time_zone": own["m.tz"],
            "time_zones": await self._work.time_zones(),
            "others": others,
            "added": shown if shown["field"] not in own and shown["field"] not in found else {"field": "", "value": ""},
        }
        return self._visits.page(visit, "profile", values, status=error.http_status if error else 200, pictures=True)


def _value(fields: Mapping[str, str]) -> Any:
    """What a form gives as a field's value: text, or JSON where it says so. Raises InvalidParam."""
    # Browsers send line ends as two characters.
    text = fields.get("value", "").replace("\r\n", "\n")
    if fields.get("kind") != "json":
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise FormRefused("profile_no_json") from None
    if value is None:
        raise FormRefused("profile_no_null")
    return value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


async def _time_zones() -> frozenset[str]:
    """All names of the time zone database that people choose from."""
    return await asyncio.to_thread(_read_time_zones)


@cache
def _read_time_zones() -> frozenset[str]:
    return frozenset(name for name in zoneinfo.available_timezones() if "/" in name or name == "UTC")


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
