-- Of all sessions, OAuth's too, `spent_refresh_tokens` knows which tokens were replaced.
DROP TABLE oauth_spent_tokens;
