"""What the rules of the ready packs are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# key → English (as the rule's title), Chinese
PACKS: Final[Mapping[str, tuple[str, str]]] = {
    "pack_rule_invite-many": ("One user invites many", "同一用户邀请大量用户"),
    "pack_rule_invite-server-flood": ("One server's users invite many", "同一服务器的用户大量发出邀请"),
    "pack_rule_invite-new-server": (
        "Invites of users never seen before, while many come",
        "邀请激增时，来自从未见过的用户的邀请",
    ),
    "pack_rule_invite-with-link": ("An invite that advertises", "带广告的邀请"),
    "pack_rule_join-wave": ("More than 20 joins a minute", "每分钟超过 20 人加入"),
    "pack_rule_raid-lock": (
        "A wave that goes on: the room takes invites alone for 15 minutes",
        "持续涌入：房间在 15 分钟内仅限受邀加入",
    ),
    "pack_rule_join-hopper": ("One user comes into many rooms", "同一用户加入大量房间"),
    "pack_rule_link-in-rooms": ("One address in many rooms", "同一链接出现在多个房间"),
    "pack_rule_text-in-rooms": ("One text in many rooms", "同一文字出现在多个房间"),
    "pack_rule_near-texts": ("Texts that differ in little, from new accounts", "新账户发出的近似文字"),
    "pack_rule_fast-sender": ("A new account that writes very fast", "发言极快的新账户"),
    "pack_rule_mention-many": ("More than 20 mentions", "提及超过 20 人"),
    "pack_rule_new-account-links": ("Links in an account's first hour", "账户创建一小时内发送的链接"),
    "pack_rule_new-account-media": ("Files as the first thing said in a room", "进入房间后首先发送文件"),
    "pack_rule_registration-flood": ("Many accounts from one address", "同一地址注册大量账户"),
    "pack_rule_mask-aws-key": ("AWS access keys", "AWS 访问密钥"),
    "pack_rule_mask-token": ("Tokens of code hosts and chat services", "代码托管与聊天服务的令牌"),
    "pack_rule_mask-card": ("Card numbers", "银行卡号"),
    "pack_rule_blocked-files": ("Programs and scripts", "程序与脚本"),
    "pack_rule_blocked-media": ("Files on the list `blocked-media`", "名单 blocked-media 中的文件"),
    "pack_rule_cjk-words": ("Words of advertisers, from new accounts", "新账户发出的广告用语"),
    "pack_rule_cjk-contact": ("A contact number beside an offer", "附有联系方式的推销"),
    "pack_rule_wave-crypto": ("Promised gains", "承诺收益"),
    "pack_rule_wave-gore-link": (
        "An invite link, sent by a fresh account to many rooms",
        "新账户向多个房间发送的邀请链接",
    ),
    "pack_rule_wave-room-names": (
        "Rooms whose names are made for a directory of spam",
        "名称专为垃圾信息目录而起的房间",
    ),
    "pack_rule_report-flood": ("One user reports many", "同一用户大量举报"),
}
