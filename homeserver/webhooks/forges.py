"""What GitHub, Gitea and GitLab tell of repositories, as messages. Pure; events that say nothing to people give None.

GitHub: the header X-GitHub-Event names the kind. Gitea and Forgejo send the same shapes (X-Gitea-Event).
GitLab: X-Gitlab-Event, and `object_kind` in the payload.
"""

from __future__ import annotations

from collections.abc import Callable

from homeserver.webhooks.messages import Message, Payload, Writer, first_line

_Render = Callable[[Payload, Writer], Writer | None]
_COMMITS_SHOWN = 5
_REMARK_CHARS = 400
_DONE = {"success": "✅", "passed": "✅", "failure": "❌", "failed": "❌", "cancelled": "⏹️", "canceled": "⏹️"}


def github(kind: str, payload: Payload) -> Message | None:
    """`kind` is what the header names."""
    return _rendered(_GITHUB.get(kind), payload)


def gitea(kind: str, payload: Payload) -> Message | None:
    """The same shapes, but for reviews."""
    return _rendered(_GITEA.get(kind), payload)


def _rendered(render: _Render | None, payload: Payload) -> Message | None:
    written = render(payload, _repository(payload)) if render is not None else None
    return written.message() if written is not None else None


def gitlab(payload: Payload) -> Message | None:
    """Events of projects."""
    render = _GITLAB.get(payload.words("object_kind"))
    about = Writer().bold("[").link(payload.words("project.path_with_namespace"), payload.words("project.web_url"))
    written = render(payload, about.bold("]").say(" ")) if render is not None else None
    return written.message() if written is not None else None


def _repository(payload: Payload) -> Writer:
    name, url = payload.words("repository.full_name"), payload.words("repository.html_url")
    return Writer().bold("[").link(name, url).bold("]").say(" ")


def _commits(written: Writer, commits: list[Payload], count: int) -> Writer:
    for commit in commits[:_COMMITS_SHOWN]:
        author = commit.words("author.name")
        written.line().say("• ").code(commit.words("id")[:8]).say(" ")
        written.link(first_line(commit.lines("message", 2_000))[:200], commit.words("url")).say(f" ({author})")
    if count > _COMMITS_SHOWN:
        written.line().say(f"… and {count - _COMMITS_SHOWN} more")
    return written


