"""What the pages of legal holds, exports and retention say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# key → English, Chinese
EVIDENCE: Final[Mapping[str, tuple[str, str]]] = {
    "nav_holds": ("Legal holds", "法律保全"),
    "nav_exports": ("Exports", "导出"),
    "nav_retention": ("Retention", "保留期限"),
    "search_holds": ("User, room or number of the hold", "用户、房间或保全编号"),
    "search_exports": ("User, room, operator or number", "用户、房间、管理人员或编号"),
    "search_retention": ("Room id", "房间 ID"),
    "held": ("In force", "生效中"),
    "released": ("Released", "已解除"),
    "holds_text": (
        "Of whom or what is held nothing is erased: not by redaction, retention, purge or deletion. "
        "The people concerned don't see it.",
        "被保全的对象不会被删除：撤回、保留期限、清除和删除均不生效。当事人看不到保全状态。",
    ),
    "hold_target": ("User (@name:server) or room (!id)", "用户（@名称:服务器）或房间（!ID）"),
    "do_hold": ("Hold", "保全"),
    "do_release": ("Release", "解除保全"),
    "release_text": (
        "What became due meanwhile is erased for good within the hour.",
        "期间到期的内容将在一小时内被永久删除。",
    ),
    "done_held": ("It is held.", "已保全。"),
    "done_released": ("The hold is released.", "保全已解除。"),
    "set_by": ("Set by", "设置者"),
    "released_by": ("Released by", "解除者"),
    "hold_number": ("Hold", "保全编号"),
    "exports_text": (
        "All that a room or a user said, with the server's signature; of a user also what is kept of them. "
        "What was written is deleted after {days} days, and at once when somebody in it is erased.",
        "导出某房间或用户的全部发言，附服务器签名；用户导出还包含其个人数据。"
        "导出文件 {days} 天后删除；若其中有人被抹除，则立即删除。",
    ),
    "new_export": ("New export", "新建导出"),
    "formats": ("To read as well", "附加可读格式"),
    "form_html": ("Web page (HTML)", "网页（HTML）"),
    "form_text": ("Text", "纯文本"),
    "form_parquet": ("Table (Parquet)", "表格（Parquet）"),
    "form_jsonl": ("JSON lines", "JSON 行"),
    "since_day": ("From day (optional)", "起始日期（可选）"),
    "until_day": ("To day (optional)", "结束日期（可选）"),
    "with_files": ("Uploaded files as well (of a user)", "包含上传的文件（仅用户）"),
    "with_redacted": ("What redacted events had said as well (owners)", "包含已撤回内容（仅所有者）"),
    "do_export": ("Export", "导出"),
    "done_export": ("The export is being written.", "正在写入导出文件。"),
    "done_export_deleted": ("The export is deleted.", "导出已删除。"),
    "export_of": ("Export of {target}", "{target} 的导出"),
    "export_events": ("Events", "事件数"),
    "export_waits": ("It is being written.", "正在写入。"),
    "export_gone": ("Its files aren't here: not written, or deleted.", "文件不存在：未写入或已删除。"),
    "download": ("Download", "下载"),
    "checksum": ("SHA-256", "SHA-256"),
    "more_files": ("{count} more files: take them over the API.", "还有 {count} 个文件：请通过 API 获取。"),
    "verify_title": ("Prove that nothing was changed", "验证未被修改"),
    "verify_text": (
        "Put all files into one folder and run the verifier, which needs nothing of this server; take the key from "
        "the server's own address, not from the export.",
        "将所有文件放入同一文件夹并运行验证程序（无需本服务器）；密钥请从服务器地址获取，而非导出文件。",
    ),
    "merkle_root": ("Merkle root", "默克尔根"),
    "do_delete_export": ("Delete this export", "删除此导出"),
    "retention_on": ("Messages expire by these rules.", "消息按以下规则过期。"),
    "retention_off": (
        "Retention is off: nothing expires until `rooms.retention` is true in the configuration.",
        "保留期限已关闭：在配置中将 `rooms.retention` 设为 true 之前不会删除任何内容。",
    ),
    "in_force": ("In force", "生效值"),
    "as_if": ("As if", "假设值"),
    "ret_default": ("Rooms that don't say", "未设置的房间"),
    "ret_least": ("At least", "最短"),
    "ret_most": ("At most", "最长"),
    "off": ("Off", "已关闭"),
    "n_days": ("{days} d", "{days} 天"),
    "for_ever": ("for ever", "永久"),
    "no_limit": ("no limit", "无限制"),
    "look_ahead": ("Look what would go", "预览将删除的内容"),
    "look_ahead_text": (
        "Counts, and changes nothing. Leave empty what is to stay as it is in force. Days; 0 is for ever.",
        "仅统计，不做更改。留空表示沿用当前规则。单位为天；0 表示永久。",
    ),
    "room_optional": ("Room (empty: all)", "房间（留空为全部）"),
    "room_wish": ("The room's own lifetime", "房间自身期限"),
    "rooms_that_say": ("Rooms that say how long", "自行设置期限的房间"),
    "says": ("It says", "房间设置"),
    "is_kept": ("Kept for", "实际保留"),
    "would_go": ("What would go", "将被删除的内容"),
    "ret_rooms": ("Rooms", "房间"),
    "ret_events": ("Messages", "消息"),
    "ret_bytes": ("Bytes", "字节"),
    "ret_files": ("Files", "文件"),
    "ret_oldest": ("The oldest is of", "最早日期"),
    "largest_rooms": ("Rooms that lose most", "删除最多的房间"),
    "whole_server": ("whole server", "整个服务器"),
    "set_for_room": ("Set it for this room", "应用于此房间"),
    "set_for_room_text": (
        "Everybody in the room sees it (m.room.retention). What is older goes in the next round, for good.",
        "房间内所有人都会看到此设置（m.room.retention）。更早的内容将在下一轮被永久删除。",
    ),
    "set_for_server": (
        "For the whole server it stands in the configuration, and is in force after a restart:",
        "整个服务器的规则写在配置文件中，重启后生效：",
    ),
    "done_retention": ("The room says so now.", "房间已应用该设置。"),
    "to_hold": ("Hold", "保全"),
    "to_export": ("Export", "导出"),
    "to_retention": ("Retention", "保留期限"),
}
