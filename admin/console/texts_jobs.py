"""What jobs say of how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

# progress_ and the key in the job's progress → English, Chinese
PROGRESS: Final[Mapping[str, tuple[str, str]]] = {
    "progress_part": ("Gone through", "已处理"),
    "progress_looked_at": ("Looked at", "已检查"),
    "progress_hits": ("Hits", "命中"),
    "progress_faults": ("Faults", "错误"),
    "progress_by_day": ("Days", "天数"),
    "progress_by_room": ("Rooms", "房间"),
    "progress_by_sender": ("Senders", "发送者"),
    "progress_overlap": ("Other rules that hit as well", "同时命中的其他规则"),
    "progress_samples": ("Samples", "样本"),
    "progress_rooms": ("Rooms", "房间"),
    "progress_events": ("Events", "事件"),
    "progress_events_kept": ("Events that rooms need, kept", "因房间需要而保留的事件"),
    "progress_bytes": ("Bytes", "字节"),
    "progress_files": ("Files", "文件"),
    "progress_largest": ("Largest rooms", "最大的房间"),
    "progress_rows": ("Tables looked at", "已检查的表"),
    "progress_deactivated": ("Deactivated", "已停用"),
    "progress_unreadable": ("Events that can't be read", "无法读取的事件"),
    "progress_keepers": ("Other places done", "已完成的其他位置"),
    "progress_invites": ("Invites", "邀请"),
    "progress_media": ("Files", "文件"),
    "progress_media_bytes": ("Bytes of files", "文件字节数"),
    "progress_rooms_done": ("Rooms done", "已完成的房间"),
    "progress_failed_redactions": ("Not redacted", "未能撤回"),
    "progress_kicked_users": ("Users taken out", "已移出的用户"),
    "progress_failed_to_kick_users": ("Users not taken out", "未能移出的用户"),
    "progress_local_aliases": ("Aliases moved", "已迁移的别名"),
    "progress_new_room_id": ("New room", "新房间"),
    "progress_purged_events": ("Events purged", "已清除的事件"),
    "progress_places": ("Places rewritten", "已重写的位置"),
    "progress_tables": ("Tables rewritten", "已重写的表"),
    "progress_freed_bytes": ("Bytes freed", "释放的字节数"),
}
# Where it is: shown as a part of the whole, or for whoever takes the job up again.
PLACES: Final = frozenset({"at", "after", "done", "of", "begun_ts", "oldest_ts", "log"})


def shown(progress: Mapping[str, Any]) -> Sequence[tuple[str, object]]:
    """What is worth saying: the text's key, and a number, a name or whether so. Lists only by how long they are."""
    at = next((progress[name] for name in ("at", "after", "done") if isinstance(progress.get(name), int)), None)
    of = progress.get("of")
    said: list[tuple[str, object]] = []
    if at is not None and isinstance(of, int) and of > 0:
        said.append(("progress_part", f"{min(100, 100 * at // of)} %"))
    for name, value in progress.items():
        if name in PLACES or value is None or f"progress_{name}" not in PROGRESS:
            continue
        counted = len(value) if isinstance(value, list | dict) else value
        is_number = isinstance(counted, int) and not isinstance(counted, bool)
        said.append((f"progress_{name}", f"{counted:,}" if is_number else counted))
    return said
