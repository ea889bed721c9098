"""Ready rules against what networks are flooded with. Installed, they stand in shadow: an operator enforces them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from admin.spam.rules import Action, Limits, Rule, Wordlist

_NOT_NOW = "This was not sent: it looks like unwanted mail."
# A wave is most of what happens while it lasts: only the number of actions stops these.
_FLOOD = Limits(per_minute=20_000, per_day=1_000_000, share_max=1.0)


@dataclass(frozen=True, slots=True)
class Pack:
    name: str
    title: str
    rules: Sequence[Rule]
    lists: Sequence[Wordlist] = ()


def _rule(id: str, title: str, when: str, condition: str, *actions: Action, pack: str) -> Rule:
    return Rule(
        id=id, title=title, when=tuple(when.split()), condition=condition, actions=actions, stage="shadow",
        limits=_FLOOD, pack=pack,
    )  # fmt: skip


def _deny(reason: str = _NOT_NOW) -> Action:
    return Action(kind="deny", reason=reason)


PACKS: Sequence[Pack] = (
    Pack(
        "invite-spam",
        "Invites to many people, from many servers",
        (
            _rule(
                "invite-many", "One user invites many", "invite remote_invite",
                "rates.sender_1m > 20 || rates.sender_1h > 100", _deny("You invited many people: wait a while."),
                pack="invite-spam",
            ),
            _rule(
                "invite-server-flood", "One server's users invite many", "remote_invite",
                "rates.server_1m > 30 && sender.power < 50", _deny(), pack="invite-spam",
            ),
            _rule(
                "invite-new-server", "Invites of users never seen before, while many come", "remote_invite",
                "rates.fresh_1m > 20 && sender.age_s < 3600 && !sender.local", _deny(), pack="invite-spam",
            ),
            _rule(
                "invite-with-link", "An invite that advertises", "invite remote_invite",
                "size(event.links) > 0 && sender.age_s < 604800", _deny(), pack="invite-spam",
            ),
        ),
    ),
    Pack(
        "join-flood",
        "Many come into a room at once",
        (
            _rule(
                "join-wave", "More than 20 joins a minute", "join remote_join",
                "room.joins_1m > 20 && sender.age_s < 86400 && sender.power < 50",
                _deny("This room takes nobody new for a while."), pack="join-flood",
            ),
            _rule(
                "raid-lock", "A wave that goes on: the room takes invites alone for 15 minutes", "join remote_join",
                "room.joins_1m > 40 && sender.age_s < 86400 && sender.power < 50",
                _deny("This room takes nobody new for a while."), Action(kind="lock", seconds=900), pack="join-flood",
            ),
            _rule(
                "join-hopper", "One user comes into many rooms", "join remote_join",
                "rates.sender_rooms_1m > 15 && sender.age_s < 604800", _deny(), pack="join-flood",
            ),
        ),
    ),
    Pack(
        "link-flood",
        "The same address or text in many rooms",
        (
            _rule(
                "link-in-rooms", "One address in many rooms", "event remote_event",
                "rates.link_rooms_10m > 5 && sender.age_s < 2592000 && sender.power < 50", _deny(), pack="link-flood",
            ),
            _rule(
                "text-in-rooms", "One text in many rooms", "event remote_event",
                "rates.text_rooms_10m > 5 && event.length > 16 && sender.age_s < 2592000 && sender.power < 50",
                _deny(), pack="link-flood",
            ),
            _rule(
                "near-texts", "Texts that differ in little, from new accounts", "event remote_event",
                "sender.age_s < 604800 && event.length > 40 && sender.power < 50 && event.similar > 8",
                _deny(), pack="link-flood",
            ),
            _rule(
                "fast-sender", "A new account that writes very fast", "event remote_event",
                "rates.sender_10s > 25 && sender.age_s < 604800 && sender.power < 50",
                Action(kind="rate_limit", reason="Slow down.", seconds=30), pack="link-flood",
            ),
        ),
    ),
    Pack(
        "mention-bomb",
        "Many are named at once",
        (
            _rule(
                "mention-many", "More than 20 mentions", "event remote_event",
                "event.mentions > 20 && sender.power < 50", _deny("A message may mention 20 people."),
                pack="mention-bomb",
            ),
        ),
    ),
    Pack(
        "new-accounts",
        "New accounts start slowly",
        (
            _rule(
                "new-account-links", "Links in an account's first hour", "event remote_event",
                "size(event.links) > 0 && sender.age_s < 3600 && sender.power < 50",
                Action(kind="hold", reason="Links of new accounts are looked at before they are shown."),
                pack="new-accounts",
            ),
            _rule(
                "new-account-media", "Files as the first thing said in a room", "event remote_event",
                'event.msgtype in ["m.image", "m.video", "m.file"] && sender.joined_s < 60 && sender.age_s < 86400'
                " && sender.power < 50",
                _deny("Say something before you send a file."), pack="new-accounts",
            ),
            _rule(
                "registration-flood", "Many accounts from one address", "registration", "rates.address_1m > 5",
                Action(kind="rate_limit", reason="Too many accounts were made from here.", seconds=600),
                pack="new-accounts",
            ),
        ),
    ),
    Pack(
        "secrets",
        "Keys and card numbers are blanked before they are sent",
        (
            _rule(
                "mask-aws-key", "AWS access keys", "event", r'event.raw.re2("\\b(AKIA|ASIA)[A-Z0-9]{16}\\b")',
                Action(kind="mask", pattern=r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"), pack="secrets",
            ),
            _rule(
                "mask-token", "Tokens of code hosts and chat services", "event",
                r'event.raw.re2("\\b(ghp|gho|ghs|glpat|xoxb|xoxp)[_-][A-Za-z0-9_-]{16,}")',
                Action(kind="mask", pattern=r"\b(ghp|gho|ghs|glpat|xoxb|xoxp)[_-][A-Za-z0-9_-]{16,}"), pack="secrets",
            ),
            _rule(
                "mask-card", "Card numbers", "event",
                r'event.raw.re2("\\b[3-6]\\d{3}[ -]?\\d{4}[ -]?\\d{4}[ -]?\\d{4}\\b")',
                Action(kind="mask", pattern=r"\b[3-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b"), pack="secrets",
            ),
        ),
    ),
    Pack(
        "files",
        "Files that run when they are opened",
        (
            _rule(
                "blocked-files", "Programs and scripts", "event remote_event",
                r'event.msgtype == "m.file" &&'
                r' event.file_name.re2("\\.(exe|scr|com|pif|bat|cmd|js|vbs|jar|msi|ps1|lnk)$")',
                _deny("Files of this type can't be sent here."), pack="files",
            ),
            _rule(
                "blocked-media", "Files on the list `blocked-media`", "event remote_event media",
                '"blocked-media" in event.lists', _deny("This file was blocked."), Action(kind="quarantine"),
                pack="files",
            ),
        ),
        (Wordlist(name="blocked-media", kind="media", entries=()),),
    ),
    Pack(
        "advertising-cjk",
        "Chinese advertising: fake invoices, gambling, side jobs",
        (
            _rule(
                "cjk-words", "Words of advertisers, from new accounts", "event remote_event invite remote_invite",
                '"advertising-cjk" in event.lists && sender.age_s < 2592000 && sender.power < 50', _deny(),
                pack="advertising-cjk",
            ),
            _rule(
                "cjk-contact", "A contact number beside an offer", "event remote_event",
                r'event.text.re2("(加|\\+)?(微信|薇信|威信|vx|qq|扣扣|飞机|电报)\\s*[:：]?\\s*[a-z0-9_-]{5,}")'
                " && sender.age_s < 604800 && sender.power < 50",
                _deny(), pack="advertising-cjk",
            ),
        ),
        (
            Wordlist(
                name="advertising-cjk", kind="words",
                entries=(
                    "代开发票", "开发票", "办证", "刻章", "兼职刷单", "日结工资", "网赚项目", "百家乐", "彩票平台",
                    "菠菜平台", "真人荷官", "六合彩", "时时彩", "博彩", "贷款秒批", "无抵押贷款", "套现", "裸聊",
                    "约炮", "上门服务", "同城约", "代孕", "迷药", "黑产", "跑分", "洗钱", "高仿手表", "翻墙软件出售",
                ),
            ),
        ),
    ),
    Pack(
        "network-waves",
        "Waves that went through the network",
        (
            _rule(
                "wave-crypto", "Promised gains", "event remote_event",
                r'(event.text.re2("guaranteed (profit|returns?)")'
                r' || event.text.re2("earn \\$?\\d[\\d,.]*k?\\s*(daily|per day|a day|weekly)")'
                r' || event.text.re2("double your (btc|bitcoin|crypto|money)|whatsapp\\s*\\+?\\d{6,}"))'
                " && sender.age_s < 2592000 && sender.power < 50",
                _deny(), pack="network-waves",
            ),
            _rule(
                "wave-gore-link", "An invite link, sent by a fresh account to many rooms", "event remote_event",
                "rates.sender_rooms_1m > 5 && size(event.links) > 0 && sender.age_s < 604800 && sender.power < 50",
                _deny(), Action(kind="report"), pack="network-waves",
            ),
            _rule(
                "wave-room-names", "Rooms whose names are made for a directory of spam", "create_room alias",
                '"wave-names" in event.lists', _deny(), pack="network-waves",
            ),
            _rule(
                "report-flood", "One user reports many", "report", "rates.sender_1h > 30",
                Action(kind="rate_limit", reason="You reported a lot: we are looking.", seconds=3_600),
                pack="network-waves",
            ),
        ),
        (Wordlist(name="wave-names", kind="words", entries=("free nudes", "cp trade", "teen leaks", "onlyfans leak")),),
    ),
)  # fmt: skip


def pack_of(name: str) -> Pack | None:
    return next((pack for pack in PACKS if pack.name == name), None)
