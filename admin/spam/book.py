"""The rules in force: read from the database, changed in versions, and switched to shadow where one goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from admin.spam import storage
from admin.spam.rules import RULES_MAX, Kind, Rule, RuleSet, Wordlist, asks_list, check_rule, check_scope
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database, Tx

log = structlog.get_logger()

BY_ITSELF = "hansa"
LISTS_MAX = 100
ENTRIES_MAX = 200_000
ENTRY_CHARS_MAX = 1_000
Recorded = Callable[[Tx, Mapping[str, Any] | None, Mapping[str, Any] | None], Awaitable[object]]


class RuleBook:
    """What is in force, as one value that is replaced when a rule or list changes."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self.force = RuleSet([])
        # Rules that stopped themselves, with why: at once, before the database knows.
        self.stopped: dict[tuple[str, int], str] = {}

    async def start(self) -> None:
        """Reads what is in force; compiles it beside the event loop."""
        rules, lists = await storage.rules(self._db), await storage.lists(self._db)
        self.force = await asyncio.to_thread(_compiled, rules, lists)

    async def put(self, rule: Rule, *, by: str, why: str, recorded: Recorded) -> Rule:
        """A new version of a rule, in force when this returns. `rule.version` must be the version that it changes.

        Raises InvalidParam, MatrixError (409) where somebody else changed it meanwhile.
        """
        try:
            check_scope(rule)
            await asyncio.to_thread(check_rule, rule)
        except ValueError as error:
            raise InvalidParam(str(error)) from None
        async with self._db.transaction() as tx:
            await storage.lock_rules(tx)
            current = {one.id: one for one in await storage.rules(tx)}
            before = current.get(rule.id)
            if before is not None and rule.version != before.version:
                raise MatrixError(f"the rule is at version {before.version} by now", status=409)
            if before is None and len(current) >= RULES_MAX:
                raise InvalidParam(f"there may be {RULES_MAX} rules")
            made = msgspec.structs.replace(rule, version=await storage.newest_version(tx, rule.id) + 1)
            await storage.put_rule(tx, made, by=by, now_ms=self._clock.now_ms(), why=why)
            await recorded(tx, msgspec.to_builtins(before) if before else None, msgspec.to_builtins(made))
        await self.start()
        return made

    async def delete(self, rule_id: str, *, recorded: Recorded) -> None:
        """Raises NotFound. The versions stay."""
        before = self.force.rules.get(rule_id)
        async with self._db.transaction() as tx:
            if not await storage.delete_rule(tx, rule_id):
                raise NotFound("there is no such rule")
            await recorded(tx, msgspec.to_builtins(before) if before else None, None)
        await self.start()

    async def versions(self, rule_id: str) -> list[tuple[Rule, Mapping[str, Any]]]:
        """Raises NotFound."""
        found = await storage.versions(self._db, rule_id)
        if not found:
            raise NotFound("there is no such rule")
        return found

    def rule(self, rule_id: str) -> Rule:
        """The version in force. Raises NotFound."""
        known = self.force.rules.get(rule_id)
        if known is None:
            raise NotFound("there is no such rule")
        return known

    async def lists(self) -> list[Wordlist]:
        """All named lists with their entries."""
        return await storage.lists(self._db)

    async def put_list(self, wordlist: Wordlist, *, recorded: Recorded) -> None:
        """Raises InvalidParam."""
        kinds = [kind.value for kind in Kind]
        if wordlist.kind not in kinds:
            raise InvalidParam(f"kind must be one of {', '.join(kinds)}")
        if len(wordlist.entries) > ENTRIES_MAX or any(
            not 0 < len(entry) <= ENTRY_CHARS_MAX or "\x00" in entry for entry in wordlist.entries
        ):
            raise InvalidParam(f"a list may have {ENTRIES_MAX} entries of 1 to {ENTRY_CHARS_MAX} characters")
        async with self._db.transaction() as tx:
            await storage.lock_rules(tx)
            known = {one.name: one for one in await storage.lists(tx)}
            if wordlist.name not in known and len(known) >= LISTS_MAX:
                raise InvalidParam(f"there may be {LISTS_MAX} lists")
            await storage.put_list(tx, wordlist, now_ms=self._clock.now_ms())
            before = known.get(wordlist.name)
            await recorded(
                tx,
                {"kind": before.kind, "entries": len(before.entries)} if before else None,
                {"kind": wordlist.kind, "entries": len(wordlist.entries)},
            )
        await self.start()

    async def delete_list(self, name: str, *, recorded: Recorded) -> None:
        """Raises NotFound; InvalidParam while a rule in shadow or in force asks for it: it would say something else."""
        async with self._db.transaction() as tx:
            await storage.lock_rules(tx)
            using = [one.id for one in await storage.rules(tx) if one.stage != "draft" and asks_list(one, name)]
            if using:
                raise InvalidParam(
                    f"the rule {using[0]} asks for this list: change the rule, or take it to draft, first"
                )
            if not await storage.delete_list(tx, name):
                raise NotFound("there is no such list")
            await recorded(tx, {"name": name}, None)
        await self.start()

    def stop(self, rule: Rule, why: str) -> bool:
        """Takes an enforced rule to shadow at once, in memory. Whether it was in force until now."""
        key = (rule.id, rule.version)
        if key in self.stopped:
            return False
        self.stopped[key] = why
        log.warning("spam_rule_stopped", rule_id=rule.id, rule_version=rule.version, why=why)
        return True

    async def keep_stopped(self) -> None:
        """Writes what stopped itself as new versions, in shadow."""
        for (rule_id, version), why in list(self.stopped.items()):
            rule = self.force.rules.get(rule_id)
            if rule is not None and rule.version == version and rule.stage == "enforced":
                calm = msgspec.structs.replace(rule, stage="shadow")
                await self.put(calm, by=BY_ITSELF, why=f"it stopped itself: {why}", recorded=_unrecorded)
            self.stopped.pop((rule_id, version), None)


def difference(before: Rule, after: Rule) -> dict[str, Sequence[Any]]:
    """Field → its two values, for each that differs."""
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return {name: [old[name], new[name]] for name in new if old[name] != new[name] and name != "version"}


def _compiled(rules: Sequence[Rule], lists: Sequence[Wordlist]) -> RuleSet:
    """Without those that can't be used by now: one of them is no reason to do without all."""
    compiled = []
    for rule in rules:
        try:
            compiled.append((rule, check_rule(rule)))
        except ValueError as error:
            log.error("spam_rule_unusable", rule_id=rule.id, why=str(error)[:300])
    return RuleSet.of(compiled, lists)


async def _unrecorded(tx: Tx, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
    """The version itself says who made it and why."""
