"""Sign-ins at other services, and what they opened here: when one ends there, all that came of it ends.

A device belongs to the sign-in by which it came in, whatever the way from there: a login token, our pages and
OAuth 2.0, another device that let it in. Its refresh tokens go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from homeserver.accounts.oauth.grants import digest_of
from homeserver.accounts.sessions import Sessions
from homeserver.core.errors import Forbidden
from homeserver.journal.journal import Journal
from homeserver.runtime.clock import Clock
from homeserver.storage import upstream_sessions
from homeserver.storage.database import Database, Tx

log = structlog.get_logger()


class Replayed(Forbidden):
    """This order was followed before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a service wants ended: these `sessions`, or all of the person whom it calls `name`.

    `order` names this order, for ever; the same one counts once until `good_until_ts`, after which it is too old.
    None is for a service whose sessions end once.
    """

    provider: str
    order: str | None = None
    good_until_ts: int = 0
    name: str | None = None
    sessions: Sequence[str] = ()


class UpstreamSessions:
    """Ends what came of sign-ins elsewhere."""

    def __init__(self, db: Database, journal: Journal, sessions: Sessions, clock: Clock) -> None:
        self._db = db
        self._journal = journal
        self._sessions = sessions
        self._clock = clock

    async def knows(self, provider: str, session: str) -> bool:
        """Whether this session of a service has opened something here."""
        return await upstream_sessions.is_known(self._db, provider, digest_of(session))

    async def details(self, upstream: int | None) -> tuple[str, bytes] | None:
        """The service of a sign-in, and what it must be told to end it there."""
        return await upstream_sessions.details(self._db, upstream) if upstream is not None else None

    async def end(self, ending: Ending) -> None:
        """Ends them in one transaction with the note that it was done. Raises Replayed."""
        name = digest_of(ending.name) if ending.name is not None else None
        async with self._journal.write() as write:
            await self._use(write.tx, ending)
            sessions = [digest_of(one) for one in ending.sessions]
            upstreams = await upstream_sessions.find(write.tx, ending.provider, name, sessions)
            devices = await upstream_sessions.devices_of(write.tx, upstreams)
            for user_id, device_ids in devices.items():
                await self._sessions.end_devices_in(write, user_id, device_ids)
            await upstream_sessions.delete(write.tx, upstreams)
        for user_id in devices:
            self._sessions.account_changed(user_id)
        count = sum(map(len, devices.values()))
        log.info("signed_out_elsewhere", provider=ending.provider, sign_ins=len(upstreams), devices=count)

    async def _use(self, tx: Tx, ending: Ending) -> None:
        if ending.order is None:
            return
        order = digest_of(f"{ending.provider}\n{ending.order}")
        if not await upstream_sessions.use_logout(tx, order, ending.good_until_ts, self._clock.now_ms()):
            raise Replayed("this order was followed before")
