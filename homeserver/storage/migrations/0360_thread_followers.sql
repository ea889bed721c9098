-- Who follows a thread, for push rules that ask it.
CREATE INDEX thread_subscriptions_by_root ON thread_subscriptions (root) WHERE is_subscribed;
