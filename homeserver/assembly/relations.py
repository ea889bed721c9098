"""What is read across events and rooms: relations, threads, search, spaces."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.oauth.browser import BrowserSessions
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.contacts import ContactParts
from homeserver.assembly.live import LiveParts
from homeserver.assembly.people import PeopleParts
from homeserver.assembly.rooms import RoomParts
from homeserver.assembly.search import build_saved_searches, build_search
from homeserver.assembly.sync import SyncSide
from homeserver.client_api.peeking import EventStream, RoomPeeking
from homeserver.client_api.relations import Relations
from homeserver.client_api.search import Search
from homeserver.client_api.search_pages import SearchPages
from homeserver.client_api.spaces import Spaces
from homeserver.client_api.visits import Visits
from homeserver.core.identifiers import EventId, UserId
from homeserver.rooms.commands.finding import RoomFinder
from homeserver.rooms.families import RoomFamilies
from homeserver.rooms.found_messages import FoundMessages
from homeserver.rooms.related import Related
from homeserver.rooms.remote_trees import RemoteTrees
from homeserver.rooms.search_everywhere import EverywhereSearch
from homeserver.rooms.searching import Searching
from homeserver.rooms.space_tree import SpaceTree
from homeserver.rooms.thread_subscriptions import ThreadSubscriptions
from homeserver.rooms.watching import RoomWatch
from search.hot.current import CurrentTier
from search.indexer import Indexer
from search.saved.api import SavedSearchEndpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationParts:
    """These reads, plugged together."""

    endpoints: list[object]
    searching: Searching
    indexer: Indexer
    everywhere: EverywhereSearch
    hot: CurrentTier


def threads_of(base: Base, parts: RoomParts, live: LiveParts) -> ThreadSubscriptions:
    threads = ThreadSubscriptions(base.world.db, parts.journal, parts.history)

    async def began(user_id: UserId, root: EventId) -> None:
        await live.rulesets.follow_threads(user_id)
        # What is said in it next then waits for nothing.
        await live.unread.threads.load([root])

    threads.began = began
    return threads


async def build_relations(
    base: Base,
    parts: RoomParts,
    commands: CommandParts,
    accounts: AccountParts,
    people: PeopleParts,
    contacts: ContactParts,
    sync: SyncSide,
) -> RelationParts:
    db, reads = base.world.db, parts.relation_reads
    spaces = SpaceTree(parts.rooms, RemoteTrees(commands.remote, base.world.clock), base.server_name)
    families = RoomFamilies(parts.rooms, spaces)
    search = await build_search(base, parts, families)
    searching = Searching(reads, parts.numbers, search.search, parts.ignore_lists, families)
    saved = await build_saved_searches(base, parts, search, people.notices)
    browser = BrowserSessions(db, base.world.clock, base.world.randomness)
    visits = Visits(browser, contacts.pages, base.config.base_url)
    return RelationParts(
        searching=searching,
        indexer=search.indexer,
        hot=search.hot,
        everywhere=EverywhereSearch(db, parts.store, search.search),
        endpoints=[
            Relations(Related(reads, parts.history, parts.ignore_lists), parts.views),
            Search(searching, parts.history, parts.views),
            SearchPages(visits, FoundMessages(searching, parts.rooms, parts.history), saved, base.limiter),
            SavedSearchEndpoints(saved, parts.views),
            RoomPeeking(db, parts.journal, parts.history, parts.views, accounts.account_data),
            EventStream(sync.service, parts.history, parts.views, parts.rooms, RoomWatch(parts.journal)),
            Spaces(spaces, RoomFinder(commands.aliases)),
        ],
    )
