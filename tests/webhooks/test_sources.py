"""What each program's payload becomes in a room; shapes as the programs' own documentation gives them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from homeserver.core.errors import InvalidParam
from homeserver.webhooks.messages import MESSAGE_CHARS_MAX, Payload
from homeserver.webhooks.plain import check_template
from homeserver.webhooks.sources import Source, delivery_id, is_signed, render

REPOSITORY = {"full_name": "hansa/server", "html_url": "https://git.test/hansa/server"}
COMMIT = {"id": "0123456789abcdef", "message": "Fix <b>it</b>\n\nlong", "url": "https://git.test/c/1"}
PROJECT = {"path_with_namespace": "hansa/server", "web_url": "https://gitlab.test/hansa/server"}
ALERT = {
    "status": "firing",
    "labels": {"alertname": "DiskFull", "instance": "db1"},
    "annotations": {"summary": "Disk of db1 is 95 % full"},
    "generatorURL": "https://prometheus.test/graph",
}
ALERTS = {
    "status": "firing",
    "groupKey": '{}:{alertname="DiskFull"}',
    "commonLabels": {"alertname": "DiskFull"},
    "externalURL": "https://alertmanager.test",
    "alerts": [ALERT],
}


def says(source: Source, payload: Any, headers: dict[str, str] | None = None, template: str | None = None) -> str:
    message = render(source, CIMultiDict(headers or {}), Payload(payload), template)
    assert message is not None
    return message.text


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        (
            "push",
            {"ref": "refs/heads/main", "compare": "https://git.test/x", "pusher": {"name": "alice"},
             "commits": [{**COMMIT, "author": {"name": "Alice"}}], "repository": REPOSITORY},
            "[hansa/server (https://git.test/hansa/server)] alice pushed 1 commit (https://git.test/x) to main\n"
            "• 01234567 Fix <b>it</b> (https://git.test/c/1) (Alice)",
        ),
        (
            "pull_request",
            {"action": "closed", "sender": {"login": "bob"}, "repository": REPOSITORY,
             "pull_request": {"number": 7, "title": "New", "html_url": "https://git.test/7", "merged": True}},
            "[hansa/server (https://git.test/hansa/server)] bob merged pull request #7 New (https://git.test/7)",
        ),
        (
            "issues",
            {"action": "opened", "sender": {"login": "bob"}, "repository": REPOSITORY,
             "issue": {"number": 3, "title": "Broken", "html_url": "https://git.test/3", "body": "It is\nbroken"}},
            "[hansa/server (https://git.test/hansa/server)] bob opened issue #3 Broken (https://git.test/3)\n"
            "> It is\n> broken",
        ),
        (
            "issue_comment",
            {"action": "created", "sender": {"login": "bob"}, "repository": REPOSITORY,
             "issue": {"number": 3, "title": "Broken", "html_url": "https://git.test/3"},
             "comment": {"html_url": "https://git.test/3#1", "body": "Still"}},
            "[hansa/server (https://git.test/hansa/server)] bob commented (https://git.test/3#1) on "
            "#3 Broken (https://git.test/3)\n> Still",
        ),
        (
            "pull_request_review",
            {"action": "submitted", "sender": {"login": "bob"}, "repository": REPOSITORY,
             "review": {"state": "APPROVED", "html_url": "https://git.test/7#r"},
             "pull_request": {"number": 7, "title": "New", "html_url": "https://git.test/7"}},
            "[hansa/server (https://git.test/hansa/server)] bob approved (https://git.test/7#r) "
            "#7 New (https://git.test/7)",
        ),
        (
            "release",
            {"action": "published", "sender": {"login": "bob"}, "repository": REPOSITORY,
             "release": {"tag_name": "v1", "html_url": "https://git.test/v1"}},
            "[hansa/server (https://git.test/hansa/server)] bob released v1 (https://git.test/v1)",
        ),
        (
            "workflow_run",
            {"action": "completed", "repository": REPOSITORY,
             "workflow_run": {"name": "CI", "conclusion": "failure", "html_url": "https://git.test/run",
                              "head_branch": "main", "display_title": "New"}},
            "[hansa/server (https://git.test/hansa/server)] ❌ CI (https://git.test/run) failure on main (New)",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("source", "header"), [(Source.GITHUB, "X-GitHub-Event"), (Source.GITEA, "X-Gitea-Event")])
def test_forges_with_githubs_shapes(source: Source, header: str, kind: str, payload: Any, said: str) -> None:
    assert says(source, payload, {header: kind}) == said


@pytest.mark.parametrize(
    ("kind", "verb"),
    [
        ("pull_request_approved", "approved"),
        ("pull_request_rejected", "wants changes in"),
        ("pull_request_comment", "reviewed"),
    ],
)
def test_giteas_reviews(kind: str, verb: str) -> None:
    """Gitea names the outcome in the kind of the event, and says the words in `content`."""
    payload = {
        "action": "reviewed", "sender": {"login": "bob"}, "repository": REPOSITORY,
        "review": {"type": "pull_request_review_" + kind.rpartition("_")[2], "content": "Looks good"},
        "pull_request": {"number": 7, "title": "New", "html_url": "https://git.test/7"},
    }  # fmt: skip
    assert says(Source.GITEA, payload, {"X-Gitea-Event": kind}) == (
        f"[hansa/server (https://git.test/hansa/server)] bob {verb} #7 New (https://git.test/7)\n> Looks good"
    )


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (
            {"object_kind": "push", "ref": "refs/heads/main", "after": "1f", "total_commits_count": 1,
             "user_name": "Alice", "project": PROJECT, "commits": [{**COMMIT, "author": {"name": "Alice"}}]},
            "Alice pushed 1 commit to main\n• 01234567 Fix <b>it</b> (https://git.test/c/1) (Alice)",
        ),
        (
            {"object_kind": "merge_request", "user": {"name": "Bob"}, "project": PROJECT,
             "object_attributes": {"action": "merge", "iid": 5, "title": "New", "url": "https://gitlab.test/5"}},
            "Bob merged merge request !5 New (https://gitlab.test/5)",
        ),
        (
            {"object_kind": "pipeline", "project": PROJECT, "commit": {"message": "New\n"},
             "object_attributes": {"id": 9, "status": "success", "ref": "main"}},
            "✅ pipeline 9 (https://gitlab.test/hansa/server/-/pipelines/9) success on main (New)",
        ),
        (
            {"object_kind": "note", "user": {"name": "Bob"}, "project": PROJECT, "issue": {"iid": 3, "title": "Bad"},
             "object_attributes": {"note": "Still", "url": "https://gitlab.test/n"}},
            "Bob commented (https://gitlab.test/n) on #3 Bad\n> Still",
        ),
        (
            {"object_kind": "note", "user": {"name": "Bob"}, "project": PROJECT,
             "commit": {"id": "cfe32cf61b73a0d5", "message": "Add it\n\nlong", "url": "https://gitlab.test/c"},
             "object_attributes": {"note": "Why?", "url": "https://gitlab.test/n", "noteable_type": "Commit"}},
            "Bob commented (https://gitlab.test/n) on cfe32cf6 Add it\n> Why?",
        ),
    ],
)  # fmt: skip
def test_gitlab(payload: Any, said: str) -> None:
    assert says(Source.GITLAB, payload) == "[hansa/server (https://gitlab.test/hansa/server)] " + said


@pytest.mark.parametrize("source", [Source.ALERTMANAGER, Source.GRAFANA])
def test_alerts_have_a_group_and_a_state(source: Source) -> None:
    message = render(source, CIMultiDict(), Payload(ALERTS), None)
    assert message is not None and (message.group, message.state) == (ALERTS["groupKey"], "firing")
    assert message.text == (
        "🔥 DiskFull (https://alertmanager.test) firing\n"
        "• Disk of db1 is 95 % full (https://prometheus.test/graph) instance=db1"
    )
    over = render(source, CIMultiDict(), Payload({**ALERTS, "status": "resolved"}), None)
    assert over is not None and over.state == "resolved" and over.text.startswith("✅ DiskFull")


def test_alerts_that_were_left_out_are_counted() -> None:
    """Alertmanager sends `max_alerts` of them, and says how many it left out."""
    message = render(Source.ALERTMANAGER, CIMultiDict(), Payload({**ALERTS, "truncatedAlerts": 7}), None)
    assert message is not None and message.text.endswith("\n… and 7 more")


@pytest.mark.parametrize(
    ("resource", "payload", "said", "group"),
    [
        (
            "event_alert",
            {"action": "triggered", "data": {"triggered_rule": "Very important",
             "event": {"title": "ReferenceError: heck", "web_url": "https://sentry.test/e/1", "issue_id": "11"}}},
            "🔥 ReferenceError: heck (https://sentry.test/e/1) (Very important)",
            "sentry 11",
        ),
        (
            "error",
            {"action": "created",
             "data": {"error": {"title": "Error: oh", "web_url": "https://sentry.test/e/2", "issue_id": "12"}}},
            "🔥 Error: oh (https://sentry.test/e/2)",
            "sentry 12",
        ),
        (
            "comment",
            {"action": "created", "actor": {"name": "Alice"},
             "data": {"comment": "Looking", "project_slug": "api", "issue_id": 12, "comment_id": 3}},
            "[api] Alice commented on issue 12\n> Looking",
            None,
        ),
        (
            "metric_alert",
            {"action": "resolved", "data": {"description_title": "Resolved: Too many errors", "web_url": "https://s.test",
             "description_text": "1000 events", "metric_alert": {"id": "5"}}},
            "✅ Resolved: Too many errors (https://s.test) resolved\n> 1000 events",
            "sentry alert 5",
        ),
        # The plug-in of earlier times names no resource.
        (
            "",
            {"project_name": "api", "message": "It broke", "url": "https://sentry.test/i/9", "level": "error",
             "event": {"title": "KeyError: x", "issue_id": 9}},
            "🔥 [api] KeyError: x (https://sentry.test/i/9)",
            "sentry 9",
        ),
    ],
)  # fmt: skip
def test_sentrys_resources(resource: str, payload: Any, said: str, group: str | None) -> None:
    headers = {"Sentry-Hook-Resource": resource} if resource else {}
    message = render(Source.SENTRY, CIMultiDict(headers), Payload(payload), None)
    assert message is not None and (message.text, message.group) == (said, group)


def test_sentry_and_jenkins() -> None:
    issue = {"id": "12", "title": "KeyError", "web_url": "https://sentry.test/12", "project": {"slug": "api"}}
    headers = {"Sentry-Hook-Resource": "issue"}
    payload = {"action": "created", "data": {"issue": issue}}
    assert says(Source.SENTRY, payload, headers) == "🔥 [api] KeyError (https://sentry.test/12) created"
    build = {"number": 4, "phase": "COMPLETED", "status": "FAILURE", "full_url": "https://jenkins.test/4"}
    done = render(Source.JENKINS, CIMultiDict(), Payload({"name": "tests", "build": build}), None)
    assert done is not None and done.text == "❌ tests #4 (https://jenkins.test/4) failure"
    assert (done.group, done.state) == ("jenkins tests 4", "resolved")


def test_slacks_marks_and_plain_json() -> None:
    text = "*Build* <https://ci.test/1|#1> of `main` &lt;ok&gt;"
    message = render(Source.SLACK, CIMultiDict(), Payload({"text": text}), None)
    assert message is not None
    assert message.html == ('<strong>Build</strong> <a href="https://ci.test/1">#1</a> of <code>main</code> &lt;ok&gt;')
    attached = {"attachments": [{"title": "T", "title_link": "https://x.test", "fields": [{"title": "A", "value": 1}]}]}
    assert says(Source.SLACK, attached) == "T (https://x.test)\nA 1"
    assert says(Source.JSON, {"title": "T", "url": "https://x.test", "text": "a\nb"}) == "T (https://x.test)\na\nb"
    assert says(Source.JSON, {"a": {"b": [{"c": 5}]}}, template="{{ a.b.0.c }} of {{missing}}!") == "5 of !"


def test_json_of_no_known_shape_is_shown_as_it_is() -> None:
    """So that whoever connects a program sees what it sends, and can write a template."""
    message = render(Source.JSON, CIMultiDict(), Payload({"state": "<up>", "n": 1}), None)
    assert message is not None and message.text == '{\n  "state": "<up>",\n  "n": 1\n}'
    assert message.html == "<pre><code>" + html.escape(message.text) + "</code></pre>"
    assert render(Source.JSON, CIMultiDict(), Payload({}), None) is None
    long = render(Source.JSON, CIMultiDict(), Payload({"a": ["x" * 100] * 1_000}), None)
    assert long is not None and len(long.text) < 5_000


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        # What Alertmanager sends to Slack.
        (
            {"attachments": [{"title": "[FIRING:1] DiskFull", "title_link": "https://am.test", "text": "95 %",
             "fallback": "x", "footer": "db1",
             "actions": [{"type": "button", "text": "Runbook", "url": "https://run.test"}]}]},
            "[FIRING:1] DiskFull (https://am.test)\n95 %\nRunbook (https://run.test)\ndb1",
        ),
        # Blocks within an attachment, for its coloured bar.
        (
            {"attachments": [{"color": "#f00", "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": "Down"}},
                {"type": "section", "text": {"type": "mrkdwn", "text": "*db1*"},
                 "accessory": {"type": "button", "text": {"text": "Look"}, "url": "https://l.test"}},
                {"type": "actions", "elements": [
                    {"type": "button", "text": {"type": "plain_text", "text": "Ack"}, "url": "https://ack.test"}]},
            ]}]},
            "Down\ndb1\nLook (https://l.test)\nAck (https://ack.test)",
        ),
        (
            {"blocks": [{"type": "rich_text", "elements": [
                {"type": "rich_text_section", "elements": [
                    {"type": "text", "text": "See ", "style": {"bold": True}},
                    {"type": "link", "url": "https://x.test", "text": "this"}, {"type": "text", "text": " now"}]},
                {"type": "rich_text_list", "style": "bullet", "elements": [
                    {"type": "rich_text_section", "elements": [{"type": "text", "text": "one"}]},
                    {"type": "rich_text_section", "elements": [{"type": "text", "text": "two"}]}]},
            ]}]},
            "See this (https://x.test) now\n• one\n• two",
        ),
    ],
)  # fmt: skip
def test_slacks_blocks_and_buttons(payload: Any, said: str) -> None:
    assert says(Source.SLACK, payload) == said


def test_links_lead_to_the_web_alone_and_markup_is_text() -> None:
    """What a payload says can't become markup, nor a link to another scheme."""
    hostile = {"title": "<script>alert(1)</script>", "url": "javascript:alert(1)", "text": '"><img src=x onerror=y>'}
    message = render(Source.JSON, CIMultiDict(), Payload(hostile), None)
    assert message is not None
    assert "<script" not in message.html and "<img" not in message.html and "href" not in message.html


