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
    "verdict_undone": ("undone since", "已撤销"),
    "verdict_guess": ("going by sender, room and time", "依据发送者、房间和时间判断"),
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
    "detail_origin_server_ts": ("Sender's time, in milliseconds", "发送者的时间（毫秒）"),
    "detail_device_id": ("Device", "设备"),
    "detail_depth": ("Depth in the room", "房间中的深度"),
    "detail_keys": ("Keys", "密钥"),
    "detail_room_version": ("Version of the room", "房间版本"),
    "detail_auth_events": ("Events that authorise it", "授权事件"),
    "detail_decision_id": ("Decision", "判定"),
    "detail_hook": ("When", "时机"),
    "detail_position": ("Position", "位置"),
    "detail_ordering": ("Place in the room", "房间中的次序"),
    "detail_state": ("State at it", "所处状态"),
    "detail_consumer": ("Consumer", "消费者"),
    "detail_app_id": ("App", "应用"),
    "detail_retry_ts": ("Tried again at, in milliseconds", "重试时间（毫秒）"),
    "detail_server": ("Server", "服务器"),
    "detail_retry_at_ms": ("Tried again at, in milliseconds", "重试时间（毫秒）"),
    "detail_failures": ("Failures", "失败次数"),
    "detail_origin": ("Came from", "来源"),
    "detail_tries": ("Tries", "尝试次数"),
}
