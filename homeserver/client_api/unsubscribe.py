"""The page by which mails about unread messages are ended, for whoever has one of them."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.push.digest import APP_ID, UNSUBSCRIBE_PATH
from homeserver.push.pushers import Pushers
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.pages import Pages, language_of


class Unsubscribing:
    """GET shows a button, as links are opened by programs too; POST is the button, or that of the mail's reader.

    Neither needs a form code: the token in the address is what nobody else has. https://www.rfc-editor.org/rfc/rfc8058
    """

    def __init__(self, pushers: Pushers, pages: Pages) -> None:
        self._pushers = pushers
        self._pages = pages

    @endpoint("GET", UNSUBSCRIBE_PATH, access=Access.NONE, limit="email_requester", acts=True, spec="")
    async def ask(self, request: Request) -> Answer:
        named = await self._named(request)
        return self._answer(request, named[1] if named is not None else None, is_done=False)

    @endpoint("POST", UNSUBSCRIBE_PATH, access=Access.NONE, limit="email_requester", raw_body=True, spec="")
    async def end(self, request: Request) -> Answer:
        named = await self._named(request)
        if named is not None:
            await self._pushers.delete(named[0], APP_ID, named[1])
        return self._answer(request, named[1] if named is not None else None, is_done=True)

    async def _named(self, request: Request) -> tuple[UserId, str] | None:
        """Whose mails, and to which address; None for what no mail has said."""
        query = request.raw_query
        user_id, address = UserId(query.get("user_id", "")), query.get("address", "")
        is_held = await self._pushers.holds_mail_token(user_id, address, query.get("token", ""))
        return (user_id, address) if is_held else None

    def _answer(self, request: Request, address: str | None, *, is_done: bool) -> Answer:
        language = language_of(request.headers)
        if address is None:
            return self._pages.page("confirmed", language, {"is_good": False, "next_link": None}, status=400)
        return self._pages.page("unsubscribe", language, {"address": address, "is_done": is_done})
