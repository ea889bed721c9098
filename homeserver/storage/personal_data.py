"""What an account keeps beside what it said in rooms: gone when the account ends."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Tx

_DELETE = """
    WITH a AS (DELETE FROM account_data WHERE user_id = $1),
        b AS (DELETE FROM filters WHERE user_id = $1),
        c AS (DELETE FROM push_rules WHERE user_id = $1),
        d AS (DELETE FROM pushers WHERE user_id = $1),
        e AS (DELETE FROM presence WHERE user_id = $1),
        f AS (DELETE FROM receipts WHERE user_id = $1),
        g AS (DELETE FROM unread_marks WHERE user_id = $1),
        h AS (DELETE FROM backed_up_sessions WHERE user_id = $1),
        i AS (DELETE FROM key_backups WHERE user_id = $1),
        j AS (DELETE FROM cross_signing_keys WHERE user_id = $1),
        k AS (DELETE FROM device_keys WHERE user_id = $1),
        l AS (DELETE FROM one_time_keys WHERE user_id = $1),
        m AS (DELETE FROM fallback_keys WHERE user_id = $1),
        n AS (DELETE FROM dehydrated_devices WHERE user_id = $1),
        o AS (DELETE FROM to_device_messages WHERE user_id = $1),
        p AS (DELETE FROM to_device_transactions WHERE user_id = $1),
        q AS (DELETE FROM openid_tokens WHERE user_id = $1),
        r AS (DELETE FROM sliding_connections WHERE user_id = $1),
        s AS (DELETE FROM sessions_to_end WHERE user_id = $1),
        t AS (DELETE FROM login_tokens WHERE user_id = $1),
        u AS (DELETE FROM browser_sessions WHERE user_id = $1),
        v AS (DELETE FROM oauth_codes WHERE user_id = $1),
        w AS (DELETE FROM oauth_device_codes WHERE user_id = $1),
        x AS (DELETE FROM oauth_sessions WHERE user_id = $1),
        y AS (DELETE FROM external_ids WHERE user_id = $1),
        z AS (DELETE FROM pushes WHERE user_id = $1),
        aa AS (DELETE FROM contact_validations WHERE user_id = $1),
        ab AS (DELETE FROM saved_searches WHERE user_id = $1),
        ac AS (DELETE FROM upstream_sessions WHERE user_id = $1)
    SELECT
"""


async def delete(tx: Tx, user_id: UserId) -> None:
    """Account data, push rules, receipts, keys, backups and all else that only this user needed. One statement."""
    await tx.execute(_DELETE, user_id)
