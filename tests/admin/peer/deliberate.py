"""What is answered otherwise than by Synapse on purpose, and why. docs/operating/admin-api.md tells operators."""

from __future__ import annotations

import re

_REASONS = (
    # Whole answers.
    (r"\[1\]: 'M_[A-Z_]+', 'M_(BAD_JSON|MISSING_PARAM|INVALID_PARAM|NOT_FOUND)'$",
     "the status is the same, and the code is the one that the specification has for it"),
    (r"\.approved: missing, True$", "always told: nobody waits for approval"),
    (r"\.(tombstoned|dehydrated|unsigned\.prev_[a-z]+|im\.nheko\.summary\.[a-z_]+): missing, ", "told more"),
    (r"\.(age|user_id): ('a int'|'<[a-z]+>'), missing$", "keys of the protocol's first version, left out since r0"),
    (r"\.(prev_content|replaces_state|age_ts|unsigned): .*, missing$", "the same: what it replaced is in `unsigned`"),
    (r"search_users", "never a password's hash; and all that lists tell"),
    (r"whois/\{alice\}.*\.devices\.", "by device, as the specification has it"),
    (r"alice GET /v1/whois/\{alice\}", "one's own is asked for below /_matrix/client, as the specification has it"),
    (r"whois/@none", "nobody's devices aren't told"),
    (r"media_info\.media_origin: None, ", "told for files of this server too"),
    (r"threepid/email", "an address is found however its letters are written"),
    (r"quarantine_changes\?limit=1 ", "as many as asked for"),
    (r"DELETE /v1/media/elsewhere.test", "copies of other servers' files can be deleted too, so there is a 404"),
    (r"join/!none|make_room_admin|/v1/user/\{alice\}/redact .*'limit': 0", "a better word for the same refusal"),
    (r"'purge_up_to_ts': 1\}", "there is nothing that old"),
    (r"purge_history_status/", "it purged what Synapse, on SQLite, failed to"),
    (r"\.purged_events: missing, ", "told more"),
    (r"DELETE /v[12]/rooms/(\{space\}|!none:\{server\})", "a room that isn't there is deleted only to block it"),
    (r"\.last_seen_ts: ", "Synapse writes it down later"),
    (r"@dave.*displayname: 'David', None$", "an account that is ended has no profile"),
    (r"'deactivated': False\}\[1\]: \{", "an account without a password can't be opened again"),
    (r"background_updates/enabled \{\}\[1\]", "what is missing isn't taken for true"),
    (r"order_by=(quarantined_by|last_access_ts|last_seen_ts) .*\.(media|users)\[", "where all are alike, in any order"),
    # SQLite and its own work.
    (r"database/rooms .*: (400|'M_UNKNOWN'), ", "that Synapse counts on PostgreSQL alone"),
    (r"background_updates/status .*current_updates", "its own work on its own tables"),
    (r"order_by=creation_ts .*\.users", "Synapse keeps seconds, so that those made at once are in any order"),
    (r"/v1/rooms/none", "what is no room's id is a 400 everywhere"),
    (r"/v1/rooms/!none:\{server\}/(forward|messages)", "a room that isn't there is a 404 everywhere"),
    (r"order_by=canonical_alias .*\.rooms", "SQLite puts what has no value first, PostgreSQL last"),
    # What is wrong is refused.
    (r"\]?: 200, (400|404)$|\]: \{\}, 'M_(BAD_JSON|NOT_FOUND)'$", "what is wrong or not there is refused"),
    (r"\]?: 500, (400|404)$", "what is wrong is the caller's, not the server's"),
)  # fmt: skip


def is_deliberate(line: str) -> bool:
    """Whether a difference, as `scene.differences` words it, is one of these."""
    return any(re.search(pattern, line) for pattern, _ in _REASONS)
