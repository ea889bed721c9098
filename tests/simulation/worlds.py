"""A world from a seed: what its people do, what befalls its servers and the network, and what must be so in the end.

A world is a list of acts, made before anything runs: the same list gives the same run, and a shorter one is a smaller
case (`shrunk`).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from homeserver.core.auth_rules import check_auth, check_auth_events
from homeserver.core.errors import MissingEvents, RuleBroken
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.storage.events import REJECTED
from tests.kit.server import Client
from tests.simulation.liar import LIES, Liar
from tests.simulation.virtual_loop import VirtualLoop, run
from tests.simulation.virtual_network import VirtualNetwork, Weather
from tests.simulation.virtual_servers import OpenDatabase, VirtualServer

# What two servers need who have lost each other shortly, and what the longest of waits needs.
ROUNDS_S = (2.0, 10.0, *(40.0 for _ in range(11)))
# After so many of them whoever is still alone leaves and comes back.
ROUNDS_ALONE = 5
ACT_S = 60.0
DOWN_S = 5.0
STARTING_S = 1.0

SHORT_ACTS = 15
VERSIONS = ("6", "9", "10", "11", "12", "2", "12")


class Broken(AssertionError):
    """A property doesn't hold: the text says which."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happens. `who` is the number of a server, `what` the kind, `rest` what the kind needs."""

    what: str
    who: int = 0
    rest: tuple[Any, ...] = ()
    beside: bool = False  # while the next one happens too


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole world."""

    seed: int
    version: str
    servers: int
    lies: bool
    acts: tuple[Act, ...]
    moves: bool = False  # people leave and come again


@dataclass(slots=True)
class Outcome:
    """How it went. `fingerprint` is the same for the same plan, always."""

    fingerprint: str
    events: int
    steps: int
    virtual_s: float
    crashes: int
    problem: str | None = None
    trace: list[str] = field(default_factory=list)


def plan(seed: int, version: str, *, acts: int, servers: int = 2, lies: bool = False, moves: bool = False) -> Plan:
    """The world of a seed."""
    chance = random.Random(f"plan {seed} {version}")
    made = [_act(chance, servers, number, lies=lies, moves=moves) for number in range(acts)]
    return Plan(seed, version, servers, lies, tuple(made), moves)


def short(seed: int) -> Plan:
    """A world of a second: two servers or three, a few acts, all room versions in turn.

    Each third is without liars; in each fourth people leave and come again.
    """
    version = VERSIONS[seed % len(VERSIONS)]
    servers = 3 if seed % 5 == 0 else 2
    return plan(seed, version, acts=SHORT_ACTS, servers=servers, lies=seed % 3 > 0, moves=seed % 4 == 0)


def _act(chance: random.Random, servers: int, number: int, *, lies: bool, moves: bool) -> Act:
    who, beside = chance.randrange(servers), chance.random() < 0.5
    kinds: dict[str, float] = {
        "say": 6, "topic": 2, "name": 1, "moderate": 1.5, "power": 0.7, "sync": 3, "wait": 1.5,
        "weather": 2, "calm": 1, "crash": 0.8, "clock": 0.4, "full": 0.3, "lie": 2.0 if lies else 0.0,
        "leave": 2.0 if moves else 0.0, "join": 2.0 if moves else 0.0,
    }  # fmt: skip
    what = chance.choices(list(kinds), list(kinds.values()))[0]
    rest: tuple[Any, ...] = (number,)
    if what == "moderate":
        rest = (chance.choice(["kick", "ban", "unban"]), chance.randrange(3), chance.randrange(servers))
    elif what == "power":
        rest = (chance.randrange(3), chance.choice([0, 25, 50]))
    elif what == "wait":
        rest = (chance.choice([0.01, 1, 10, 90]),)
    elif what == "weather":
        pairs = [pair for pair in itertools.combinations(range(servers), 2) if chance.random() < 0.3]
        rest = (
            chance.choice([0, 0.1, 0.5]),
            chance.choice([0, 0.3]),
            chance.choice([0, 0.3]),
            chance.choice([0, 0.05, 2]),
            tuple(pairs),
        )
    elif what == "crash":
        rest = (chance.randint(0, 30), chance.random() < 0.5)
    elif what == "clock":
        rest = (chance.choice([-3_600_000, -5_000, 5_000, 3_600_000]),)
    elif what == "full":
        rest = (chance.random() < 0.5,)
    elif what == "lie":
        rest = (chance.choice(LIES),)
    return Act(what, who, rest, beside)


class Play:
    """A plan while it runs."""

    def __init__(self, plan: Plan, network: VirtualNetwork, servers: Sequence[VirtualServer]) -> None:
        self.plan = plan
        self.network = network
        self.servers = servers
        self.users: list[Client] = []
        self.room_id = ""
        self.said: dict[str, int] = {}
        self.seen: list[list[str]] = [[] for _ in servers]
        self.gaps = [0] * len(servers)
        self._since: list[str | None] = [None] * len(servers)
        self._number = itertools.count()
        self.liar: Liar | None = None

    async def begin(self) -> None:
        for number, server in enumerate(self.servers):
            await server.start()
            self.users.append(await server.user(f"user{number}"))
        levels = {"users_default": 50, "state_default": 50, "ban": 50, "kick": 50}
        self.room_id = await self.users[0].create_room(
            preset="public_chat", room_version=self.plan.version, power_level_content_override=levels
        )
        for user in self.users[1:]:
            (await user.post(f"/join/{{}}?via={self.servers[0].name}", self.room_id)).ok()
        if self.plan.lies:
            self.liar = Liar(self.network, str(self.plan.seed), ROOM_VERSIONS[self.plan.version])
            await self.liar.join(self.servers[0].name, self.room_id)
            body: dict[str, Any] = {**levels, "users": {self.liar.user_id: 0}}
            if not ROOM_VERSIONS[self.plan.version].creators_have_infinite_power:
                body["users"][self.users[0].user_id] = 100
            (await self.users[0].put("/rooms/{}/state/m.room.power_levels", self.room_id, body=body)).ok()

    async def run(self) -> None:
        under_way: list[asyncio.Task[None]] = []
        for act in self.plan.acts:
            task = asyncio.get_running_loop().create_task(self._act(act))
            under_way.append(task)
            if not act.beside:
                await asyncio.gather(*under_way)
                under_way.clear()
        await asyncio.gather(*under_way)

    async def _act(self, act: Act) -> None:
        """A refusal is as good as an answer; a server that is down answers nothing, and comes back."""
        server = self.servers[act.who]
        try:
            async with asyncio.timeout(ACT_S * 5):
                await getattr(self, "_" + act.what)(act)
        except (ConnectionError, TimeoutError):
            pass
        if not server.is_up and not server.is_starting:
            await asyncio.sleep(DOWN_S)
            await self._up(server)

    async def _up(self, server: VirtualServer) -> None:
        if not server.is_up and not server.is_starting:
            await server.restart()

    async def _say(self, act: Act) -> None:
        text = f"m{act.rest[0]}"
        path = f"/rooms/{{}}/send/m.room.message/{text}"
        answer = await self.users[act.who].put(path, self.room_id, body={"msgtype": "m.text", "body": text})
        if answer.status == 200:
            self.said[answer.json["event_id"]] = act.who

    async def _topic(self, act: Act) -> None:
        body = {"topic": f"t{act.rest[0]}"}
        await self.users[act.who].put("/rooms/{}/state/m.room.topic", self.room_id, body=body)

    async def _name(self, act: Act) -> None:
        await self.users[act.who].put("/rooms/{}/state/m.room.name", self.room_id, body={"name": f"n{act.rest[0]}"})

    def _somebody(self, number: int) -> str:
        return f"@somebody{number}:{self.servers[number % len(self.servers)].name}"

    async def _moderate(self, act: Act) -> None:
        verb, number, _ = act.rest
        body = {"user_id": self._somebody(number)}
        await self.users[act.who].post(f"/rooms/{{}}/{verb}", self.room_id, body=body)

    async def _power(self, act: Act) -> None:
        """Levels of people who aren't there, so that those who are may go on."""
        number, level = act.rest
        user = self.users[act.who]
        answer = await user.get("/rooms/{}/state/m.room.power_levels", self.room_id)
        if answer.status == 200:
            body = dict(answer.json)
            body["users"] = {**body.get("users", {}), self._somebody(number): level}
            await user.put("/rooms/{}/state/m.room.power_levels", self.room_id, body=body)

    async def _sync(self, act: Act) -> None:
        await self.look(act.who)

    async def _wait(self, act: Act) -> None:
        await asyncio.sleep(act.rest[0])

    async def _weather(self, act: Act) -> None:
        lost, unanswered, repeated, delay_s, pairs = act.rest
        parted = {frozenset((self.servers[a].name, self.servers[b].name)) for a, b in pairs}
        self.network.weather = Weather(lost, unanswered, repeated, delay_s, parted)

    async def _calm(self, act: Act) -> None:
        self.network.heal()

    async def _crash(self, act: Act) -> None:
        statements, answered = act.rest
        if self.servers[act.who].is_up:
            self.servers[act.who].crash(statements, answered=answered)
            await self._say(Act("say", act.who, (f"c{next(self._number)}",)))

    async def _clock(self, act: Act) -> None:
        self.servers[act.who].clock.ahead_ms += act.rest[0]

    async def _full(self, act: Act) -> None:
        self.servers[act.who].db.is_full = act.rest[0]

    async def _leave(self, act: Act) -> None:
        answer = await self.users[act.who].post("/rooms/{}/leave", self.room_id)
        if answer.status == 200:
            # What whoever leaves couldn't tell before stays with them: coming back elsewhere, they go on from there.
            self.said = {event_id: who for event_id, who in self.said.items() if who != act.who}

    async def _join(self, act: Act) -> None:
        """Through whichever of the others can be had; where nobody is in any more, the own server goes on."""
        others = [server.name for number, server in enumerate(self.servers) if number != act.who]
        via = "&".join(f"via={name}" for name in others)
        await self.users[act.who].post(f"/join/{{}}?{via}", self.room_id)

    async def _lie(self, act: Act) -> None:
        if self.liar is not None:
            await self.liar.lie(act.rest[0], [server.name for server in self.servers])

    # --- looking

    async def look(self, who: int) -> None:
        """A sync of a user, whose events are noted in their order."""
        user, since = self.users[who], self._since[who]
        query = {"filter": '{"room":{"timeline":{"limit":1000}}}', "timeout": "0"}
        answer = await user.get("/sync", **query, **({"since": since} if since else {}))
        if answer.status != 200:
            return
        if self._since[who] != since:
            return  # another look was under way, and was faster
        room = answer.json.get("rooms", {}).get("join", {}).get(self.room_id, {})
        self._since[who] = answer.json["next_batch"]
        timeline = room.get("timeline", {})
        if timeline.get("limited"):
            # As clients do: what lies in the gap is read when somebody scrolls there, which is in the end.
            self.gaps[who] += 1
            if self.plan.moves:
                self.seen[who].clear()  # who comes back is told from the start
        self.seen[who] += [event["event_id"] for event in timeline.get("events", [])]

    async def timeline(self, who: int) -> list[dict[str, Any]]:
        """All that a user can read, oldest first."""
        found: list[dict[str, Any]] = []
        start = None
        while True:
            query = {"dir": "b", "limit": "100"} | ({"from": start} if start else {})
            page = (await self.users[who].get("/rooms/{}/messages", self.room_id, **query)).ok()
            found += page["chunk"]
            start = page.get("end")
            if start is None:
                return found[::-1]

    async def state(self, who: int) -> dict[tuple[str, str], str]:
        answer = await self.users[who].get("/rooms/{}/state", self.room_id)
        if answer.status == 503:
            return {}  # who came back has yet to be told of the members
        found = answer.ok()
        return {(event["type"], event["state_key"]): event["event_id"] for event in found}

    # --- the end

    async def settle(self) -> None:
        """Good weather, right clocks, free disks, all servers up: then all must agree within some minutes."""
        self.network.heal()
        self.liar = None
        for server in self.servers:
            server.clock.ahead_ms = 0
            while not server.is_up:
                if server.is_starting:
                    await asyncio.sleep(STARTING_S)
                else:
                    await server.restart()
            server.db.is_full = False
            server.db.spare()
        why = ""
        for number, round_s in enumerate(ROUNDS_S):
            await asyncio.sleep(round_s)
            if self.plan.moves and number == ROUNDS_ALONE:
                await self._come_anew()
            for who in range(len(self.users)):
                if self.plan.moves:
                    await self._join(Act("join", who))
                await self._say(Act("say", who, (f"last{number}.{who}",)))
            await asyncio.sleep(round_s)
            why = await self._difference()
            if not why:
                return
        raise Broken(why)

    async def _come_anew(self) -> None:
        """What people do to whom nobody answers: a leave that came late may count more than the join after it."""
        for who in range(len(self.users)):
            await self._leave(Act("leave", who))
            await self._join(Act("join", who))

    async def _difference(self) -> str:
        states = [await self.state(who) for who in range(len(self.users))]
        if not all(states):
            return "a server still asks for the members"
        for who, state in enumerate(states[1:], 1):
            if state != states[0]:
                keys = sorted(key for key in {*state, *states[0]} if state.get(key) != states[0].get(key))
                told = [(key, states[0].get(key), state.get(key)) for key in keys]
                return f"servers 0 and {who} have different states: {told}"
        for who in range(len(self.users)):
            here = {event["event_id"] for event in await self.timeline(who)}
            missing = [event_id for event_id in self.said if event_id not in here]
            if missing:
                return f"server {who} lacks {len(missing)} acknowledged messages, as {missing[0]}"
        return ""

    async def check(self) -> None:
        for who in range(len(self.users)):
            await self.look(who)
            await self._check_order(who)
            await self._check_state(who)

    async def _check_order(self, who: int) -> None:
        """Each event once, in the order of the room's timeline."""
        seen = self.seen[who]
        twice = [event_id for event_id in set(seen) if seen.count(event_id) > 1]
        if twice:
            raise Broken(f"user {who} saw {twice[0]} {seen.count(twice[0])} times")
        order = [event["event_id"] for event in await self.timeline(who)]
        places = {event_id: place for place, event_id in enumerate(order)}
        found = [places[event_id] for event_id in seen if event_id in places]
        if found != sorted(found):
            raise Broken(f"user {who} saw events out of order: {found}")
        lacking = [event_id for event_id in self.said if event_id not in seen]
        if lacking and not self.gaps[who]:
            raise Broken(f"user {who} never saw {lacking[0]} in a sync")

    async def _check_state(self, who: int) -> None:
        """Nothing in the state that the rules reject, judged by what each event itself cites."""
        server = self.servers[who]
        room = await server.hansa.rooms.rooms.get(RoomId(self.room_id))
        assert room is not None
        store = server.hansa.rooms.store
        state = await server.hansa.rooms.rooms.full_state(room)
        for stored in state:
            event = stored.event
            cited = await store.by_ids(set(event.auth_event_ids))
            try:
                _judge(event, [one.event for one in cited.values()])
            except (RuleBroken, MissingEvents) as broken:
                raise Broken(f"server {who} has {event} in its state: {broken}") from None
            if stored.flags & REJECTED:
                raise Broken(f"server {who} has the rejected {event} in its state")


