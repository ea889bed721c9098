"""Signing keys: which are believed, for what, for how long, and what it costs to ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import federation.keys.ring as ring_module
from federation.keys.documents import VALID_AHEAD_MS_MAX, BadKeys, own_document, parse_document
from federation.keys.fetching import KeyFetcher, Notary
from federation.keys.own import OwnKeys
from federation.keys.ring import ASK_AGAIN_MS, Keys, Signed, Verdict
from federation.storage.server_keys import OwnKeyRow
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer, encode_base64, signed_bytes
from homeserver.storage.database import Database
from tests.kit.authority import Authority
from tests.kit.clock import FakeClock
from tests.kit.federation import federated_server, signer_of
from tests.kit.peer import Peer, running_peer
from tests.kit.ports import free_port
from tests.kit.server import RunningServer
from tests.kit.until import until

NOW = 1_800_000_000_000
A = ServerName("a.test")
DAY = 86_400_000
Json = dict[str, Any]


def document(signer: Signer, *, until_ms: int = NOW + DAY, old: list[OwnKeyRow] | None = None, **changes: Any) -> Json:
    made = own_document(signer, old or [], until_ms)
    if not changes:
        return made
    return signer.sign_json({**{key: value for key, value in made.items() if key != "signatures"}, **changes})


def test_a_document_says_which_keys_and_until_when() -> None:
    """T-A7: no longer than a week from now, whatever it says."""
    signer, before = signer_of(A), signer_of(A, "before")
    old = [OwnKeyRow(before.key_id, before.verify_key, NOW - DAY)]
    parsed = parse_document(document(signer, until_ms=NOW + 100 * DAY, old=old), A, NOW)
    assert parsed.keys[signer.key_id].valid_until_ms == NOW + VALID_AHEAD_MS_MAX
    assert (parsed.keys[before.key_id].valid_until_ms, parsed.keys[before.key_id].is_old) == (NOW - DAY, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_name": "b.test"},
        {"valid_until_ts": "soon"},
        {"valid_until_ts": -1},
        {"valid_until_ts": 2**63},
        {"valid_until_ts": None},
        {"verify_keys": {}},
        {"verify_keys": []},
        {"verify_keys": {"ed25519:test": {"key": "AAAA"}}},
        {"verify_keys": {"ed25519:test": {"key": "?"}}},
        {"verify_keys": {"ed25519:test": {}}},
        {"verify_keys": {"ed25519:test": {"key": encode_base64(bytes(32))}}},
        {"verify_keys": {"ed25519:other": {"key": encode_base64(signer_of(A, "other").verify_key)}}},
        {"verify_keys": {"rsa:1": {"key": "AAAA"}}},
        {"verify_keys": {f"ed25519:{number}": {"key": "AAAA"} for number in range(200)}},
        {"old_verify_keys": {"ed25519:x": {"key": encode_base64(bytes(32))}}},
        {"signatures": {}},
        {"float": 1.5},
    ],
)
def test_other_documents_are_not_believed(wrong: Json) -> None:
    """T-A13, T-A19: of another server, not signed by each key, of other forms."""
    made = {**document(signer_of(A)), **wrong} if "signatures" in wrong else document(signer_of(A), **wrong)
    with pytest.raises(BadKeys):
        parse_document(made, A, NOW)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    [
                        "server_name",
                        "verify_keys",
                        "old_verify_keys",
                        "valid_until_ts",
                        "signatures",
                        "key",
                        "ed25519:a",
                    ]
                ),
                inner,
                max_size=5,
            ),
        ),
        max_leaves=20,
    )
)
def test_any_json_gives_keys_or_one_error(value: Any) -> None:
    """T-A13: fuzzing of key responses."""
    for made in (value, {**document(signer_of(A)), **value} if isinstance(value, dict) else value):
        try:
            parse_document(made, A, NOW)
        except BadKeys:
            continue


class FakeServers:
    """Answers of servers by path; counts what was asked. In the place of the client."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.vouched: dict[str, list[Any]] = {}
        self.asked: list[str] = []

    async def get(self, server: ServerName, path: str, **_: Any) -> Json:
        from federation.client import Unreachable

        self.asked.append(server)
        if server not in self.documents:
            raise Unreachable(server, "the test wants it so")
        found: Json = self.documents[server]
        return found

    async def post(self, server: ServerName, path: str, body: Mapping[str, Any], **_: Any) -> Json:
        self.asked.append(f"notary {sorted(body['server_keys'])}")
        return {"server_keys": self.vouched.get(server, [])}


