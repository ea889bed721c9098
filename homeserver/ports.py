"""What `homeserver` needs from parts above or beside it, as Protocols. `homeserver.app` passes the objects in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from homeserver.core.events import Draft, Event
from homeserver.core.filters import RoomEventFilter
from homeserver.core.identifiers import DeviceId, EventId, RoomAlias, RoomId, ServerName, UserId


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that comes from another server, and what that says of it."""

    pieces: AsyncIterator[bytes]
    content_type: str | None
    file_name: str | None


class RemoteMedia(Protocol):
    """Files of other servers. Implemented by federation."""

    def fetch(
        self, server_name: ServerName, media_id: str, timeout_ms: int, bytes_max: int
    ) -> AbstractAsyncContextManager[RemoteFile]:
        """Raises MatrixError: NotFound, TooLarge, a 502 where nobody answers."""
        ...


class MemberProfiles(Protocol):
    """What member events say of their users. Implemented by accounts."""

    async def member_fields(self, user_ids: Collection[UserId]) -> Mapping[UserId, Mapping[str, str]]:
        """displayname and avatar_url of users of this server, where set. One query."""
        ...


class Limits(Protocol):
    """How often each action may be done. Implemented by web.rate_limits."""

    def check(self, action: str, key: str, *, cost: float = 1.0) -> None:
        """Counts it for this key. Raises LimitExceeded where that is too often."""
        ...


class PolicyCheck(Protocol):
    """One link of the policy chain: looks at an event that a user of ours is about to send."""

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        """The draft as it may go on: unchanged, or altered. `room_id` is None while the room is being made.

        Raises MatrixError, with the reason that the sender is told, where it may not.
        """
        ...


class RemoteScreen(Protocol):
    """Looks at events of other servers before anybody sees them. Implemented by admin."""

    async def screen(self, room_id: RoomId, events: Sequence[Event]) -> Sequence[str | None]:
        """For each event why it is to be soft-failed, or None."""
        ...


class PolicyRefusals(Protocol):
    """Hears what policy servers of rooms refuse of users of ours. Implemented by admin."""

    def refused(self, event: Event, by: ServerName, why: str) -> None: ...


class PolicySignatures(Protocol):
    """Signatures of other servers that rooms have look at their events. Implemented by federation."""

    async def wanted(self, room_id: RoomId) -> bool:
        """Whether another server must sign what is sent into the room."""
        ...

    async def signed(self, room_id: RoomId, event: Event) -> Event:
        """The event with that signature. Raises MatrixError: Forbidden with the reason, 502 where nobody answers."""
        ...


class AbuseCheck(Protocol):
    """Looks at what accounts do outside of rooms. Implemented by admin."""

    async def check(
        self,
        hook: str,
        sender: str,
        *,
        content: Mapping[str, Any] | None = None,
        address: str = "",
        size: int = 0,
        hash: str = "",
    ) -> None:
        """`hook` is registration, login, profile, media, alias, report, publish, invite_address, to_device, contact or
        deactivation. Raises MatrixError where it may not be."""
        ...


class EarlierEvents(Protocol):
    """Where a room's timeline goes on when ours ends. Implemented by federation."""

    async def reach_back(self, room_id: RoomId, place: int, floor: int) -> bool:
        """Fetches events that are known to be missing between two places of the timeline. Whether any came."""
        ...

    async def find_at(self, room_id: RoomId, timestamp_ms: int, *, later: bool) -> tuple[EventId, int] | None:
        """The event nearest to a time that others know, with its time; what is needed to read from there is fetched."""
        ...


class RemoteProfiles(Protocol):
    """Profiles of users of other servers. Implemented by federation."""

    async def profile(self, user_id: UserId) -> dict[str, Any]:
        """All fields. Raises NotFound, and a 502 where nobody answers."""
        ...


class RemoteRooms(Protocol):
    """Rooms that live on other servers. Implemented by federation.

    Each raises MatrixError: NotFound or a 502 where nobody answers, Forbidden where the other side refuses.
    """

    async def join(
        self, user_id: UserId, room_id: RoomId, via: Sequence[ServerName], content: Mapping[str, Any]
    ) -> None: ...

    async def knock(
        self, user_id: UserId, room_id: RoomId, via: Sequence[ServerName], content: Mapping[str, Any]
    ) -> None: ...

    async def leave(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]) -> None:
        """Rejects an invite, or retracts a knock, in a room that this server isn't in."""
        ...

    async def check_reachable(self, servers: Collection[str]) -> None:
        """Before a room is made with users of these servers invited. Raises MatrixError where one can't be reached."""
        ...

    async def invite(self, room_id: RoomId, draft: Draft) -> Event:
        """Has the invited user's server sign the invite, and writes it."""
        ...

    async def resolve_alias(self, alias: RoomAlias) -> tuple[RoomId, Sequence[ServerName]]: ...

    async def hierarchy(self, room_id: RoomId, via: Sequence[ServerName]) -> Mapping[str, Any]:
        """What the first of these servers that answers says of a room: `room`, as it came. Not to be trusted."""
        ...

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """Another server's directory of rooms, as it answered."""
        ...


class ServerReach(Protocol):
    """Which other servers fail. Implemented by federation."""

    def is_failing(self, server: ServerName) -> bool: ...

    def try_again(self, server: ServerName) -> None:
        """What waits for a server that failed doesn't wait any longer."""
        ...


