"""What the pages of traces say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# key → English, Chinese
TRACING: Final[Mapping[str, tuple[str, str]]] = {
    "nav_trace": ("Trace", "追踪"),
    "trace_text": (
        "What became of one event: received, signed, judged, kept, indexed, pushed, sent and acknowledged.",
        "查看某个事件的经历：接收、签名、判定、保存、索引、推送、发送与确认。",
    ),
    "trace_id": ("Event id", "事件 ID"),
    "trace_at": ("Or what came from this time on (UTC)", "或自此时间起收到的事件（UTC）"),
    "trace_about": ("Of this user, or in this room", "来自此用户或此房间"),
    "do_trace": ("Trace", "追踪"),
    "details": ("Details", "详情"),
    "refused": ("refused", "被拒绝"),
    "state_good": ("done", "完成"),
    "state_waits": ("waits", "等待"),
    "state_bad": ("stopped", "受阻"),
    "step_received": ("Received", "接收"),
    "step_signed": ("Signed", "签名"),
    "step_authorised": ("Judged by the room's rules", "按房间规则判定"),
    "step_rules": ("Judged by spam rules", "按垃圾信息规则判定"),
    "step_persisted": ("Kept", "保存"),
    "step_redacted": ("Redacted", "撤回"),
    "step_indexed": ("Indexed for search", "建立搜索索引"),
    "step_counted": ("Counted as unread, and pushes decided", "计为未读并决定推送"),
    "step_taken_in": ("Taken in", "被处理"),
    "step_pushed": ("Pushed", "推送"),
    "step_handed_to_federation": ("Handed to federation", "交给联邦"),
    "step_sent": ("Sent to another server", "发送到其他服务器"),
}
