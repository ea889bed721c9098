"""What the database keeps of a user beside events, table by table: to be counted, taken out and deleted.

A test holds these lists complete: a table that names users and stands in none of them fails it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

# Table → the rows of it that are the user's own, as a statement goes on. `$1` is the user's id.
OWN: Mapping[str, str] = {
    "access_tokens": "FROM access_tokens WHERE user_id = $1",
    "account_data": "FROM account_data WHERE user_id = $1",
    "backed_up_sessions": "FROM backed_up_sessions WHERE user_id = $1",
    "browser_sessions": "FROM browser_sessions WHERE user_id = $1",
    # What others reported of them, as it was then; a case's notes are the moderators' own words.
    "case_evidence": (
        "FROM case_evidence WHERE position(convert_to('\"sender\":' || to_json($1::text)::text, 'UTF8') IN json) > 0"
    ),
    "console_factors": "FROM console_factors WHERE user_id = $1",
    "console_sessions": "FROM console_sessions WHERE user_id = $1",
    "contact_bindings": "FROM contact_bindings WHERE user_id = $1",
    # By address too: who registers with one has no user id yet.
    "contact_validations": (
        "FROM contact_validations WHERE user_id = $1 OR address IN (SELECT address FROM contacts WHERE user_id = $1)"
    ),
    "contacts": "FROM contacts WHERE user_id = $1",
    "cross_signing_keys": "FROM cross_signing_keys WHERE user_id = $1",
    "dehydrated_devices": "FROM dehydrated_devices WHERE user_id = $1",
    "delayed_events": "FROM delayed_events WHERE user_id = $1",
    "device_keys": "FROM device_keys WHERE user_id = $1",
    "devices": "FROM devices WHERE user_id = $1",
    "directory_users": "FROM directory_users WHERE user_id = $1",
    "directory_words": "FROM directory_words WHERE user_id = $1",
    "event_expiries": "FROM event_expiries WHERE sender = $1",
    "event_webhooks": "FROM event_webhooks WHERE owner = $1",
    "experimental_features": "FROM experimental_features WHERE user_id = $1",
    "external_ids": "FROM external_ids WHERE user_id = $1",
    "fallback_keys": "FROM fallback_keys WHERE user_id = $1",
    "filters": "FROM filters WHERE user_id = $1",
    "key_backups": "FROM key_backups WHERE user_id = $1",
    "key_signatures": "FROM key_signatures WHERE signer = $1 OR target_user = $1",
    "login_tokens": "FROM login_tokens WHERE user_id = $1",
    "media_uploads": "FROM media_uploads WHERE user_id = $1",
    "oauth_codes": "FROM oauth_codes WHERE user_id = $1",
    "oauth_device_codes": "FROM oauth_device_codes WHERE user_id = $1",
    "oauth_sessions": "FROM oauth_sessions WHERE user_id = $1",
    "one_time_keys": "FROM one_time_keys WHERE user_id = $1",
    "openid_tokens": "FROM openid_tokens WHERE user_id = $1",
    "operator_tokens": "FROM operator_tokens WHERE user_id = $1",
    "passkey_accounts": "FROM passkey_accounts WHERE user_id = $1",
    "passkeys": "FROM passkeys WHERE user_id = $1",
    "policy_server_refusals": "FROM policy_server_refusals WHERE sender = $1",
    "presence": "FROM presence WHERE user_id = $1",
    "profiles": "FROM profiles WHERE user_id = $1",
    "push_rules": "FROM push_rules WHERE user_id = $1",
    "pushers": "FROM pushers WHERE user_id = $1",
    "pushes": "FROM pushes WHERE user_id = $1",
    "rate_limit_overrides": "FROM rate_limit_overrides WHERE user_id = $1",
    "receipts": "FROM receipts WHERE user_id = $1",
    "refresh_tokens": "FROM refresh_tokens WHERE user_id = $1",
    "spent_refresh_tokens": "FROM spent_refresh_tokens WHERE user_id = $1",
    "remote_device_lists": "FROM remote_device_lists WHERE user_id = $1",
    "reports": "FROM reports WHERE reporter = $1",
    "saved_searches": "FROM saved_searches WHERE user_id = $1",
    "server_notice_rooms": "FROM server_notice_rooms WHERE user_id = $1",
    "sessions_to_end": "FROM sessions_to_end WHERE user_id = $1",
    "sliding_connections": "FROM sliding_connections WHERE user_id = $1",
    "spam_decisions": "FROM spam_decisions WHERE sender = $1",
    "spam_first_seen": "FROM spam_first_seen WHERE user_id = $1",
    "spam_list_bans": "FROM spam_list_bans WHERE user_id = $1",
    "spam_mutes": "FROM spam_mutes WHERE user_id = $1",
    "spam_webhook_calls": "FROM spam_webhook_calls WHERE position($1 IN body) > 0",
    "staged_pdus": (
        "FROM staged_pdus WHERE position(convert_to('\"sender\":' || to_json($1::text)::text, 'UTF8') IN json) > 0"
    ),
    "sticky_events": "FROM sticky_events WHERE sender = $1",
    "thread_subscriptions": "FROM thread_subscriptions WHERE user_id = $1",
    "to_device_messages": (
        "FROM to_device_messages WHERE user_id = $1 "
        "OR position(convert_to('\"sender\":' || to_json($1::text)::text, 'UTF8') IN message) > 0"
    ),
    "to_device_transactions": "FROM to_device_transactions WHERE user_id = $1",
    "outgoing_to_device": (
        "FROM outgoing_to_device WHERE "
        "position(convert_to('\"sender\":' || to_json($1::text)::text, 'UTF8') IN content) > 0"
    ),
    "unread_marks": "FROM unread_marks WHERE user_id = $1",
    "unread_pages": "FROM unread_pages WHERE user_id = $1",
    "upstream_sessions": "FROM upstream_sessions WHERE user_id = $1",
    "webhooks": "FROM webhooks WHERE owner = $1",
}
_COUNTS = "SELECT " + ", ".join("(SELECT count(*) " + rows + ") AS " + table for table, rows in OWN.items())
# Of `contacts` last: other rows are found by them.
_DELETES = ["DELETE " + rows for table, rows in sorted(OWN.items(), key=lambda one: one[0] == "contacts")]
# Tables that name users for the server's sake, and keep nothing that they said: why each stays.
STAYS: Mapping[str, str] = {
    "approvals": "acts of operators",
    "audit_log": "acts of operators: only added to",
    "blocked_rooms": "acts of operators",
    "device_list_changes": "a position: others must hear that the devices are gone",
    "early_redactions": "who asked for which event to go: it does once it comes",
    "event_relations": "deleted with the events",
    "events": "their skeletons are the rooms' graph",
    "legal_holds": "acts of operators",
    "media": "deleted with the files",
    "media_files": "deleted with the last id that names them; of one in quarantine its hash stays",
    "media_quarantine_changes": "acts of operators",
    "memberships": "who was in a room is the room's state",
    "operator_roles": "acts of operators",
    "profile_changes": "a position: others must hear that the profile is gone",
    "roles_changed_beside": "acts of operators, until the server has heard of them",
    "room_aliases": "the rooms' names",
    "room_overviews": "made from the rooms' state",
    "rooms": "who made a room is part of its graph",
    "spam_policy_lists": "acts of operators",
    "spam_rule_versions": "acts of operators",
    "unredacted_reads": "who looked at what redacted events said",
    "user_erasures": "that the user was erased",
    "users": "the name stays taken, so that nobody speaks in it",
}
_NAMING_USERS = """
    SELECT DISTINCT table_name
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = ANY($1::text[])
"""
USER_COLUMNS = (
    "user_id sender reporter creator signer target_user uploader owner actor set_by asked_by given_by added_by made_by "
    "blocked_by changed_by quarantined_by member recipient"
).split()

# Name in the export → what of it, with times in milliseconds. Never a secret: digests and key material stay here.
TAKEN_OUT: Mapping[str, str] = {
    "account": """
        SELECT user_id, created_ts, user_type, is_admin, is_guest, is_deactivated, is_locked, is_suspended,
            password_hash IS NOT NULL AS has_password FROM users WHERE user_id = $1
    """,
    "profile": "SELECT field, value FROM profiles WHERE user_id = $1 ORDER BY field",
    "addresses": "SELECT medium, address, validated_ts, added_ts FROM contacts WHERE user_id = $1 ORDER BY address",
    "addresses_bound": """
        SELECT medium, address, id_server FROM contact_bindings WHERE user_id = $1 ORDER BY address, id_server
    """,
    "sign_in_services": "SELECT provider, subject FROM external_ids WHERE user_id = $1 ORDER BY provider, subject",
    "devices": """
        SELECT device_id, display_name, last_seen_ts, last_seen_ip, last_seen_user_agent
        FROM devices WHERE user_id = $1 ORDER BY device_id
    """,
    "passkeys": "SELECT name, created_ts, used_ts FROM passkeys WHERE user_id = $1 ORDER BY created_ts",
    "sessions": """
        SELECT device_id, expires_ts, 'access' AS kind FROM access_tokens WHERE user_id = $1
        UNION ALL SELECT device_id, expires_ts, 'refresh' FROM refresh_tokens WHERE user_id = $1 ORDER BY 1, 2
    """,
    "rooms": """
        SELECT r.room_id, m.membership, m.is_forgotten FROM memberships m JOIN rooms r USING (room_nid)
        WHERE m.user_id = $1 ORDER BY r.room_id
    """,
    "room_aliases": "SELECT alias, room_id FROM room_aliases WHERE creator = $1 ORDER BY alias",
    "account_data": "SELECT room_id, type, content FROM account_data WHERE user_id = $1 ORDER BY room_id, type",
    "receipts": """
        SELECT room_id, receipt_type, thread_id, event_id, ts FROM receipts WHERE user_id = $1
        ORDER BY room_id, receipt_type, thread_id
    """,
    "thread_subscriptions": """
        SELECT room_id, root, is_subscribed FROM thread_subscriptions WHERE user_id = $1 ORDER BY room_id, root
    """,
    "push_rules": "SELECT changes FROM push_rules WHERE user_id = $1",
    "pushers": "SELECT app_id, device_id, description, changed_ts FROM pushers WHERE user_id = $1 ORDER BY app_id",
    "filters": "SELECT filter_id, definition FROM filters WHERE user_id = $1 ORDER BY filter_id",
    "presence": "SELECT status_msg, last_active_ms FROM presence WHERE user_id = $1",
    "device_keys": "SELECT device_id, keys FROM device_keys WHERE user_id = $1 ORDER BY device_id",
    "cross_signing_keys": "SELECT usage, key FROM cross_signing_keys WHERE user_id = $1 ORDER BY usage",
    "key_backups": """
        SELECT b.version, b.algorithm, b.is_deleted, (
            SELECT count(*) FROM backed_up_sessions s WHERE s.user_id = b.user_id AND s.version = b.version
        ) AS sessions FROM key_backups b WHERE b.user_id = $1 ORDER BY b.version
    """,
    "media": """
        SELECT media_id, created_ts, size_bytes, content_type, file_name, digest AS sha256
        FROM media WHERE user_id = $1 ORDER BY created_ts, media_id
    """,
    "delayed_events": """
        SELECT room_id, type, state_key, content, delay_ms, since_ts FROM delayed_events WHERE user_id = $1
        ORDER BY since_ts, delay_id
    """,
    "reports_made": """
        SELECT kind, target, room_id, reason, received_ts FROM reports WHERE reporter = $1 ORDER BY report_id
    """,
    "spam_decisions": """
        SELECT decided_ts, hook, outcome, room_id, event_id, appeal FROM spam_decisions WHERE sender = $1
        ORDER BY decision_id
    """,
    "limits": "SELECT messages_per_second, burst_count FROM rate_limit_overrides WHERE user_id = $1",
    "saved_searches": """
        SELECT name, term, is_paused, created_ms, webhook_url FROM saved_searches WHERE user_id = $1 ORDER BY search_id
    """,
    "webhooks": """
        SELECT room_id, name, source, template, created_ts, used_ts FROM webhooks WHERE owner = $1 ORDER BY webhook_id
    """,
    "event_webhooks": """
        SELECT room_id, name, url, types, created_ts FROM event_webhooks WHERE owner = $1 ORDER BY webhook_id
    """,
    "operator_tokens": """
        SELECT name, scopes, created_ts, expires_ts FROM operator_tokens WHERE user_id = $1 ORDER BY token_nid
    """,
}


async def taken_out(db: Reader, user_id: UserId) -> dict[str, list[dict[str, Any]]]:
    """All that `TAKEN_OUT` names; values that are bytes as they are. One query a name."""
    return {name: [dict(row.items()) for row in await db.fetch(sql, user_id)] for name, sql in TAKEN_OUT.items()}


async def counts(db: Reader, user_id: UserId) -> dict[str, int]:
    """How many rows of each table are the user's own; empty tables are left out. One query."""
    row = await db.fetchrow(_COUNTS, user_id)
    assert row is not None
    return {table: count for table, count in zip(OWN, row.values(), strict=True) if count}


async def delete(tx: Tx, user_id: UserId) -> None:
    """Deletes them all."""
    for sql in _DELETES:
        await tx.execute(sql, user_id)


async def tables_naming_users(db: Reader) -> frozenset[str]:
    """Tables with a column that holds ids of users, by the usual names of such columns."""
    return frozenset(row["table_name"] for row in await db.fetch(_NAMING_USERS, list(USER_COLUMNS)))