class Bridges(Protocol):
    """Application services and what is theirs. Implemented by appservices."""

    def check_user(self, user_id: UserId) -> None:
        """Raises MatrixError (M_EXCLUSIVE) for an id that only a bridge may give away."""
        ...

    def check_alias(self, alias: RoomAlias, user_id: UserId) -> None:
        """Raises MatrixError (M_EXCLUSIVE) for an alias that only a bridge may give away, and the user isn't of it."""
        ...

    def check_own(self, token: str | None, user_id: UserId) -> None:
        """Whether this is the token of a bridge whose namespace has the user.

        Raises MissingToken, UnknownToken; MatrixError (M_EXCLUSIVE) for a user who isn't its own.
        """
        ...

    def owns_alias(self, alias: RoomAlias, user_id: UserId) -> bool:
        """Whether the user is of a bridge whose namespace has the alias."""
        ...

    async def find_user(self, user_id: UserId) -> bool:
        """Asks the bridges for a user who isn't there, and so has one make it. Whether it is there now."""
        ...

    async def find_alias(self, alias: RoomAlias) -> bool:
        """The same for an alias."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchWish:
    """What is searched for: messages up to a position, whose `keys` have what `term` says, that `viewer` may see.

    `rooms` has, by room number, the places that the viewer may read as ascending ranges (first, last); None is open
    towards that end. `after` is the `SearchHit.cursor` to go on behind. Of what the senders of `erased` said, only what
    lies at those places of their own is found: the rest is shown to the viewer without its words.
    """

    term: str
    keys: Collection[str]
    order_by: str  # recent or rank
    viewer: UserId
    rooms: Mapping[int, Sequence[tuple[int | None, int | None]]]
    wanted: RoomEventFilter
    ignored: frozenset[str]
    upto: int
    limit: int
    after: tuple[float, int] | None = None
    erased: Sequence[tuple[frozenset[str], Mapping[int, Sequence[tuple[int | None, int | None]]]]] = ()


@dataclass(frozen=True, slots=True)
class SearchHit:
    """What was found: the number of the event, and of the event that says it (its latest edit)."""

    nid: int
    source_nid: int
    rank: float
    cursor: tuple[float, int]


@dataclass(frozen=True, slots=True)
class SearchFindings:
    """A page in the order asked for; `count` is of all that the viewer may see, up to the position `upto`.

    `words` are those of the term that are wanted, to be highlighted.
    """

    hits: Sequence[SearchHit]
    count: int
    upto: int
    words: Sequence[str]
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class SearchFacets:
    """How many of what was found there are: by number of the room, by sender, by month (UTC, `2025-03`).

    `counted` of all `count` were looked at: the newest. `is_partial` where not all could be searched.
    """

    count: int
    counted: int
    rooms: Mapping[int, int]
    senders: Mapping[str, int]
    months: Mapping[str, int]
    is_partial: bool = False


class MessageSearch(Protocol):
    """Search in messages. Implemented by search. Whatever it finds passes the read gate before it is shown."""

    async def find(self, wish: SearchWish) -> SearchFindings:
        """The first `limit`. Raises InvalidParam for a term that can't be meant so."""
        ...

    async def facets(self, wish: SearchWish) -> SearchFacets:
        """What all that is found is spread over; `order_by`, `limit` and `after` don't matter. Raises InvalidParam."""
        ...


class ContentKeeper(Protocol):
    """A place beside the table of events where content lies: an index, an archive, a queue of what waits to be sent.

    Each area that has one puts it into `Base.keepers` by name.
    """

    async def forget(self, user_id: UserId) -> int | None:
        """Lets go of what the user said, which the database has erased already; how many pieces, where it counts them.

        Returns once it has; raises what makes that impossible.
        """
        ...

    async def scrub(self) -> None:
        """Writes its files anew where they hold bytes of what it let go of."""
        ...


class KeptSearch(Protocol):
    """A search that somebody saved."""

    @property
    def search_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def term(self) -> str: ...


class SearchKeeping(Protocol):
    """Searches that tell their owners of what is new. Implemented by search."""

    async def of_user(self, user_id: UserId) -> Sequence[KeptSearch]: ...

    async def add(self, user_id: UserId, name: str, term: str, *, is_paused: bool = False) -> KeptSearch:
        """Raises InvalidParam, and M_RESOURCE_LIMIT_EXCEEDED for one too many."""
        ...

    async def remove(self, user_id: UserId, search_id: str) -> None:
        """Raises NotFound."""
        ...


class ThirdPartyNetworks(Protocol):
    """Networks that bridges reach. Implemented by appservices."""

    async def protocols(self) -> Mapping[str, Any]:
        """Protocol → its description, of all bridges together."""
        ...

    async def find(self, kind: str, protocol: str | None, fields: Mapping[str, str]) -> list[dict[str, Any]]:
        """Entries of `kind` ("user" or "location") that these fields name; empty where no bridge answers.

        Without a protocol, `fields` has what is looked up backwards: `alias` or `userid`.
        """
        ...


class RemoteKeys(Protocol):
    """Keys of users on other servers. Implemented by federation. Never raises for a server's fault."""

    async def query(self, wanted: Mapping[UserId, Collection[DeviceId]]) -> dict[str, Any]:
        """device_keys, master_keys, self_signing_keys and failures, as `POST /keys/query` answers."""
        ...

    async def claim(self, wanted: Sequence[tuple[UserId, DeviceId, str]]) -> dict[str, Any]:
        """one_time_keys and failures, as `POST /keys/claim` answers."""
        ...