def _judge(event: Event, cited: Sequence[Event]) -> None:
    check_auth_events(event, cited, rejected=set())
    state = {one.key: one for one in cited}
    if event.version.room_id_from_create_event and event.type != "m.room.create":
        return  # the create event isn't cited there
    check_auth(event, state)


async def _played(loop: VirtualLoop, plan: Plan, databases: Sequence[OpenDatabase], folder: Path) -> Outcome:
    network = VirtualNetwork(loop, plan.seed)
    servers = [
        VirtualServer(network, database, folder / str(number), 30_000 + number, str(plan.seed))
        for number, database in enumerate(databases[: plan.servers])
    ]
    play = Play(plan, network, servers)
    outcome = Outcome("", 0, 0, 0.0, 0)
    try:
        await play.begin()
        await play.run()
        await play.settle()
        await play.check()
    except Broken as broken:
        outcome.problem = str(broken)
    finally:
        for server in servers:
            if not hasattr(server, "db"):
                continue  # what went wrong came before its start
            if not server.db.is_dead:
                outcome.events += await server.db.fetchval("SELECT count(*) FROM events")
            await server.stop()
    outcome.fingerprint, outcome.trace = network.fingerprint, network.trace
    outcome.steps, outcome.virtual_s = loop.steps, loop.time() - 1_000
    outcome.crashes = sum(server.crashes for server in servers)
    return outcome


def played(plan: Plan, databases: Sequence[OpenDatabase]) -> Outcome:
    """Runs a world on fresh databases, one for each server."""
    with tempfile.TemporaryDirectory(prefix="hansa-world-") as folder:
        return run(f"{plan.seed}", lambda loop: _played(loop, plan, databases, Path(folder)))


def shrunk(plan: Plan, fails: Callable[[Plan], bool], *, tries: int = 60) -> Plan:
    """A plan that fails too, with as few acts as so many tries could find."""
    size = max(1, len(plan.acts) // 2)
    while tries > 0:
        at = 0
        while at < len(plan.acts) and tries > 0:
            acts = plan.acts[:at] + plan.acts[at + size :]
            smaller = replace(plan, acts=acts)
            tries -= 1
            if fails(smaller):
                plan = smaller
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return plan
