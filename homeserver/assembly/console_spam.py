"""The console's pages of spam rules and policy lists, plugged together."""

from __future__ import annotations

from dataclasses import dataclass

from admin.console.policy_lists import PolicyListPages
from admin.console.spam_decisions import SpamDecisionPages
from admin.console.spam_lists import SpamListPages
from admin.console.spam_rules import SpamRulePages
from admin.console.spam_trials import SampleMarks, SpamTrialPages
from admin.spam.api import DecisionEndpoints, RuleEndpoints, TrialEndpoints
from admin.spam.book import RuleBook
from admin.spam.policy_lists import PolicyLists
from admin.spam.reviewing import Reviewing
from admin.spam.room_api import PolicyListEndpoints
from homeserver.assembly.admin import AdminParts
from homeserver.assembly.base import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class SpamFaces:
    """The endpoints of the admin API: what a page does is one call of theirs."""

    rules: RuleEndpoints
    trials: TrialEndpoints
    lists: PolicyListEndpoints
    decisions: DecisionEndpoints


def spam_pages(
    base: Base, admin: AdminParts, faces: SpamFaces, book: RuleBook, reviewing: Reviewing, lists: PolicyLists
) -> list[object]:
    db, clock, desk = base.world.db, base.world.clock, admin.desk
    return [
        SpamRulePages(desk, db, clock, book, faces.rules),
        SpamTrialPages(desk, admin.rooms.jobs, faces.trials, SampleMarks(db, clock, admin.audit)),
        SpamDecisionPages(desk, db, reviewing, faces.decisions),
        SpamListPages(desk, book, faces.rules),
        PolicyListPages(desk, db, lists, faces.lists),
    ]