def signed(signer: Signer, *, at: int | None = NOW, message: bytes = b"{}", is_request: bool = False) -> Signed:
    return Signed(signer.server_name, message, {signer.key_id: signer.signature(message)}, at, is_request=is_request)


@pytest.fixture
def servers() -> FakeServers:
    return FakeServers()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


async def ring(
    database: Database, servers: FakeServers, clock: FakeClock, notaries: list[Notary] | None = None
) -> Keys:
    own = OwnKeys(database, signer_of("here.test"), clock)
    await own.start()
    fetcher = KeyFetcher(servers, clock, notaries or [])  # type: ignore[arg-type]
    return Keys(database, fetcher, own, clock, ServerName("here.test"))


async def test_many_signatures_of_a_server_cost_one_question(
    database: Database, servers: FakeServers, clock: FakeClock
) -> None:
    """T-A14: and none at all once the keys are known, also after a restart."""
    signer = signer_of(A)
    servers.documents[A] = document(signer)
    keys = await ring(database, servers, clock)
    right = [signed(signer, message=b"%d" % number) for number in range(200)]
    wrong = Signed(A, b"other", right[0].signatures, NOW)
    assert await keys.verify([*right, wrong]) == [Verdict.VALID] * 200 + [Verdict.WRONG]
    assert servers.asked == [A]
    assert await (await ring(database, servers, clock)).verify(right[:1]) == [Verdict.VALID]
    assert servers.asked == [A]


async def test_dead_servers_are_not_asked_again_and_again(
    database: Database, servers: FakeServers, clock: FakeClock
) -> None:
    """T-A14: and cost others nothing."""
    servers.documents["b.test"] = document(signer_of("b.test"))
    keys = await ring(database, servers, clock)
    for _ in range(20):
        verdicts = await keys.verify([signed(signer_of(A)), signed(signer_of("b.test"))])
        assert verdicts == [Verdict.KEY_UNKNOWN, Verdict.VALID]
    assert servers.asked == [A, "b.test"]
    servers.documents[A] = document(signer_of(A))
    clock.advance(ASK_AGAIN_MS / 1000 + 1)
    assert await keys.verify([signed(signer_of(A))]) == [Verdict.VALID]


@pytest.mark.parametrize("is_notary", [True, False])
async def test_servers_that_never_answer_delay_nobody_else(
    database: Database, servers: FakeServers, clock: FakeClock, is_notary: bool
) -> None:
    """T-A14: whether a stranger has us vouch for hundreds of names that lead nowhere, or hundreds of such names, of
    one owner, sign what we get."""
    b = signer_of("b.test")
    servers.documents["b.test"] = document(b)
    answered = servers.get

    async def get(server: ServerName, path: str, **more: Any) -> Json:
        if server != "b.test":
            servers.asked.append(server)
            await asyncio.Event().wait()
        return await answered(server, path, **more)

    servers.get = get  # type: ignore[method-assign]
    keys = await ring(database, servers, clock)
    if is_notary:
        questions = [
            keys.documents({ServerName(f"a.{part}-{number}.test"): NOW for number in range(100)}) for part in range(3)
        ]
    else:
        questions = [keys.verify([signed(signer_of(f"a{number}.evil.test"))]) for number in range(300)]  # type: ignore[misc]
    waiting = [asyncio.ensure_future(question) for question in questions]

    async def are_asked() -> bool:
        return len(servers.asked) >= 20

    try:
        await until(are_asked, within_s=30)
        async with asyncio.timeout(30):
            assert await keys.verify([signed(b)]) == [Verdict.VALID]
    finally:
        for task in [*waiting, *keys._fetching.values()]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (None, Verdict.VALID),  # room versions 1 to 4
        (NOW, Verdict.VALID),
        (NOW + DAY, Verdict.VALID),
        (NOW + DAY + 1, Verdict.KEY_NOT_VALID),
    ],
)
async def test_a_key_is_good_for_its_time(
    database: Database, servers: FakeServers, clock: FakeClock, at: int | None, verdict: Verdict
) -> None:
    """T-A7"""
    servers.documents[A] = document(signer_of(A))
    assert await (await ring(database, servers, clock)).verify([signed(signer_of(A), at=at)]) == [verdict]