def _branch(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


# --- GitHub and Gitea


def _push(payload: Payload, about: Writer) -> Writer | None:
    who, branch = payload.words("pusher.name") or payload.words("pusher.login"), _branch(payload.words("ref"))
    commits = payload.items("commits")
    if payload.at("deleted").value is True:
        return about.say(f"{who} deleted ").code(branch)
    if not commits:
        return None
    verb = "force-pushed" if payload.at("forced").value is True else "pushed"
    about.say(f"{who} {verb} ")
    compare = payload.words("compare") or payload.words("compare_url")
    about.link(f"{len(commits)} commit{'s' * (len(commits) != 1)}", compare).say(" to ").code(branch)
    return _commits(about, commits, len(commits))


def _thing(payload: Payload, about: Writer, key: str, name: str) -> Writer:
    """A sentence about an issue or a pull request."""
    thing, action = payload.at(key), payload.words("action").replace("_", " ")
    if action == "closed" and thing.at("merged").value is True:
        action = "merged"
    about.say(f"{payload.words('sender.login')} {action} {name} ")
    return about.link(f"#{thing.number('number')} {thing.words('title')}", thing.words("html_url"))


def _pull_request(payload: Payload, about: Writer) -> Writer | None:
    action = payload.words("action")
    if action not in ("opened", "closed", "reopened", "ready_for_review", "review_requested", "converted_to_draft"):
        return None
    written = _thing(payload, about, "pull_request", "pull request")
    if action == "opened":
        written.quote(payload.lines("pull_request.body", _REMARK_CHARS))
    return written


def _issues(payload: Payload, about: Writer) -> Writer | None:
    action = payload.words("action")
    if action not in ("opened", "closed", "reopened", "transferred", "deleted", "assigned"):
        return None
    written = _thing(payload, about, "issue", "issue")
    if action == "opened":
        written.quote(payload.lines("issue.body", _REMARK_CHARS))
    return written


def _issue_comment(payload: Payload, about: Writer) -> Writer | None:
    if payload.words("action") != "created":
        return None
    about.say(f"{payload.words('sender.login')} ").link("commented", payload.words("comment.html_url")).say(" on ")
    about.link(f"#{payload.number('issue.number')} {payload.words('issue.title')}", payload.words("issue.html_url"))
    return about.quote(payload.lines("comment.body", _REMARK_CHARS))


_REVIEWS = {"approved": "approved", "changes_requested": "wants changes in", "commented": "reviewed"}
_GITEA_REVIEWS = {
    "pull_request_approved": "approved",
    "pull_request_rejected": "wants changes in",
    "pull_request_comment": "reviewed",
}


def _review(payload: Payload, about: Writer) -> Writer | None:
    verb = _REVIEWS.get(payload.words("review.state").lower())
    if payload.words("action") != "submitted" or verb is None:
        return None
    return _reviewed(payload, about, verb, payload.lines("review.body", _REMARK_CHARS))


def _gitea_review(verb: str) -> _Render:
    return lambda payload, about: _reviewed(payload, about, verb, payload.lines("review.content", _REMARK_CHARS))


def _reviewed(payload: Payload, about: Writer, verb: str, words: str) -> Writer:
    about.say(f"{payload.words('sender.login')} ").link(verb, payload.words("review.html_url")).say(" ")
    about.link(
        f"#{payload.number('pull_request.number')} {payload.words('pull_request.title')}",
        payload.words("pull_request.html_url"),
    )
    return about.quote(words)


def _release(payload: Payload, about: Writer) -> Writer | None:
    if payload.words("action") not in ("published", "released"):
        return None
    name = payload.words("release.name") or payload.words("release.tag_name")
    about.say(f"{payload.words('sender.login')} released ").link(name, payload.words("release.html_url"))
    return about.quote(payload.lines("release.body", _REMARK_CHARS))


def _workflow_run(payload: Payload, about: Writer) -> Writer | None:
    run = payload.at("workflow_run")
    conclusion = run.words("conclusion")
    if payload.words("action") != "completed" or not conclusion:
        return None
    about.say(f"{_DONE.get(conclusion, '•')} ").link(run.words("name"), run.words("html_url")).say(f" {conclusion} on ")
    return about.code(run.words("head_branch")).say(f" ({run.words('display_title', 200)})")


def _created(payload: Payload, about: Writer) -> Writer | None:
    about.say(f"{payload.words('sender.login')} created {payload.words('ref_type')} ")
    return about.code(payload.words("ref"))


def _ping(payload: Payload, about: Writer) -> Writer | None:
    return about.say("This webhook works.")


_GITHUB: dict[str, _Render] = {
    "push": _push,
    "pull_request": _pull_request,
    "issues": _issues,
    "issue_comment": _issue_comment,
    "pull_request_review": _review,
    "release": _release,
    "workflow_run": _workflow_run,
    "create": _created,
    "ping": _ping,
}
_GITEA: dict[str, _Render] = {**_GITHUB, **{kind: _gitea_review(verb) for kind, verb in _GITEA_REVIEWS.items()}}


# --- GitLab


def _gitlab_push(payload: Payload, about: Writer) -> Writer | None:
    branch, count = _branch(payload.words("ref")), payload.number("total_commits_count")
    who = payload.words("user_name") or payload.words("user_username")
    if not payload.words("after").strip("0"):
        return about.say(f"{who} deleted ").code(branch)
    if payload.words("object_kind") == "tag_push":
        return about.say(f"{who} pushed tag ").code(branch)
    if not count:
        return about.say(f"{who} created ").code(branch)
    about.say(f"{who} pushed {count} commit{'s' * (count != 1)} to ").code(branch)
    return _commits(about, payload.items("commits")[::-1], count)


_VERBS = {"open": "opened", "close": "closed", "reopen": "reopened", "merge": "merged", "approved": "approved"}


def _gitlab_thing(payload: Payload, about: Writer) -> Writer | None:
    thing = payload.at("object_attributes")
    verb = _VERBS.get(thing.words("action"))
    if verb is None:
        return None
    is_merge = payload.words("object_kind") == "merge_request"
    sign, name = ("!", "merge request") if is_merge else ("#", "issue")
    about.say(f"{payload.words('user.name')} {verb} {name} ")
    about.link(f"{sign}{thing.number('iid')} {thing.words('title')}", thing.words("url"))
    return about.quote(thing.lines("description", _REMARK_CHARS)) if verb == "opened" else about


def _gitlab_note(payload: Payload, about: Writer) -> Writer | None:
    note = payload.at("object_attributes")
    about.say(f"{payload.words('user.name')} ").link("commented", note.words("url"))
    for key, sign in (("merge_request", "!"), ("issue", "#")):
        if payload.at(key):
            about.say(f" on {sign}{payload.number(key + '.iid')} {payload.words(key + '.title')}")
    if payload.at("commit"):
        about.say(" on ").code(payload.words("commit.id")[:8]).say(
            f" {first_line(payload.lines('commit.message'))[:200]}"
        )
    return about.quote(note.lines("note", _REMARK_CHARS))


def _gitlab_pipeline(payload: Payload, about: Writer) -> Writer | None:
    status = payload.words("object_attributes.status")
    if status not in _DONE:
        return None
    number = payload.number("object_attributes.id")
    url = payload.words("object_attributes.url") or f"{payload.words('project.web_url')}/-/pipelines/{number}"
    about.say(f"{_DONE[status]} ").link(f"pipeline {number}", url).say(f" {status} on ")
    return about.code(payload.words("object_attributes.ref")).say(
        f" ({first_line(payload.lines('commit.message'))[:200]})"
    )


def _gitlab_release(payload: Payload, about: Writer) -> Writer | None:
    if payload.words("action") != "create":
        return None
    return about.say("released ").link(payload.words("name"), payload.words("url"))


_GITLAB: dict[str, _Render] = {
    "push": _gitlab_push,
    "tag_push": _gitlab_push,
    "issue": _gitlab_thing,
    "merge_request": _gitlab_thing,
    "note": _gitlab_note,
    "pipeline": _gitlab_pipeline,
    "release": _gitlab_release,
}
