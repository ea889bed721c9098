"""Exact routing over path segments: each is percent-decoded on its own, so an encoded slash never splits one.

Nothing is normalised: an extra, empty or trailing segment is another path, and so M_UNRECOGNIZED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from homeserver.core.errors import InvalidParam, Unrecognized

RouteT = TypeVar("RouteT")


class _Node(Generic[RouteT]):
    __slots__ = ("by_method", "children", "parameter")

    def __init__(self) -> None:
        self.children: dict[str, _Node[RouteT]] = {}
        self.parameter: _Node[RouteT] | None = None
        self.by_method: dict[str, tuple[RouteT, tuple[str, ...]]] = {}


class Router(Generic[RouteT]):
    """Finds the route of a method and path. Literal segments win over parameters."""

    def __init__(self) -> None:
        self._root: _Node[RouteT] = _Node()

    def add(self, method: str, path: str, route: RouteT) -> None:
        """Raises ValueError if this method and path are taken."""
        node, names = self._root, list[str]()
        for segment in path[1:].split("/"):
            if segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.children.setdefault(segment, _Node())
        if method in node.by_method:
            raise ValueError(f"{method} {path} is declared twice")
        node.by_method[method] = (route, tuple(names))

    def has(self, method: str, path: str) -> bool:
        """Whether this method and path, as an endpoint declares it, are taken."""
        node: _Node[RouteT] | None = self._root
        for segment in path[1:].split("/"):
            if node is None:
                return False
            is_parameter = segment.startswith("{") and segment.endswith("}")
            node = node.parameter if is_parameter else node.children.get(segment)
        return node is not None and method in node.by_method

    def find(self, method: str, raw_path: str) -> tuple[RouteT, Mapping[str, str]]:
        """The route, and the values of the path's parameters.

        Raises Unrecognized: 404 for an unknown path, 405 for a known one with another method.
        """
        if not raw_path.startswith("/"):
            raise Unrecognized("unknown path")
        segments = [decode_segment(segment) if "%" in segment else segment for segment in raw_path[1:].split("/")]
        node, values = self._walk(self._root, segments, 0, ())
        if node is None:
            raise Unrecognized("unknown path")
        found = node.by_method.get(method) or (node.by_method.get("GET") if method == "HEAD" else None)
        if found is None:
            raise Unrecognized(f"this path takes {', '.join(sorted(node.by_method))}, not {method}", status=405)
        route, names = found
        return route, dict(zip(names, values, strict=True))

    def _walk(
        self, node: _Node[RouteT], segments: list[str], index: int, values: tuple[str, ...]
    ) -> tuple[_Node[RouteT] | None, tuple[str, ...]]:
        if index == len(segments):
            return (node if node.by_method else None), values
        segment = segments[index]
        child = node.children.get(segment)
        if child is not None:
            found = self._walk(child, segments, index + 1, values)
            if found[0] is not None:
                return found
        if node.parameter is not None:
            return self._walk(node.parameter, segments, index + 1, (*values, segment))
        return None, values


def decode_segment(segment: str) -> str:
    """Percent-decodes one path segment. Raises InvalidParam unless the result is UTF-8 without NUL."""
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidParam("the path must be UTF-8") from None
    if "\x00" in text:
        raise InvalidParam("the path must not hold NUL")
    return text
