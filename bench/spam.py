"""What 1,000 enforced spam rules add to a send: the values that they ask for, and every rule's verdict."""

from __future__ import annotations

import itertools
import random

from admin.spam.facts import Happening, Place, Rates, Reading, Sender
from admin.spam.rules import Action, Rule, RuleSet, Wordlist
from bench.harness import measure

RULES, PATTERNS, LISTS, ENTRIES = 1_000, 100, 5, 20_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(_LETTERS, k=chance.randint(5, 11)))


def _condition(number: int) -> str:
    if number < PATTERNS:
        return f'event.text.re2("offer{number}\\\\s+(now|today)\\\\d*") && sender.power < 50'
    kinds = (
        f'event.text.contains("phrase number {number}")',
        f'"list{number % LISTS}" in event.lists && sender.age_s < {number}',
        f"rates.sender_1m > {100 + number} && sender.age_s < 86400",
        f'"evil{number}.example" in event.domains',
        f"event.mentions > {20 + number % 50}",
        f'sender.server == "server{number}.example"',
    )
    return kinds[number % len(kinds)]


def rules_and_lists() -> RuleSet:
    """A thousand rules over five lists of 20,000 words."""
    chance = random.Random(7)
    deny = (Action(kind="deny"),)
    rules = [
        Rule(id=f"r{number}", title="x", when=("event",), condition=_condition(number), actions=deny, stage="enforced")
        for number in range(RULES)
    ]
    lists = [
        Wordlist(name=f"list{number}", kind="words", entries=tuple(_word(chance) for _ in range(ENTRIES)))
        for number in range(LISTS)
    ]
    return RuleSet(rules, lists)


def run() -> None:
    force = rules_and_lists()
    chance = random.Random(8)
    common = "the of and to in that it is was for on are with as they be at one have this from".split()
    texts = [" ".join(chance.choices(common, k=chance.randint(3, 30))) + f" {n}" for n in range(200)]
    texts += [f"have a look at https://pages{n}.example.org/{n}" for n in range(20)]
    clock, turn = itertools.count(), itertools.cycle(texts)
    sender, place = Sender(local=True, age_s=10_000_000), Place(members=200)

    def reading(rates: Rates) -> Reading:
        what = Happening(
            hook="event",
            sender=f"@u{next(clock) % 500}:bench.example",
            at_s=next(clock) / 100,
            type="m.room.message",
            content={"msgtype": "m.text", "body": next(turn)},
            room_id="!r:bench.example",
        )
        return Reading(what, sender, place, force.lists, rates)

    rates = Rates()
    measure(
        "spam: facts and verdicts", RULES, lambda: [force.judge("event", reading(rates)) for _ in range(100)], units=100
    )
