"""Why an event was refused, why a rule stopped, and what the server keeps as its own reasons. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# English as `homeserver.core.auth_rules` and `admin.spam` say it, Chinese; the first that fits counts.
REASONS: Final[Sequence[tuple[str, str]]] = (
    ("{reason} (rule {number})", "{reason}（规则 {number}）"),
    ("a create event has no prev_events", "创建事件不得有 prev_events"),
    ("a create event has no room_id", "创建事件不得有 room_id"),
    (
        "a member event needs a user id as its state key, and a membership",
        "成员事件须有用户 ID 状态键和成员状态",
    ),
    ("additional_creators must be a list of user ids", "additional_creators 须为用户 ID 列表"),
    ("an aliases event needs a state key", "别名事件须有状态键"),
    ("an aliases event's state key is its sender's server", "别名事件的状态键须为发送者的服务器"),
    ("content has no creator", "内容中没有创建者"),
    ("no create event among the auth events", "授权事件中没有创建事件"),
    ("no signature by a key of the third-party invite", "没有第三方邀请密钥的签名"),
    ("room_id and sender are not of the same server", "room_id 与发送者不属于同一服务器"),
    ("room_id is not the id of the room's create event", "room_id 不是该房间创建事件的 ID"),
    ("the join rule does not let anybody knock", "加入规则不允许请求加入"),
    ("the room has no create event", "房间没有创建事件"),
    ("the room has no third-party invite of this token", "房间没有此令牌的第三方邀请"),
    ("the room is for users of its creator's server only", "房间仅限创建者服务器的用户"),
    ("third_party_invite has no signed property", "third_party_invite 没有 signed 属性"),
    ("third_party_invite.signed needs mxid and token", "third_party_invite.signed 须有 mxid 和 token"),
    ("third_party_invite.signed.mxid is not the invited user", "third_party_invite.signed.mxid 不是受邀用户"),
    ("this room version is not known here", "本服务器不认识此房间版本"),
    ("two auth events have the same type and state key", "两个授权事件的类型和状态键相同"),
    ("users may not name a creator of the room", "users 中不得列出房间创建者"),
    ("users must be an object of user ids and integers", "users 须为用户 ID 到整数的对象"),
    ("auth event {event} is of another room", "授权事件 {event} 属于其他房间"),
    ("auth event {event} was rejected", "授权事件 {event} 已被拒绝"),
    ("membership {membership} is unknown", "成员状态 {membership} 未知"),
    ("the join rule does not let {target} in", "加入规则不允许 {target} 加入"),
    ("{name} must name a member who may invite", "{name} 须为有邀请权限的成员"),
    ("{user} did not send the third-party invite", "第三方邀请不是由 {user} 发送的"),
    ("{user} may not redact events of other servers", "{user} 无权撤回其他服务器的事件"),
    ("{user}, who authorised the join, is not in the room", "授权加入的 {user} 不在房间中"),
    ("{user}, who authorised the join, may not invite", "授权加入的 {user} 无权邀请"),
    ("{user} has level {power}, {type} needs {needed}", "{user} 的权限为 {power}，{type} 需要 {needed}"),
    ("{user} is not in the room", "{user} 不在房间中"),
    ("{user} may not ban {target}", "{user} 无权封禁 {target}"),
    ("{user} may not invite", "{user} 无权邀请"),
    ("{user} may not join for {target}", "{user} 不能替 {target} 加入"),
    ("{user} may not knock for {target}", "{user} 不能替 {target} 请求加入"),
    ("{user} may not lift a ban", "{user} 无权解除封禁"),
    ("{user} may not remove {target}", "{user} 无权移出 {target}"),
    ("{user} may not set the state of {key}", "{user} 无权设置 {key} 的状态"),
    ("{name} does not authorise such an event", "{name} 不能授权此类事件"),
    ("{name} has {level}, beyond the sender's {power}", "{name} 的值 {level} 高于发送者的权限 {power}"),
    ("{name} is {level}, beyond the sender's {power}", "{name} 的值 {level} 高于发送者的权限 {power}"),
    ("{name} would be {level}, beyond the sender's {power}", "{name} 将变为 {level}，高于发送者的权限 {power}"),
    ("{name} would have {level}, beyond the sender's {power}", "{name} 将变为 {level}，高于发送者的权限 {power}"),
    ("{name} has {level}, no less than the sender's {power}", "{name} 的权限 {level} 不低于发送者的 {power}"),
    ("{name} must be an integer", "{name} 须为整数"),
    ("{name} must be an object of integers", "{name} 须为整数的对象"),
    ("{name} must be an object", "{name} 须为对象"),
    ("{target} is banned", "{target} 已被封禁"),
    ("{target} is banned, invited or in the room", "{target} 已被封禁、受邀或在房间中"),
    ("{target} is in the room, or banned from it", "{target} 已在房间中或被封禁"),
    ("{target} is neither in the room nor invited", "{target} 不在房间中，也未受邀"),
    (
        "a state key that begins with @ is a user id, or one with _ behind it",
        "以 @ 开头的状态键须为用户 ID，或其后加 _ 的用户 ID",
    ),
    # Why a rule stopped itself.
    ("more than {count} actions in a minute", "一分钟内执行超过 {count} 次"),
    ("more than {count} actions in a day", "一天内执行超过 {count} 次"),
    ("it matched {hits} of the last {of}", "最近 {of} 次中命中 {hits} 次"),
    ("it took more than {ms} ms, time and again", "多次超过 {ms} 毫秒"),
    ("it failed time and again: {reason}", "多次出错：{reason}"),
    ("it stopped itself: {reason}", "已自动停止：{reason}"),
)

# What the server itself writes where people write reasons, beside theirs. The same way.
KEPT: Final[Sequence[tuple[str, str]]] = (
    ("no policy list of this room says so any more", "此房间的策略列表均不再列出"),
    ("the policy lists of this room", "此房间的策略列表"),
    ("its time is over", "期限已到"),
    ("rule {id}, version {version}", "规则 {id}，版本 {version}"),
    ("rule {id}: {reason}", "规则 {id}：{reason}"),
    ("decision {number} was undone", "判定 {number} 已撤销"),
    ("pack {id}", "规则包 {id}"),
    ("it stopped itself: {reason}", "已自动停止：{reason}"),
    # Why a job failed.
    ("an error of the server's own: see its log", "服务器自身出错：请查看日志"),
    ("begun too often without coming to an end", "多次开始但均未完成"),
    # Why another server isn't reached.
    ("it answers {status} {code}", "返回 {status} {code}"),
    ("it answers {status}", "返回 {status}"),
    ("timeout: no answer in time", "超时：未及时响应"),
    ("unreachable: no connection: {why}", "无法连接：{why}"),
    ("unreachable: no answer: {why}", "未响应：{why}"),
    ("tls: TLS: {why}", "TLS 错误：{why}"),
    ("too_large: the answer has more than {count} bytes", "响应超过 {count} 字节"),
    ("too_large: the answer is no HTTP, or its headers are too large", "响应不是 HTTP，或其标头过大"),
    ("{server} says by its SRV record that it has no Matrix server", "{server} 的 SRV 记录表明其没有 Matrix 服务器"),
)

# What came of each act on a case, as its note has it behind the act's name. The same way.
DONE: Final[Sequence[tuple[str, str]]] = (
    ("done", "已完成"),
    ("{done_n} of {all_n} rooms ({why})", "{done_n} / {all_n} 个房间（{why}）"),
    ("{done_n} of {all_n} rooms", "{done_n} / {all_n} 个房间"),
    ("{done_n} of {all_n} ({why})", "{done_n} / {all_n}（{why}）"),
    ("{done_n} of {all_n}", "{done_n} / {all_n}"),
    ("{done_n} files", "{done_n} 个文件"),
    ("job {id}", "任务 {id}"),
    ("not done: {why}", "未完成：{why}"),
)