def test_templates_are_bounded() -> None:
    for template in ("", "x" * 4_001, "{{ a }}" * 101, "\x00"):
        with pytest.raises(InvalidParam):
            check_template(template)


@pytest.mark.parametrize(
    ("source", "header", "form"),
    [
        (Source.GITHUB, "X-Hub-Signature-256", "sha256={}"),
        (Source.GITEA, "X-Gitea-Signature", "{}"),
        (Source.SENTRY, "Sentry-Hook-Signature", "{}"),
        (Source.GRAFANA, "X-Grafana-Alerting-Signature", "{}"),
    ],
)
def test_signatures_are_of_the_body(source: Source, header: str, form: str) -> None:
    good = form.format(hmac.new(b"secret", b"body", hashlib.sha256).hexdigest())
    assert is_signed(source, CIMultiDict({header: good}), b"body", "secret")
    assert not is_signed(source, CIMultiDict({header: good}), b"bodx", "secret")
    assert not is_signed(source, CIMultiDict({header: good}), b"body", "other")
    assert not is_signed(source, CIMultiDict(), b"body", "secret")


@pytest.mark.parametrize(
    ("source", "header", "value"),
    [(Source.GITLAB, "X-Gitlab-Token", "secret"), (Source.ALERTMANAGER, "Authorization", "Bearer secret")],
)
def test_secrets_that_are_sent_along(source: Source, header: str, value: str) -> None:
    assert is_signed(source, CIMultiDict({header: value}), b"body", "secret")
    assert not is_signed(source, CIMultiDict({header: value + "x"}), b"body", "secret")


