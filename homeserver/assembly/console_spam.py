"""The console's pages of spam rules and policy lists, plugged together."""

from __future__ import annotations

from admin.actions.room_hand import RoomHand
from admin.console.desk import Desk
from admin.console.policy_lists import PolicyListPages
from admin.console.spam_decisions import SpamDecisionPages
from admin.console.spam_lists import SpamListPages
from admin.console.spam_rules import SpamRulePages
from admin.console.spam_trials import SampleMarks, SpamTrialPages
from admin.spam.api import DecisionEndpoints, PolicyListEndpoints, RuleEndpoints, TrialEndpoints
from homeserver.assembly.admin import AdminParts
from homeserver.assembly.base import Base
from homeserver.assembly.spam import SpamParts


def spam_pages(base: Base, admin: AdminParts, spam: SpamParts, faces: list[object]) -> list[object]:
    """`faces` are the endpoints of the admin API: what a page does is one call of theirs."""
    db, clock, desk = base.world.db, base.world.clock, admin.desk
    rules = _one(faces, RuleEndpoints)
    marks = SampleMarks(db, clock, admin.audit)
    return [
        SpamRulePages(desk, db, clock, spam.book, rules),
        SpamTrialPages(desk, admin.rooms.jobs, _one(faces, TrialEndpoints), marks),
        SpamDecisionPages(desk, db, spam.reviewing, _one(faces, DecisionEndpoints)),
        SpamListPages(desk, spam.book, rules),
        PolicyListPages(desk, db, spam.lists, _one(faces, PolicyListEndpoints), admin.rooms.hand),
    ]
