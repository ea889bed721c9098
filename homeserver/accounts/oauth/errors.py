"""OAuth's own error answers. spec: RFC 6749 section 5.2, RFC 7591 section 3.2.2"""

from __future__ import annotations

from typing import Any

from homeserver.core.errors import MatrixError


class OAuthError(MatrixError):
    """An error as OAuth clients read it: `error`, `error_description`."""

    def __init__(self, error: str, message: str, *, status: int = 400) -> None:
        super().__init__(message, status=status)
        self.error = error

    def body(self) -> dict[str, Any]:
        return {"error": self.error, "error_description": self.message}
