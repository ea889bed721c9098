"""Named lists of words, domains, files, users and servers, and ready packs of rules."""

from __future__ import annotations

from urllib.parse import quote

from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.spam.api import ListBody, RuleEndpoints
from admin.spam.book import RuleBook
from admin.spam.packs import PACKS
from admin.spam.rules import Kind, Wordlist
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Answer, Reach

_LISTS = "/admin/spam/lists"
_PACKS = "/admin/spam/packs"
_KINDS = tuple(kind.value for kind in Kind)


class SpamListPages:
    """/admin/spam/lists and /admin/spam/packs."""

    def __init__(self, desk: Desk, book: RuleBook, rules: RuleEndpoints) -> None:
        self.desk = desk
        self._book = book
        self._rules = rules

    @page("GET", _LISTS, needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def lists(self, visit: Visit) -> Answer:
        async def fetch(limit: int) -> list[Shown]:
            found = await self._book.lists()
            return [{"name": one.name, "kind": one.kind, "entries": len(one.entries)} for one in found[:limit]]

        values = {"kinds": _KINDS}
        return await self.desk.listing(
            visit, "lists", ("name", "kind", "entries"), fetch, values, template="spam_lists"
        )

    @page("GET", _LISTS + "/{name}", needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def entries(self, visit: Visit, name: str) -> Answer:
        found, wanted, after = await self._list(name), visit.asked("q").lower(), visit.asked("after")

        async def fetch(limit: int) -> list[Shown]:
            chosen = sorted(entry for entry in found.entries if entry > after and wanted in entry.lower())
            return [{"entry": entry} for entry in chosen[:limit]]

        values = {"list": found, "q": visit.asked("q")}
        return await self.desk.listing(visit, "entries", ("entry",), fetch, values, template="spam_list", more="entry")

    @page("POST", _LISTS, needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def change(self, visit: Visit) -> Answer:
        """Adds entries to a list, which is made where there is none, and takes others out."""
        name, kind = visit.fields.get("name", "").strip(), visit.fields.get("kind", "")
        if not 0 < len(name) <= 64 or "/" in name or not name.isprintable():
            raise InvalidParam("a list's name has 1 to 64 letters")
        known = next((one for one in await self._book.lists() if one.name == name), None)
        kind = known.kind if known is not None else kind
        added, taken = _lines(visit.fields.get("add", "")), set(_lines(visit.fields.get("remove", "")))
        before = known.entries if known is not None else ()
        entries = [entry for entry in dict.fromkeys([*before, *added]) if entry not in taken]
        await self._rules.put_list(visit.operator, name, ListBody(kind=kind, entries=entries))
        return self.desk.go(f"{_LISTS}/{quote(name, safe='')}?done=list_saved")

    @page("POST", _LISTS + "/{name}/delete", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def delete(self, visit: Visit, name: str) -> Answer:
        await self._rules.delete_list(visit.operator, name)
        return self.desk.go(f"{_LISTS}?done=list_deleted")

    @page("GET", _PACKS, needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def packs(self, visit: Visit) -> Answer:
        known = self._book.force.rules
        shown = [(pack, [(rule, known.get(rule.id)) for rule in pack.rules]) for pack in PACKS]
        return self.desk.page(visit, "spam_packs", {"packs": shown})

    @page("POST", _PACKS + "/{name}", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def install(self, visit: Visit, name: str) -> Answer:
        await self._rules.install(visit.operator, name)
        return self.desk.go(f"{_PACKS}?done=pack")

    async def _list(self, name: str) -> Wordlist:
        found = next((one for one in await self._book.lists() if one.name == name), None)
        if found is None:
            raise NotFound("there is no such list")
        return found


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
