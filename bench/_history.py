"""A long history of many rooms, as real servers have them: made by processes, copied into the database.

Messages are in English, German, Chinese, Japanese, Korean and code; words come as often as words do (Zipf). Some are
edited, redacted, answered. Rooms are of very different sizes, and the months grow as a server's do: half of all that
was said lies in the first 102 of 144 months. Each message is an event as a server signs it, chained to the one before.

What a search must find is noted while the texts are made, by looks of its own at each text: no part of the search.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt

from homeserver.core.events import Event, sign_event
from homeserver.core.identifiers import ServerName
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import Signer
from homeserver.storage.database import Reader
from homeserver.storage.relations import row_of

MONTHS = 144
MONTH_MS = 2_629_800_000
CHUNK = 20_000
PROCESSES = 2
LANGUAGES = ("english", "german", "chinese", "japanese", "korean", "code")
SHARES = (45, 10, 18, 10, 7, 10)
# Of a hundred messages.
EDITS, REDACTIONS, THREADS, REPLIES = 2.0, 0.5, 3.0, 5.0
LATEST = 10  # so many of a room may still be edited, redacted or answered

_COMMON = {
    "english": "the to and of a in is it for on that we you this not be have with are can but as if at was will so do "
    "from or just there all what need about server one time like work think room now get good see how when they "
    "message update today release test build issue week team meeting deploy client user report harbour change",
    "german": "die der und in das ist nicht ich es zu den mit auf ein für wir sie auch dass von eine aber noch "
    "bereits wenn heute morgen Straße Brücke Übersetzung größer schön Fenster Büro prüfen Änderung Lübeck",
    "chinese": "的 我们 是 了 今天 服务器 不 在 这个 可以 有 升级 完成 问题 消息 大家 明天 会议 检查 日志 "
    "数据库 天气 港口 系统 测试 发布 需要 没有 什么 时间 工作 房间",
    "japanese": "の は です ます を に が サーバー 今日 明日 会議 確認 お願いします ありがとう 更新 完了 東京 "
    "問題 メッセージ テスト 部屋 時間 仕事 天気 港",
    "korean": "그리고 오늘 서버가 복구되었습니다 회의 내일 확인 부탁드립니다 감사합니다 문제 업데이트 완료 "
    "시간 테스트 메시지 항구 데이터베이스 사용자",
}
_LATIN = ("ba be bi bo bra ce chi da der di du e en fa fer ga gen hal i ka ke kon la ler li lo ma men mi mo na ner "
          "no o pa per po ra re ri ro sa sche si ta te ter ti to tra u un va ver vi wa zu").split()  # fmt: skip
_HAN = "人大中小上下天地山水火木金土日月年时事物国家学生先后前来去看说想知道心手口目耳语文字书画车船飞机电话网络软硬件"
_KANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン"
_HANGUL = "가나다라마바사아자차카타파하고노도로모보소오조초코토포호구누두루무부수우주추쿠투푸후"
_VERBS = "get set load save parse build merge split fetch push check close".split()
_NOUNS = "Buffer Config Handler Index Journal Parser Queue Record Schema Token Window Worker".split()
_FILES = ("src/main.rs", "lib/util.py", "var/log/syslog", "docs/README.md", "etc/fstab", "test/conftest.py")
_VOCABULARY = {"english": 40_000, "german": 20_000, "chinese": 20_000, "japanese": 10_000, "korean": 10_000}


def vocabulary(language: str) -> list[str]:
    """Words, the commonest first: those that everybody uses, then made ones."""
    chance = random.Random(language)
    words = dict.fromkeys(_COMMON[language].split())
    letters: Sequence[str] = {"chinese": _HAN, "japanese": _KANA + _HAN, "korean": _HANGUL}.get(language, _LATIN)
    least, most = (2, 5) if letters is _LATIN else (2, 4)
    while len(words) < _VOCABULARY[language]:
        words["".join(chance.choices(letters, k=chance.randint(least, most)))] = None
    return list(words)


class Texts:
    """Makes messages. Of the same chance the same."""

    def __init__(self) -> None:
        self._words = {language: vocabulary(language) for language in _VOCABULARY}
        self._weights = {
            language: list(accumulate(1 / (rank + 3) for rank in range(len(words))))
            for language, words in self._words.items()
        }

    def one(self, chance: random.Random) -> str:
        language = chance.choices(LANGUAGES, SHARES)[0]
        if language == "code":
            return self._code(chance)
        size = max(1, int(chance.expovariate(1 / 9)))
        words = chance.choices(self._words[language], cum_weights=self._weights[language], k=size)
        if language == "chinese":
            return "".join(words) + chance.choice(("", "。", "！", "？", " OK"))
        if language == "japanese":
            return "".join(words) + chance.choice(("", "。", "。", " (笑)"))
        return " ".join(words) + chance.choice(("", ".", "!", "?"))

    def _code(self, chance: random.Random) -> str:
        name = chance.choice(_VERBS) + chance.choice(_NOUNS) + chance.choice(_NOUNS)
        number = chance.randrange(100_000)
        return chance.choice(
            (
                f"{name} throws at {chance.choice(_FILES)}:{number}",
                f"```\nfn {name}(x: u{chance.choice((8, 16, 32))}) -> Result<()>\n```",
                f"fixed in ABC-{number}, see https://git.example.org/{name}/issues/{number}",
                f"{chance.choice(_VERBS)}_{chance.choice(_NOUNS).lower()}_{number} = v{number % 9}.{number % 31}",
            )
        )


@dataclass(frozen=True, slots=True)
class Term:
    """What is searched for, with the class that it is reported under."""

    kind: str
    text: str


def terms() -> list[Term]:
    """The words that are looked for; how often each comes is told by what was made."""
    found: list[Term] = []
    for language in ("english", "german"):
        words = vocabulary(language)
        found += [Term("common word", word) for word in words[30 if language == "english" else 22 :][:5]]
        found += [Term("rare word", word) for word in words[8_000:8_020] if len(word) > 5][:3]
    for language in ("chinese", "japanese", "korean"):
        words = vocabulary(language)
        found += [Term("CJK word", word) for word in words[4:22:6]]
        found += [Term("rare CJK word", word) for word in words[4_000:4_002]]
    found += [Term("code", "parseConfigHandler"), Term("code", "ABC-1234"), Term("code", "lib/util.py")]
    found += [Term("phrase", '"of the"'), Term("phrase", '"we can"'), Term("phrase", '"是今天"')]
    return found


_WORD = re.compile(r"[^\W_]+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9]*[a-z][A-Z][A-Za-z0-9]*")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")


class Looks:
    """Whether a text has each of the words, found out by a look of its own: brute force."""

    def __init__(self, wanted: Sequence[Term]) -> None:
        self._parts: dict[int, str] = {}
        self._runs: list[tuple[int, tuple[str, ...]]] = []
        self._words: dict[str, int] = {}
        for number, term in enumerate(wanted):
            text = term.text.strip('"').casefold()
            if _SPACED.search(text):
                self._parts[number] = text
            elif len(run := tuple(_WORD.findall(text))) > 1:
                self._runs.append((number, run))
            else:
                self._words[text] = number

    def having(self, text: str) -> Iterator[int]:
        """The numbers of the words that this text has."""
        folded = text.casefold()
        words = _WORD.findall(folded)
        whole = set(words)
        if not text.isascii():
            yield from (number for number, part in self._parts.items() if part in folded)
        for word in _IDENTIFIER.findall(text):
            whole.update(part.lower() for part in _CAMEL.findall(word))
        yield from (self._words[word] for word in whole & self._words.keys())
        for number, run in self._runs:
            if run[0] in whole and any(tuple(words[at : at + len(run)]) == run for at in range(len(words))):
                yield number


@dataclass(slots=True)
class RoomHead:
    """Where a room's graph ends, and what its messages need."""

    nid: int
    room_id: str
    newest: str
    depth: int
    state_nid: int
    powers: str  # event ids of the power levels, and by user of their membership
    members: Mapping[str, str]
    senders: Sequence[str]  # whose words these are, the most talkative first


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all processes agree on."""

    dsn: str
    server: str
    messages: int
    first_nid: int
    end_ms: int
    months: int
    heads: Sequence[RoomHead]

    def rooms(self) -> list[int]:
        """Message → its room: few rooms have most of them, every room has some."""
        chance = random.Random(11)
        weights = list(accumulate(1 / (rank + 40) for rank in range(len(self.heads))))
        return chance.choices(range(len(self.heads)), cum_weights=weights, k=self.messages)

    def said_ms(self, number: int) -> int:
        """Grows with the number; more and more are said a month."""
        share = ((number + 0.5) / self.messages) ** 0.5
        return self.end_ms - int((1 - share) * self.months * MONTH_MS)


@dataclass(slots=True)
class Made:
    """What one process made: by word, the messages that say it now."""

    found: list[array[int]]
    messages: int = 0
    body_bytes: int = 0


@dataclass(slots=True)
class _Said:
    nid: int
    event_id: str
    sender: str
    found: list[int]


class _Maker:
    """Makes the events of some of the rooms, in the order of all."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._texts = Texts()
        self._looks = Looks(terms())
        self._signer = Signer(ServerName(plan.server), "ed25519:test", b"\x07" * 31 + b"\x01")
        self._version = ROOM_VERSIONS["12"]
        # Only the last few of a room are ever edited or redacted: what the others say is final, and only numbers of it.
        self._latest: dict[int, list[_Said]] = {}
        self.redacted: list[tuple[int, int]] = []
        self.found = [array("q") for _ in terms()]
        self.body_bytes = 0

    def end(self) -> None:
        """Notes what the last messages of all rooms say."""
        for latest in self._latest.values():
            self._final(latest)
        self._latest.clear()

    def _final(self, some: Sequence[_Said]) -> None:
        for said in some:
            for number in said.found:
                self.found[number].append(said.nid)

    def event(self, number: int, room: int, chance: random.Random) -> Event:
        """The next event of a room."""
        nid, said_ms = self._plan.first_nid + number, self._plan.said_ms(number)
        latest = self._latest.setdefault(room, [])
        kind = chance.random() * 100
        if latest and kind < REDACTIONS:
            said = latest.pop(chance.randrange(len(latest)))
            self.redacted.append((said.nid, nid))
            return self._signed(room, said.sender, {"redacts": said.event_id}, said_ms, "m.room.redaction")
        text = self._texts.one(chance)
        if latest and kind < REDACTIONS + EDITS:
            said = latest[-1]
            said.found = list(self._looks.having(text))
            content = {
                "msgtype": "m.text",
                "body": f"* {text}",
                "m.new_content": {"msgtype": "m.text", "body": text},
                "m.relates_to": {"rel_type": "m.replace", "event_id": said.event_id},
            }
            return self._signed(room, said.sender, content, said_ms)
        self.body_bytes += len(text.encode())
        senders = self._plan.heads[room].senders
        sender = senders[min(int(chance.expovariate(1.2)), len(senders) - 1)]
        event = self._signed(room, sender, self._content(text, latest, chance), said_ms)
        latest.append(_Said(nid, event.event_id, sender, list(self._looks.having(text))))
        self._final(latest[:-LATEST])
        del latest[:-LATEST]
        return event

    def _content(self, text: str, latest: Sequence[_Said], chance: random.Random) -> dict[str, Any]:
        content: dict[str, Any] = {"msgtype": "m.text", "body": text}
        kind = chance.random() * 100
        if latest and kind < THREADS:
            content["m.relates_to"] = {"rel_type": "m.thread", "event_id": latest[0].event_id}
        elif latest and kind < THREADS + REPLIES:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": latest[-1].event_id}}
        return content

    def _signed(
        self, room: int, sender: str, content: dict[str, Any], said_ms: int, kind: str = "m.room.message"
    ) -> Event:
        head = self._plan.heads[room]
        head.depth += 1
        pdu = {
            "type": kind,
            "room_id": head.room_id,
            "sender": sender,
            "content": content,
            "origin_server_ts": said_ms,
            "depth": head.depth,
            "prev_events": [head.newest],
            "auth_events": [head.powers, head.members[sender]],
        }
        event = sign_event(self._version, pdu, self._signer)
        head.newest = event.event_id
        return event


