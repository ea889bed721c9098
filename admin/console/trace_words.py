"""What a trace says, in the other language: traces are made of English, and `hansa trace` prints them so. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from admin.console.texts import may_say, say
from admin.console.texts_faults import FAULTS, RULE_FAULTS
from admin.console.texts_findings import FINDINGS
from admin.console.trace_reasons import DONE, KEPT, REASONS
from homeserver.web.translations import LANGUAGES

# English, Chinese; the first that fits counts. Names in braces stand for what differs.
_SAYINGS: Final[Sequence[tuple[str, str]]] = (
    ("sent here", "在本服务器发送"),
    ("came from {server}, or a server that had it", "来自 {server}，或持有它的其他服务器"),
    ("from {server}", "来自 {server}"),
    ("it waits for events before it that aren't here yet", "等待尚未收到的更早事件"),
    ("by nobody", "无签名"),
    ("by {who}; by the policy server {server}", "{who}；策略服务器 {server}"),
    ("accepted, outside of the timeline", "已接受，不在时间线中"),
    ("accepted", "已接受"),
    ("rejected: {reason}", "被拒绝：{reason}"),
    ("soft-failed: {reason}", "软失败：{reason}"),
    ("no rule held", "没有规则命中"),
    (
        "at position {position}, as history from before this server was in the room",
        "位置 {position}，为本服务器加入之前的历史",
    ),
    ("at position {position}", "位置 {position}"),
    ("{name} has it", "{name} 已处理"),
    ("{name} is {behind} positions before it", "{name} 尚差 {behind} 个位置"),
    ("by none so far", "尚无"),
    ("no notification waits", "没有等待中的通知"),
    ("to {user} waits, after {failures} failures", "发给 {user} 的通知在等待，已失败 {failures} 次"),
    ("to {user} waits", "发给 {user} 的通知在等待"),
    ("{server} acknowledged it", "{server} 已确认"),
    ("{server} hasn't got it: {reason}", "{server} 尚未收到：{reason}"),
    ("{server} hasn't got it", "{server} 尚未收到"),
    ("by {who}", "由 {who}"),
)
# What a rule did, whose parts have words of their own in either language.
_VERDICT: Final = re.compile(
    r"(?P<rule>\S+ v\d+) \((?P<stage>\w+)\): (?P<outcome>[\w,]*)(?P<undone>, undone since)?"
    r"(?P<guess>, going by sender, room and time)?"
)


# Names that stand for one word.
_ONE_WORD: Final = frozenset({"id", "version", "number", "status", "code"})


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", english)
    found = (f"(?P<{one}>{_span(one)}+?)" if n % 2 else re.escape(one) for n, one in enumerate(parts))
    return re.compile("".join(found), re.DOTALL)


def _span(name: str) -> str:
    if name.endswith("_n"):
        return r"\d"
    return r"\S" if name in _ONE_WORD else "."


_PATTERNS: Final = tuple((_pattern(english), chinese) for english, chinese in (*_SAYINGS, *REASONS))
_KEPT: Final = tuple((_pattern(english), chinese) for english, chinese in KEPT)
_DONE: Final = tuple((_pattern(english), chinese) for english, chinese in DONE)
_FAULTS: Final = tuple((_pattern(english), chinese) for english, chinese in (*RULE_FAULTS, *FAULTS))

_FINDINGS: Final = tuple((_pattern(english), chinese) for english, chinese in FINDINGS)
# Longer findings hold a stranger's words.
_FINDING_CHARS_MAX: Final = 4_000
_FINDING_DEPTH_MAX: Final = 4


def told(what: str, language: str) -> str:
    """The words of a step in this language; as they are where there are no others."""
    if verdict := _VERDICT.fullmatch(what):
        return _verdict(verdict, language)
    return _translated(what, language, _PATTERNS)


def kept_reason(why: str, language: str) -> str:
    """A reason that is kept, in this language where it is the server's own; what people wrote stays as it is."""
    return _translated(why, language, _KEPT)


def fault(why: str, language: str) -> str:
    """Why something wasn't done, in this language where it has words for it."""
    return _translated(why, language, _FAULTS)


def finding(what: str, language: str, depth: int = 0) -> str:
    """What a check found, or what to do about it, in this language; findings within it, and joined by `;`, too."""
    if language == LANGUAGES[0] or depth > _FINDING_DEPTH_MAX or len(what) > _FINDING_CHARS_MAX:
        return what
    for pattern, chinese in _FINDINGS:
        if match := pattern.fullmatch(what):
            said = match.groupdict()
            if within := said.get("found"):
                said["found"] = finding(within, language, depth + 1)
            return chinese.format(**said)
    parts = what.split("; ")
    return "；".join(finding(part, language, depth + 1) for part in parts) if len(parts) > 1 else what


def note_words(text: str, language: str) -> str:
    """A case's note: what came of acts in this language, line by line; what people wrote stays as it is."""
    return "\n".join(_note_line(line, language) for line in text.split("\n"))


def _note_line(line: str, language: str) -> str:
    act, _, outcome = line.partition(": ")
    said = _translated(outcome, language, _DONE)
    return f"{say(f'act_{act}', language, {})}：{said}" if said != outcome and may_say(f"act_{act}") else line


def _translated(what: str, language: str, patterns: Sequence[tuple[re.Pattern[str], str]]) -> str:
    if language == LANGUAGES[0]:
        return what
    for pattern, chinese in patterns:
        if found := pattern.fullmatch(what):
            said = found.groupdict()
            if reason := said.get("reason"):
                said["reason"] = told(reason, language)
            if why := said.get("why"):
                said["why"] = fault(why, language)
            return chinese.format(**said)
    return what


def _verdict(found: re.Match[str], language: str) -> str:
    def word(key: str, otherwise: str) -> str:
        return say(key, language, {}) if may_say(key) else otherwise

    acts = ", ".join(word(f"action_{one}", one) for one in found["outcome"].split(","))
    stage = word(f"stage_{found['stage']}", found["stage"])
    more = [word(f"verdict_{key}", "") for key in ("undone", "guess") if found[key] is not None]
    return "; ".join([f"{found['rule']} ({stage}): {acts}", *more])
