"""Push rules. spec: client-server-api/#push-rules-api"""

from __future__ import annotations

import msgspec

from homeserver.core.errors import MissingParam
from homeserver.core.push_rules import delete_rule, find_rule, put_rule, set_actions, set_enabled
from homeserver.push.rulesets import PushRulesets
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_V3, _R0 = "/_matrix/client/v3/pushrules", "/_matrix/client/r0/pushrules"
_RULE = "/global/{kind}/{rule_id}"
_BODY_BYTES_MAX = 64 * 1024


class PlaceQuery(msgspec.Struct, frozen=True):
    before: str | None = None
    after: str | None = None


class PushRuleEndpoints:
    def __init__(self, rulesets: PushRulesets) -> None:
        self._rulesets = rulesets

    @endpoint(
        "GET",
        _V3 + "/",
        _R0 + "/",
        _V3,
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3pushrules",
    )
    async def rulesets(self, caller: Caller) -> Json:
        return {"global": await self._rulesets.ruleset(caller.user_id)}

    @endpoint(
        "GET",
        _V3 + "/global/",
        _R0 + "/global/",
        _V3 + "/global",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3pushrulesglobal",
    )
    async def global_ruleset(self, caller: Caller) -> Json:
        return dict(await self._rulesets.ruleset(caller.user_id))

    @endpoint(
        "GET",
        _V3 + _RULE,
        _R0 + _RULE,
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3pushrulesglobalkindruleid",
    )
    async def rule(self, caller: Caller, kind: str, rule_id: str) -> Json:
        found = find_rule(await self._rulesets.edits(caller.user_id), kind, rule_id)
        return found.as_json(caller.user_id)

    @endpoint(
        "PUT",
        _V3 + _RULE,
        _R0 + _RULE,
        access=Access.USER,
        spec="client-server-api/#put_matrixclientv3pushrulesglobalkindruleid",
        limit="account_data",
        body_bytes_max=_BODY_BYTES_MAX,
        while_suspended=False,
    )
    async def put(self, caller: Caller, kind: str, rule_id: str, query: PlaceQuery, body: Json) -> Json:
        if "actions" not in body:
            raise MissingParam("the field actions is missing")
        await self._rulesets.change(
            caller.user_id,
            lambda edits: put_rule(edits, kind, rule_id, body, before=query.before, after=query.after),
        )
        return {}

    @endpoint(
        "DELETE",
        _V3 + _RULE,
        _R0 + _RULE,
        access=Access.USER,
        spec="client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid",
        limit="account_data",
        while_suspended=False,
    )
    async def delete(self, caller: Caller, kind: str, rule_id: str) -> Json:
        await self._rulesets.change(caller.user_id, lambda edits: delete_rule(edits, kind, rule_id))
        return {}

    @endpoint(
        "GET",
        _V3 + _RULE + "/enabled",
        _R0 + _RULE + "/enabled",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3pushrulesglobalkindruleidenabled",
    )
    async def enabled(self, caller: Caller, kind: str, rule_id: str) -> Json:
        return {"enabled": find_rule(await self._rulesets.edits(caller.user_id), kind, rule_id).enabled}

    @endpoint(
        "PUT",
        _V3 + _RULE + "/enabled",
        _R0 + _RULE + "/enabled",
        access=Access.USER,
        spec="client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled",
        limit="account_data",
        while_suspended=False,
    )
    async def put_enabled(self, caller: Caller, kind: str, rule_id: str, body: Json) -> Json:
        if "enabled" not in body:
            raise MissingParam("the field enabled is missing")
        await self._rulesets.change(caller.user_id, lambda edits: set_enabled(edits, kind, rule_id, body["enabled"]))
        return {}

    @endpoint(
        "GET",
        _V3 + _RULE + "/actions",
        _R0 + _RULE + "/actions",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions",
    )
    async def actions(self, caller: Caller, kind: str, rule_id: str) -> Json:
        return {"actions": list(find_rule(await self._rulesets.edits(caller.user_id), kind, rule_id).actions)}

    @endpoint(
        "PUT",
        _V3 + _RULE + "/actions",
        _R0 + _RULE + "/actions",
        access=Access.USER,
        spec="client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions",
        limit="account_data",
        body_bytes_max=_BODY_BYTES_MAX,
        while_suspended=False,
    )
    async def put_actions(self, caller: Caller, kind: str, rule_id: str, body: Json) -> Json:
        if "actions" not in body:
            raise MissingParam("the field actions is missing")
        await self._rulesets.change(caller.user_id, lambda edits: set_actions(edits, kind, rule_id, body["actions"]))
        return {}
