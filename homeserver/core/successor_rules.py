"""Push rules about a room, carried over to the room that replaces it. Pure."""

from __future__ import annotations

from dataclasses import replace

from homeserver.core.push_rules import PushEdits, check_caps


def with_rules_of_room(edits: PushEdits, old: str, new: str) -> PushEdits:
    """The edits with copies, for a new room, of the rules about an old one; what there is for the new one stays.

    Raises InvalidParam where that are too many rules.
    """
    copied = edits
    for kind in ("override", "room", "underride"):
        known = {rule.rule_id for rule in edits.own(kind)}
        copies = [
            replace(
                rule,
                rule_id=rule.rule_id.replace(old, new),
                conditions=tuple(
                    {**condition, "pattern": new} if condition.get("pattern") == old else condition
                    for condition in rule.conditions
                ),
            )
            for rule in edits.own(kind)
            if old in rule.rule_id and rule.rule_id.replace(old, new) not in known
        ]
        if copies:
            copied = copied.with_own(kind, [*copies, *copied.own(kind)])
    if copied is not edits:
        check_caps(copied)
    return copied
