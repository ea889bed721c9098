"""What the page of those who run the server says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# key → English, Chinese
OPERATORS: Final[Mapping[str, tuple[str, str]]] = {
    "act_erase": ("Erase a user", "抹除用户"),
    "act_impersonate": ("Get into a user's account", "进入用户账户"),
    "act_delete_room": ("Delete a room", "删除房间"),
    "act_purge_history": ("Purge a room's history", "清除房间历史"),
    "act_search_content": ("Search in what everybody wrote", "搜索所有人的内容"),
    "case_elsewhere": (
        "This case is about other rooms too: whoever has those as well closes it.",
        "本案件还涉及其他房间，须由也管理那些房间的人员结案。",
    ),
    "nav_operators": ("Operators", "管理人员"),
    "operators_text": (
        "Who runs this server. A moderator's role can be bound to rooms, or to the rooms of spaces, and to some "
        "actions: then they see and do nothing beyond these, here and by the admin API.",
        "管理本服务器的人员。版主角色可限定于某些房间（或空间内的房间）及某些操作：除此之外，"
        "无论在此控制台还是通过管理 API，他们都看不到也做不了任何事。",
    ),
    "do_give_role": ("Give a role", "授予角色"),
    "do_take_role": ("Take the role", "收回角色"),
    "done_role": ("The role is given.", "角色已授予。"),
    "done_role_taken": ("The role is taken.", "角色已收回。"),
    "do_change": ("Change", "更改"),
    "role": ("Role", "角色"),
    "col_rooms": ("Rooms", "房间"),
    "col_may": ("May", "权限"),
    "all_of_role": ("all that the role may", "该角色的全部权限"),
    "bound_rooms": ("A moderator of these rooms alone (empty: all)", "仅限这些房间的版主（留空：全部）"),
    "bound_rooms_text": (
        "Ids of rooms, or their aliases here, one a line."
        " Of a space all rooms count that it names and that name it as their parent.",
        "每行一个房间 ID，或该房间在本服务器上的别名。填写空间时，凡被该空间列出且自身也将其设为父空间的房间都算在内。",
    ),
    "bound_actions": ("A moderator may", "版主可以"),
    "may_read_users": ("look at accounts", "查看账户"),
    "may_moderate_users": ("suspend, lock, redact", "暂停、锁定、撤下消息"),
    "may_read_rooms": ("look at rooms", "查看房间"),
    "may_read_content": ("read what people wrote", "阅读用户所写内容"),
    "may_moderate_rooms": ("kick, ban, block rooms", "移出、封禁、屏蔽房间"),
    "may_read_media": ("look at files", "查看文件"),
    "may_moderate_media": ("quarantine files", "隔离文件"),
    "may_read_reports": ("look at cases and reports", "查看案件和举报"),
    "may_handle_reports": ("work on cases and reports", "处理案件和举报"),
    "may_read_federation": ("look at other servers", "查看其他服务器"),
    "may_read_jobs": ("look at background jobs", "查看后台任务"),
    "may_read_rules": ("look at spam rules", "查看垃圾信息规则"),
    "may_change_rules": ("change spam rules, undo decisions", "更改垃圾信息规则、撤销判定"),
    "may_read_server": ("look at the overview", "查看概览"),
    "may_own_tokens": ("make tokens of their own", "创建自己的令牌"),
}