async def test_old_keys_are_for_events_from_their_time(
    database: Database, servers: FakeServers, clock: FakeClock
) -> None:
    """T-A7: and never for requests."""
    before = signer_of(A, "before")
    servers.documents[A] = document(signer_of(A), old=[OwnKeyRow(before.key_id, before.verify_key, NOW + DAY)])
    keys = await ring(database, servers, clock)
    wanted = [signed(before), signed(before, at=NOW + DAY + 1), signed(before, is_request=True)]
    assert await keys.verify(wanted) == [Verdict.VALID, Verdict.KEY_NOT_VALID, Verdict.KEY_NOT_VALID]


async def test_an_older_document_takes_nothing_back(database: Database, servers: FakeServers, clock: FakeClock) -> None:
    """T-A13: rollback. What a newer document ended stays ended."""
    before, after = signer_of(A, "before"), signer_of(A, "after")
    stale = document(before, until_ms=NOW + DAY)
    servers.documents[A] = document(
        after, until_ms=NOW + 2 * DAY, old=[OwnKeyRow(before.key_id, before.verify_key, NOW - 1)]
    )
    keys = await ring(database, servers, clock)
    assert await keys.verify([signed(before), signed(after)]) == [Verdict.KEY_NOT_VALID, Verdict.VALID]
    servers.documents[A] = stale
    clock.advance(3600)
    assert await keys.verify([signed(before, at=NOW + 1)]) == [Verdict.KEY_NOT_VALID]


async def test_a_document_for_ever_can_be_taken_back(
    database: Database, servers: FakeServers, clock: FakeClock
) -> None:
    """T-A13, T-A7: neither what says it is good for ever nor what says it ends in a thousand years keeps a key in use
    that its server has ended since."""
    before, after = signer_of(A, "before"), signer_of(A, "after")
    far = NOW + 365_000 * DAY
    oldest = OwnKeyRow(signer_of(A, "oldest").key_id, signer_of(A, "oldest").verify_key, far)
    servers.documents[A] = document(before, until_ms=far, old=[oldest])
    keys = await ring(database, servers, clock)
    assert await keys.verify([signed(before), signed(before, at=NOW + 8 * DAY)]) == [
        Verdict.VALID,
        Verdict.KEY_NOT_VALID,
    ]
    assert await keys.verify([signed(signer_of(A, "oldest"), at=NOW + 8 * DAY)]) == [Verdict.KEY_NOT_VALID]
    servers.documents[A] = document(after, old=[OwnKeyRow(before.key_id, before.verify_key, NOW + 1)])
    clock.advance(8 * 3600)
    assert await keys.verify([signed(after)]) == [Verdict.VALID]
    assert await keys.verify([signed(before, at=NOW + 2)]) == [Verdict.KEY_NOT_VALID]


