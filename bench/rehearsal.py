"""An attack rehearsal: known waves against the shipped packs, and a day of normal talk beside them.

`make rehearsal` prints a line for each wave, and fails where less than 95 % of one is blocked, or more than 0.1 % of
normal traffic is hit. All from one seed, on the clock of the waves themselves.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from admin.spam.facts import Happening, Place, Rates, Reading, Sender
from admin.spam.packs import PACKS
from admin.spam.rules import RuleSet

BLOCKED_MIN, HIT_MAX = 0.95, 0.001
START_S = 1_800_000_000.0
DAY_S = 86_400
_HOME = "home.example"

Step = tuple[Happening, Sender, Place]
_FRESH = Sender(local=False, age_s=120, joined_s=30)
_OPEN = Place(members=400, public=True)
_LOOKALIKE = str.maketrans("aeopcx", "аеорсх")


@dataclass(frozen=True, slots=True)
class Wave:
    name: str
    steps: Callable[[random.Random], Iterator[Step]]


def shipped() -> RuleSet:
    """All packs, enforced."""
    rules = [msgspec.structs.replace(rule, stage="enforced") for pack in PACKS for rule in pack.rules]
    return RuleSet(rules, [wordlist for pack in PACKS for wordlist in pack.lists])


def _said(sender: str, room: int, at_s: float, content: dict[str, Any], hook: str = "remote_event") -> Happening:
    return Happening(
        hook=hook, sender=sender, at_s=at_s, type="m.room.message", content=content, room_id=f"!r{room}:{_HOME}"
    )


def _member(hook: str, sender: str, target: str, room: str, at_s: float) -> Happening:
    content = {"membership": hook.removeprefix("remote_")}
    return Happening(
        hook=hook, sender=sender, at_s=at_s, type="m.room.member", state_key=target, content=content, room_id=room
    )


def _text(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


def invite_flood(chance: random.Random) -> Iterator[Step]:
    """Three invites each from 500 servers that nobody has seen before."""
    for number in range(1_500):
        sender = f"@bait:fresh{number % 500}.example"
        target = f"@victim{chance.randrange(300)}:{_HOME}"
        yield (
            _member("remote_invite", sender, target, f"!bait{number}:x.example", START_S + number / 10),
            _FRESH,
            Place(),
        )


def join_wave(chance: random.Random) -> Iterator[Step]:
    """A thousand accounts come into one room in five minutes."""
    for number in range(1_000):
        user = f"@j{number}:fresh{number % 40}.example"
        yield _member("remote_join", user, user, f"!raided:{_HOME}", START_S + number * 0.3), _FRESH, _OPEN


def link_wave(chance: random.Random) -> Iterator[Step]:
    """One account, one link, 500 rooms: its text spelt anew each time."""
    for number in range(500):
        word = "special prices here".translate(_LOOKALIKE) if number % 2 else "sp\u200becial prices here"
        body = f"{word} https://www.pharma-{number % 3}.example/{number}"
        yield _said("@pills:spam.example", number, START_S + number * 0.2, _text(body)), _FRESH, _OPEN


def near_texts(chance: random.Random) -> Iterator[Step]:
    """Many accounts say nearly the same."""
    base = (
        "dear friends our new trading group has made everyone of its members rich within only four weeks come and see"
    )
    for number in range(500):
        sender = f"@t{number % 50}:spam{number % 10}.example"
        body = f"{base} number {number}"
        yield _said(sender, number % 40, START_S + number * 0.5, _text(body)), _FRESH, _OPEN


def cjk_adverts(chance: random.Random) -> Iterator[Step]:
    """Chinese advertising, with marks between the characters and full-width letters."""
    forms = (
        "代开发票 请加 微信：fapiao{n:04}",
        "代\u200b开\u200b发\u200b票 联系我",
        "百家乐 真人荷官 ＶＸ ｐｌａｙ{n:04}",
        "兼职刷单 日结工资",
    )
    for number in range(500):
        body = forms[number % len(forms)].format(n=number)
        yield _said(f"@cn{number % 60}:ad.example", number, START_S + number * 2, _text(body)), _FRESH, _OPEN


def media_spam(chance: random.Random) -> Iterator[Step]:
    """Pictures as the first thing that fresh members say."""
    for number in range(300):
        content = {"msgtype": "m.image", "body": "image.png", "url": f"mxc://spam.example/{number}"}
        yield _said(f"@m{number}:fresh.example", number % 20, START_S + number, content), _FRESH, _OPEN


def mention_bomb(chance: random.Random) -> Iterator[Step]:
    for number in range(200):
        users = [f"@u{one}:{_HOME}" for one in range(chance.randint(30, 200))]
        content = {**_text("wake up"), "m.mentions": {"user_ids": users}}
        yield _said(f"@bomb{number % 5}:spam.example", number, START_S + number * 3, content), _FRESH, _OPEN


def report_flood(chance: random.Random) -> Iterator[Step]:
    """One account reports a thousand messages in an hour."""
    for number in range(1_000):
        content = {"reason": f"bad {number}"}
        what = Happening(
            hook="report", sender=f"@angry:{_HOME}", at_s=START_S + number * 2, type="report", content=content
        )
        yield what, Sender(local=True), Place()


def open_registration(chance: random.Random) -> Iterator[Step]:
    """Two hundred accounts of one open server promise gains, each in its own words."""
    words = ("earn $5,000 daily", "guaranteed profit for you", "double your bitcoin", "earn 10k weekly from home")
    for number in range(400):
        body = f"{chance.choice(words)} {chance.random()} write to me"
        yield _said(f"@a{number % 200}:open.example", number % 90, START_S + number * 4, _text(body)), _FRESH, _OPEN


def normal(chance: random.Random) -> Iterator[Step]:
    """A day of 400 people in 60 rooms: 5 % of them came this month; links, pictures, replies, mentions, invites."""
    words = "well I think we should look at the new plan because nobody had time before lunch ok yes no".split()
    people = [
        (
            f"@p{n}:{_HOME if n % 2 else 'friends.example'}",
            chance.randint(2, 30) if n % 20 == 0 else chance.randint(31, 2_000),
        )
        for n in range(400)
    ]
    for number in range(40_000):
        name, days = chance.choice(people)
        sender = Sender(local=name.endswith(_HOME), age_s=days * DAY_S, joined_s=days * DAY_S)
        at_s = START_S + number * (DAY_S / 40_000)
        hook = "event" if sender.local else "remote_event"
        kind = chance.random()
        body = " ".join(chance.choices(words, k=chance.randint(1, 25)))
        content: dict[str, Any] = _text(body)
        if kind < 0.05:
            content = _text(f"{body} https://site{chance.randrange(400)}.example/{chance.randrange(9_999)}")
        elif kind < 0.08:
            content = {"msgtype": "m.image", "body": "photo.jpg", "url": f"mxc://{_HOME}/{number}"}
        elif kind < 0.10:
            content = {**_text(body), "m.mentions": {"user_ids": [chance.choice(people)[0]]}}
        elif kind < 0.105:
            invite = "invite" if sender.local else "remote_invite"
            yield _member(invite, name, chance.choice(people)[0], f"!r1:{_HOME}", at_s), sender, _OPEN
            continue
        yield _said(name, chance.randrange(60), at_s, content, hook), sender, _OPEN


WAVES = (
    Wave("invites from 500 fresh servers", invite_flood),
    Wave("join wave", join_wave),
    Wave("one link in 500 rooms", link_wave),
    Wave("near texts", near_texts),
    Wave("Chinese advertising", cjk_adverts),
    Wave("media of fresh members", media_spam),
    Wave("mention bomb", mention_bomb),
    Wave("report flood", report_flood),
    Wave("open registration server", open_registration),
)


def share_hit(wave: Wave, seed: int = 7) -> tuple[float, dict[str, int]]:
    """The share of a wave that is hit, and by which rules how often."""
    force, rates = shipped(), Rates()
    hit = count = 0
    by_rule: dict[str, int] = {}
    for what, sender, place in wave.steps(random.Random(seed)):
        count += 1
        if not force.has(what.hook):
            continue
        found = force.judge(what.hook, Reading(what, sender, place, force.lists, rates))
        hit += bool(found.hits)
        for one in found.hits:
            by_rule[one.rule.id] = by_rule.get(one.rule.id, 0) + 1
    return hit / count, by_rule


def main() -> int:
    failed = False
    for wave in WAVES:
        share, by_rule = share_hit(wave)
        most = ", ".join(sorted(by_rule, key=lambda name: -by_rule[name])[:3])
        print(f"{wave.name:<34} {share:>8.2%} blocked   {most}")
        failed |= share < BLOCKED_MIN
    share, by_rule = share_hit(Wave("normal talk", normal))
    print(f"{'normal talk, 40,000 events':<34} {share:>8.3%} hit       {by_rule or ''}")
    return int(failed or share > HIT_MAX)


if __name__ == "__main__":
    sys.exit(main())