_EVENTS = ("event_nid", "room_nid", "ordering", "depth", "origin_server_ts", "state_nid", "event_id", "sender", "json",
           "received_ms")  # fmt: skip
_RELATIONS = ("event_nid", "room_nid", "relates_to", "rel_type", "type", "sender", "aggregation_key")
_REDACTED = """
    UPDATE events SET redacted_by = by.nid FROM unnest($1::bigint[], $2::bigint[]) AS by(target, nid)
    WHERE event_nid = by.target
"""


_UNFILLED = "DELETE FROM events WHERE event_nid >= $1"
_UNRELATED = "DELETE FROM event_relations WHERE event_nid >= $1"
_IDS = "SELECT event_nid, event_id FROM events WHERE event_nid = ANY($1::bigint[])"


class _Shared(threading.local):
    """Of this process: where it says how many messages are written."""

    written: Any = None


_shared = _Shared()


def _begin(written: Any) -> None:
    _shared.written = written


async def _filled(plan: Plan, part: int) -> Made:
    maker, chance = _Maker(plan), random.Random(part)
    connection = await asyncpg.connect(plan.dsn)
    made = Made(maker.found)
    rows: list[tuple[Any, ...]] = []
    related: list[tuple[Any, ...]] = []

    async def write() -> None:
        await connection.copy_records_to_table("events", records=rows, columns=_EVENTS)
        await connection.copy_records_to_table("event_relations", records=related, columns=_RELATIONS)
        with _shared.written.get_lock():
            _shared.written.value += len(rows)
        rows.clear()
        related.clear()

    try:
        for number, room in enumerate(plan.rooms()):
            if room % PROCESSES != part:
                continue
            head, nid = plan.heads[room], plan.first_nid + number
            event = maker.event(number, room, chance)
            said_ms = event.origin_server_ts
            rows.append((nid, head.nid, nid, event.depth, said_ms, head.state_nid, event.event_id, event.sender,
                         event.canonical, said_ms))  # fmt: skip
            made.messages += 1
            if (one := row_of(event, nid, head.nid)) is not None:
                related.append((one.event_nid, one.room_nid, one.relates_to, one.rel_type, one.type, one.sender, None))
            if len(rows) == CHUNK:
                await write()
        await write()
        targets, by = [nid for nid, _ in maker.redacted], [nid for _, nid in maker.redacted]
        await connection.execute(_REDACTED, targets, by)
    finally:
        await connection.close()
    maker.end()
    made.body_bytes = maker.body_bytes
    return made