async def test_a_server_has_so_many_keys(
    database: Database, servers: FakeServers, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-A13, T-E13: who publishes new keys without end loses those before, in the database too; nobody else loses any,
    and what the newest document lists stays."""
    monkeypatch.setattr(ring_module, "KEYS_OF_SERVER_MAX", 4)
    other = signer_of("b.test")
    servers.documents["b.test"] = document(other)
    keys = await ring(database, servers, clock)
    assert await keys.verify([signed(other)]) == [Verdict.VALID]
    oldest = signer_of(A, "oldest")
    old = [OwnKeyRow(oldest.key_id, oldest.verify_key, NOW - 10 * DAY)]
    signers = [signer_of(A, f"n{number}") for number in range(6)]
    for number, newest in enumerate(signers):
        servers.documents[A] = document(newest, until_ms=NOW + DAY + number, old=old)
        clock.advance(60)
        assert await keys.verify([signed(newest)]) == [Verdict.VALID]
    kept = await database.fetch("SELECT server_name, key_id FROM server_keys ORDER BY server_name, key_id")
    names = ["ed25519:n3", "ed25519:n4", "ed25519:n5", "ed25519:oldest"]
    assert [tuple(row) for row in kept] == [*((A, name) for name in names), ("b.test", other.key_id)]
    again = await ring(database, FakeServers(), clock)
    at = NOW - 11 * DAY
    wanted = [signed(oldest, at=at), signed(signers[-1]), signed(signers[0]), signed(other)]
    verdicts = [Verdict.VALID, Verdict.VALID, Verdict.KEY_UNKNOWN, Verdict.VALID]
    for one in (keys, again):
        assert await one.verify(wanted) == verdicts


async def test_the_memory_of_keys_is_bounded(
    database: Database, servers: FakeServers, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E13: by keys, for a server may list two hundred."""
    monkeypatch.setattr(ring_module, "KEYS_HELD_MAX", 3)
    keys = await ring(database, servers, clock)
    for number in range(9):
        signer = signer_of(f"{number}.test")
        servers.documents[f"{number}.test"] = document(signer)
        assert await keys.verify([signed(signer)]) == [Verdict.VALID]
    asked = len(servers.asked)
    assert sum(len(known) for known in keys._known.values()) == 3
    assert await keys.verify([signed(signer_of("0.test"))]) == [Verdict.VALID]
    assert len(servers.asked) == asked


async def test_notaries_speak_for_servers_that_are_gone(
    database: Database, servers: FakeServers, clock: FakeClock
) -> None:
    """T-A13: a notary's answer needs both signatures, and is taken for the servers asked about only."""
    notary = signer_of("notary.test")
    trusted = [Notary(notary.server_name, {notary.key_id: notary.verify_key})]
    gone, other, unsigned = signer_of(A), signer_of("b.test"), signer_of("c.test")
    servers.vouched["notary.test"] = [
        notary.sign_json(document(gone)),
        notary.sign_json(document(signer_of("unasked.test"))),
        notary.sign_json({**document(other), "valid_until_ts": NOW + 9}),
        document(unsigned),
        "nonsense",
    ]
    keys = await ring(database, servers, clock, trusted)
    verdicts = await keys.verify([signed(gone), signed(other), signed(unsigned)])
    assert verdicts == [Verdict.VALID, Verdict.KEY_UNKNOWN, Verdict.KEY_UNKNOWN]
    assert [row["server_name"] for row in await database.fetch("SELECT server_name FROM server_keys")] == [A]


@pytest.mark.parametrize(
    "signatures", [{}, {"rsa:1": "x"}, {"ed25519:": "x"}, {"ed25519:test": 5}, {"ed25519:test": None}]
)
async def test_other_signatures_are_none(
    database: Database, servers: FakeServers, clock: FakeClock, signatures: Json
) -> None:
    """T-A19: never an exception."""
    servers.documents[A] = document(signer_of(A))
    verdict = (await (await ring(database, servers, clock)).verify([Signed(A, b"{}", signatures, NOW)]))[0]
    assert verdict in (Verdict.UNSIGNED, Verdict.WRONG)


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def test_our_own_keys_and_their_rotation(database_dsn: str, authority: Authority, peer: Peer) -> None:
    """A key that another took the place of is published as old, from the moment on that it was."""
    port = free_port()
    path = "/_matrix/key/v2/server"
    async with federated_server(database_dsn, authority, port=port, key_version="first") as server:
        name = server.hansa.config.server_name
        assert list((await peer.ask_json("GET", name, path))["verify_keys"]) == ["ed25519:first"]
    async with federated_server(database_dsn, authority, port=port, key_version="second"):
        found = await peer.ask_json("GET", name, path)
        assert list(found["verify_keys"]) == ["ed25519:second"]
        assert list(found["old_verify_keys"]) == ["ed25519:first"]
        parse_document(found, ServerName(name), found["valid_until_ts"])


async def test_we_vouch_for_others(here: RunningServer, peer: Peer) -> None:
    """Both forms of the query; signed by both servers; nothing for servers that can't be had."""
    name = here.hansa.config.server_name
    key_id, key = here.hansa.signer.key_id, here.hansa.signer
    single = await peer.ask_json("GET", name, f"/_matrix/key/v2/query/{peer.name}?minimum_valid_until_ts=1")
    wanted: Json = {"server_keys": {peer.name: {"ed25519:test": {}}, "localhost:1": {}, name: {}}}
    several = await peer.ask_json("POST", name, "/_matrix/key/v2/query", wanted)
    assert [entry["server_name"] for entry in single["server_keys"]] == [peer.name]
    assert sorted(entry["server_name"] for entry in several["server_keys"]) == sorted([peer.name, name])
    vouched = single["server_keys"][0]
    assert vouched["signatures"][name][key_id] == key.signature(signed_bytes(vouched))
    assert await peer.ask_json("POST", name, "/_matrix/key/v2/query", {"server_keys": {}}) == {"server_keys": []}


@pytest.mark.parametrize(
    "body",
    [{}, {"server_keys": []}, {"server_keys": {"a b": {}}}, {"server_keys": {f"s{n}.test": {} for n in range(500)}}],
)
async def test_odd_queries_are_refused(here: RunningServer, peer: Peer, body: Json) -> None:
    answer = await peer.ask("POST", here.hansa.config.server_name, "/_matrix/key/v2/query", body)
    assert 400 <= answer.status < 500
    assert json.loads(answer.body)["errcode"].startswith("M_")
