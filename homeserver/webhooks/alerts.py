"""What Alertmanager, Grafana, Sentry and Jenkins tell, as messages. Pure.

What belongs together has a group: later news of it replaces the earlier message, until it is resolved.
"""

from __future__ import annotations

from homeserver.webhooks.messages import AlertState, Message, Payload, Writer

_ALERTS_SHOWN = 10
_LABELS_SHOWN = 6
_SIGNS: dict[AlertState, str] = {"firing": "🔥", "resolved": "✅"}


def alertmanager(payload: Payload) -> Message | None:
    """Prometheus Alertmanager's webhook, version 4; Grafana's has the same shape and more."""
    if not payload.words("status") or not payload.items("alerts"):
        return None
    state: AlertState = "resolved" if payload.words("status") == "resolved" else "firing"
    alerts = payload.items("alerts")
    firing = [one for one in alerts if one.words("status") != "resolved"]
    name = payload.words("commonLabels.alertname") or payload.words("groupLabels.alertname") or "Alerts"
    count = f" ({len(firing)} of {len(alerts)} firing)" if len(alerts) > 1 else ""
    written = Writer().say(f"{_SIGNS[state]} ").link(name, payload.words("externalURL")).say(f" {state}{count}")
    for alert in (firing or alerts)[:_ALERTS_SHOWN]:
        _alert(written.line().say("• "), alert)
    more = max(0, len(firing or alerts) - _ALERTS_SHOWN) + payload.number("truncatedAlerts")
    if more > 0:
        written.line().say(f"… and {more} more")
    return written.message(payload.words("groupKey") or name, state)


def _alert(written: Writer, alert: Payload) -> None:
    summary = alert.words("annotations.summary") or alert.words("annotations.description")
    written.link(
        summary or alert.words("labels.alertname") or "alert",
        alert.words("generatorURL") or alert.words("panelURL"),
    )
    labels = [(key, value) for key, value in alert.entries("labels") if key != "alertname"]
    for key, value in labels[:_LABELS_SHOWN]:
        written.say(" ").code(f"{key}={value}")


def sentry(resource: str, payload: Payload) -> Message | None:
    """Sentry's integration webhook; `resource` is the header Sentry-Hook-Resource. Its plug-in of before names none."""
    action = payload.words("action")
    if resource in ("issue", "activity_alert"):
        issue = payload.at("data.issue")
        state: AlertState = "resolved" if action in ("resolved", "archived", "ignored") else "firing"
        written = Writer().say(f"{_SIGNS[state]} ").bold(f"[{issue.words('project.slug')}] ")
        written.link(issue.words("title"), issue.words("web_url") or issue.words("permalink")).say(f" {action}")
        if issue.words("culprit"):
            written.line().say("in ").code(issue.words("culprit"))
        return written.message(f"sentry {issue.words('id')}", state)
    if resource in ("event_alert", "error"):
        event = payload.at("data.event") or payload.at("data.error")
        written = Writer().say("🔥 ").link(event.words("title"), event.words("web_url"))
        if payload.words("data.triggered_rule"):
            written.say(f" ({payload.words('data.triggered_rule')})")
        return written.message(f"sentry {event.words('issue_id')}", "firing")
    if resource == "comment":
        written = Writer().bold(f"[{payload.words('data.project_slug')}] ").say(payload.words("actor.name"))
        written.say(f" {_COMMENTS.get(action, action)} on issue {payload.words('data.issue_id')}")
        return written.quote(payload.lines("data.comment")).message()
    if resource == "metric_alert":
        over = action == "resolved"
        written = Writer().say("✅ " if over else "🔥 ")
        written.link(payload.words("data.description_title"), payload.words("data.web_url")).say(f" {action}")
        written.quote(payload.lines("data.description_text"))
        group = f"sentry alert {payload.words('data.metric_alert.id')}"
        return written.message(group, "resolved" if over else "firing")
    if not resource and payload.words("project_name") and payload.words("url"):
        written = Writer().say("🔥 ").bold(f"[{payload.words('project_name')}] ")
        written.link(payload.words("event.title") or payload.words("message"), payload.words("url"))
        return written.message(f"sentry {payload.words('event.issue_id') or payload.words('id')}", "firing")
    return None


_COMMENTS = {"created": "commented", "updated": "changed a comment", "deleted": "deleted a comment"}
_BUILDS = {"SUCCESS": "✅", "FAILURE": "❌", "UNSTABLE": "⚠️", "ABORTED": "⏹️"}


def jenkins(payload: Payload) -> Message | None:
    """Jenkins' notification plug-in: one message a build, which says how it ends."""
    build, phase = payload.at("build"), payload.words("build.phase")
    name = payload.words("display_name") or payload.words("name")
    if phase not in ("STARTED", "COMPLETED") or not name:
        return None
    status = build.words("status")
    sign = _BUILDS.get(status, "•") if phase == "COMPLETED" else "⏳"
    written = Writer().say(f"{sign} ").link(f"{name} #{build.words('number')}", build.words("full_url"))
    written.say(f" {status.lower() if phase == 'COMPLETED' else 'started'}")
    if build.words("scm.branch"):
        written.say(" on ").code(build.words("scm.branch"))
    group = f"jenkins {payload.words('name')} {build.words('number')}"
    return written.message(group, "resolved" if phase == "COMPLETED" else "firing")
