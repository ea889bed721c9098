"""Other paths of endpoints: what they were called before they became stable, which clients and bots still call.

Generated for every endpoint from two rules and one table; a path that an endpoint declares itself is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

# The beginning of a path, and what stands in its place elsewhere.
_BEGINNINGS: Mapping[str, tuple[str, ...]] = {
    "/_matrix/client/v3/": ("/_matrix/client/r0/", "/_matrix/client/unstable/"),
    "/_matrix/media/v3/": ("/_matrix/media/r0/", "/_matrix/media/v1/"),
}
_UNSTABLE = "/_matrix/client/unstable"
# A stable path with `{}` for each of its parameters, and its spellings while it was a proposal.
_PROPOSALS: Mapping[str, tuple[str, ...]] = {
    "/_matrix/client/v3/refresh": ("/org.matrix.msc2918.refresh_token/refresh",),
    "/_matrix/client/v3/knock/{}": ("/xyz.amorgan.knock/knock/{}",),
    "/_matrix/client/v3/rooms/{}/aliases": ("/org.matrix.msc2432/rooms/{}/aliases",),
    "/_matrix/client/v3/rooms/{}/report": ("/org.matrix.msc4151/rooms/{}/report",),
    "/_matrix/client/v3/users/{}/report": ("/org.matrix.msc4260/users/{}/report",),
    "/_matrix/client/v3/profile/{}": ("/uk.tcpip.msc4133/profile/{}",),
    "/_matrix/client/v3/profile/{}/{}": ("/uk.tcpip.msc4133/profile/{}/{}",),
    "/_matrix/client/v1/login/get_token": ("/org.matrix.msc3882/login/get_token",),
    "/_matrix/client/v1/auth_metadata": ("/org.matrix.msc2965/auth_metadata",),
    "/_matrix/client/v1/rooms/{}/hierarchy": ("/org.matrix.msc2946/rooms/{}/hierarchy",),
    "/_matrix/client/v1/rooms/{}/threads": ("/org.matrix.msc3856/rooms/{}/threads",),
    "/_matrix/client/v1/rooms/{}/timestamp_to_event": ("/org.matrix.msc3030/rooms/{}/timestamp_to_event",),
    "/_matrix/client/v1/room_summary/{}": ("/im.nheko.summary/rooms/{}/summary", "/im.nheko.summary/summary/{}"),
    "/_matrix/client/v1/rooms/{}/relations/{}": ("/rooms/{}/relations/{}",),
    "/_matrix/client/v1/rooms/{}/relations/{}/{}": ("/rooms/{}/relations/{}/{}",),
    "/_matrix/client/v1/rooms/{}/relations/{}/{}/{}": ("/rooms/{}/relations/{}/{}/{}",),
    "/_matrix/client/v1/register/m.login.registration_token/validity": (
        "/org.matrix.msc3231/register/org.matrix.msc3231.login.registration_token/validity",
    ),
    "/_matrix/client/v1/media/config": ("/org.matrix.msc3916/media/config",),
    "/_matrix/client/v1/media/preview_url": ("/org.matrix.msc3916/media/preview_url",),
    "/_matrix/client/v1/media/download/{}/{}": ("/org.matrix.msc3916/media/download/{}/{}",),
    "/_matrix/client/v1/media/download/{}/{}/{}": ("/org.matrix.msc3916/media/download/{}/{}/{}",),
    "/_matrix/client/v1/media/thumbnail/{}/{}": ("/org.matrix.msc3916/media/thumbnail/{}/{}",),
}
_PARAMETER = re.compile(r"\{[a-z_]+\}")


def older_spellings(path: str) -> Iterator[str]:
    """The other spellings of a path that an endpoint declares, with the same parameters."""
    for beginning, others in _BEGINNINGS.items():
        if path.startswith(beginning):
            yield from (other + path[len(beginning) :] for other in others)
    parameters = _PARAMETER.findall(path)
    for proposal in _PROPOSALS.get(_PARAMETER.sub("{}", path), ()):
        yield _UNSTABLE + proposal.format(*parameters)