def test_gitlabs_signing_token() -> None:
    """A key in base64 signs the id, the time and the body. https://www.standardwebhooks.com"""
    key = b"k" * 32
    secret = "whsec_" + base64.b64encode(key).decode()
    made = base64.b64encode(hmac.new(key, b"m1.1700000000.body", hashlib.sha256).digest()).decode()
    headers = {"webhook-id": "m1", "webhook-timestamp": "1700000000", "webhook-signature": f"v1,x v1,{made}"}
    assert is_signed(Source.GITLAB, CIMultiDict(headers), b"body", secret)
    assert not is_signed(Source.GITLAB, CIMultiDict(headers), b"bodx", secret)
    assert not is_signed(Source.GITLAB, CIMultiDict({**headers, "webhook-id": "m2"}), b"body", secret)
    assert not is_signed(Source.GITLAB, CIMultiDict({"X-Gitlab-Token": "x"}), b"body", secret)
    assert not is_signed(Source.GITLAB, CIMultiDict(headers), b"body", "whsec_!")


def test_what_names_a_delivery() -> None:
    """GitLab's events that come of one another share one id of the event, but none of the delivery."""
    headers = CIMultiDict({"X-Gitlab-Event-UUID": "e", "Idempotency-Key": "d"})
    assert delivery_id(Source.GITLAB, headers) == "d"
    assert delivery_id(Source.GITLAB, CIMultiDict({"X-Gitlab-Event-UUID": "e"})) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["action", "alerts", "build", "commits", "data", "issue", "labels", "object_kind", "phase", "text",
                 "repository", "status", "blocks", "elements", "attachments", "object_attributes", "pull_request",
                 "fields"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)  # fmt: skip


@given(st.sampled_from(list(Source)), st.sampled_from(["push", "issues", "pull_request", "issue", "x"]), _JSON)
def test_any_json_is_a_message_or_none(source: Source, kind: str, value: Any) -> None:
    headers = CIMultiDict({"X-GitHub-Event": kind, "X-Gitea-Event": kind, "Sentry-Hook-Resource": kind})
    message = render(source, headers, Payload(value), None)
    assert message is None or len(message.html) <= MESSAGE_CHARS_MAX * 6
