"""A test that those who register are people. spec: client-server-api/#google-recaptcha"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from homeserver.config.options import Secret
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId
from homeserver.web.outgoing import Outgoing, OutgoingError
from homeserver.web.pages import Widget

# The field that the widget adds to a form.
SOLVED = "g-recaptcha-response"
RESPONSE_CHARS_MAX = 8_192
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 65_536


class Captcha:
    """Has answers checked by the service that the operator chose."""

    def __init__(self, outgoing: Outgoing, *, site_key: str, secret: Secret, verify_url: str, widget: Widget) -> None:
        self._outgoing = outgoing
        self.site_key = site_key
        self.widget = widget
        self._secret = secret
        self._verify_url = verify_url

    async def stage(self, auth: Mapping[str, Any], operation: str, user_id: UserId | None) -> str:
        """Raises MatrixError: M_CAPTCHA_NEEDED without an answer, M_CAPTCHA_INVALID for one that isn't good."""
        response = auth.get("response")
        if not isinstance(response, str) or not response:
            raise MatrixError("the captcha must be solved", errcode="M_CAPTCHA_NEEDED")
        if len(response) > RESPONSE_CHARS_MAX or not await self._is_good(response):
            raise MatrixError("the captcha was not solved", errcode="M_CAPTCHA_INVALID", status=401)
        return ""

    async def _is_good(self, response: str) -> bool:
        form = urlencode({"secret": self._secret.reveal(), "response": response})
        try:
            answer = await self._outgoing.request(
                "POST",
                self._verify_url,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=form.encode("utf-8", "replace"),
                timeout_s=TIMEOUT_S,
                response_bytes_max=ANSWER_BYTES_MAX,
            )
            verdict = orjson.loads(answer.body)
        except (OutgoingError, orjson.JSONDecodeError):
            raise MatrixError("the captcha can't be checked now", status=503) from None
        return answer.status == 200 and isinstance(verdict, dict) and verdict.get("success") is True