def _fill(plan: Plan, part: int) -> Made:
    return asyncio.run(_filled(plan, part))


@dataclass(slots=True)
class Oracle:
    """What must be found: by the number of the word the numbers of the messages, ascending. Eight bytes each."""

    found: list[npt.NDArray[np.int64]]

    @classmethod
    def load(cls, path: Path) -> Oracle:
        """As `save` left it."""
        with np.load(path) as saved:
            return cls([saved[f"word{number}"] for number in range(len(saved.files))])

    def save(self, path: Path) -> None:
        """Into a file that is there whole, or not at all."""
        begun = path.with_suffix(".begun.npz")
        words: dict[str, Any] = {f"word{number}": nids for number, nids in enumerate(self.found)}
        np.savez(begun, **words)
        begun.rename(path)


async def fill(plan: Plan, progress: Callable[[int], None]) -> tuple[Oracle, int]:
    """Writes the history into the database, in the place of what an earlier run may have written of it; what must be
    found, and how many bytes the bodies have."""
    connection = await asyncpg.connect(plan.dsn)
    try:
        await connection.execute(_UNRELATED, plan.first_nid)
        await connection.execute(_UNFILLED, plan.first_nid)
    finally:
        await connection.close()
    loop, spawn = asyncio.get_running_loop(), get_context("spawn")
    written = spawn.Value("q", 0)
    with ProcessPoolExecutor(PROCESSES, spawn, _begin, (written,)) as pool:
        filling = asyncio.gather(*(loop.run_in_executor(pool, _fill, plan, part) for part in range(PROCESSES)))
        while not filling.done():
            await asyncio.wait([filling], timeout=10)
            progress(written.value)
        parts = await filling
    found = [
        np.sort(np.concatenate([np.array(part.found[number], np.int64) for part in parts]))
        for number in range(len(terms()))
    ]
    return Oracle(found), sum(part.body_bytes for part in parts)


async def ids_of(db: Reader, nids: Sequence[int]) -> list[str]:
    """The ids of these events, in their order."""
    ids = {row["event_nid"]: row["event_id"] for row in await db.fetch(_IDS, list(nids))}
    return [ids[nid] for nid in nids]
