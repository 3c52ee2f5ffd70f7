"""What may be kept of a record that could not be processed, whatever its bytes are.

Nothing is parsed, because most of these records cannot be. Identifiers are found as `schema.privacy` finds them, and also
behind JSON escapes (``\\u8bdd13800138000``, where the digits touch a letter), behind percent signs, between the NULs of
UTF-16 and in bytes that are no UTF-8. What is named as a user or a session (``"user_id": ...``) becomes its pseudonym, so that
the record can be sent again and still belongs to the same user; without a pseudonym key it becomes `USER` or `SESSION`.

UUIDs stay: the digits between their dashes sometimes look like a landline, and a changed event id would count twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final

from schema.privacy import Found, find, is_pseudonym, mask, pseudonym

USER: Final = "<USER>"
SESSION: Final = "<SESSION>"

_NAME: Final = r"user[_\- ]?id|session[_\- ]?id|partition[_-]?key"
_FIELD: Final = re.compile(
    rf"""(?P<name>{_NAME}|(?<![\w-])id)(?P<gap>\\*["']?\s*[:=>]\s*)"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*+)"?|'(?P<single>(?:[^'\\]|\\.)*+)'?|\\+["'](?P<escaped>.*?)(?:\\+["']|\Z)"""
    r"""|(?P<bare>[^\s,;&<>{}\[\]()"'\\]+)|(?P<nested>[\[{]))""",
    re.IGNORECASE | re.DOTALL,
)
_TOKEN: Final = re.compile(
    r"""(?P<open>[\[{])|(?P<close>[\]}])|"(?:[^"\\]|\\.)*+"\s*:|"(?P<double>(?:[^"\\]|\\.)*+)"?|(?P<bare>[^\s,:{}\[\]"]+)""",
    re.DOTALL,
)
_WHOLE_NAME: Final = re.compile(rf"(?:.*[\W_])?(?:ce_)?(?:{_NAME})", re.IGNORECASE)
_ESCAPE: Final = re.compile(r"\\u(?!0022|005[cC])([0-9a-fA-F]{4})|\\[nrtbf]|\x00+")
_PERCENT: Final = re.compile(r"%([0-9a-fA-F]{2})|\x00+")
_LETTER: Final = re.compile(r"[A-WYZa-wyz]")
_NO_UTF8: Final = re.compile("[\udc80-\udcff]")
_UUID: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])")
_NO_IDENTIFIER: Final = frozenset({"", "null", "true", "false", "none"})

Change = tuple[int, int, str]
"""Start and end of a piece of the text, and what takes its place."""


def redact(value: bytes | None, key: str = "") -> bytes | None:
    """`value` without identifiers, as close to the original as that allows; often byte for byte. `key`: the pseudonym key."""
    if value is None:
        return None
    text = value.decode("utf-8", "surrogateescape")
    view, starts = _view(text, _ESCAPE)
    changes = _merge(_placed(_fields(view, key), starts), _placed(_identifiers(view), starts))
    if _NO_UTF8.search(text):  # what looks like a letter may be half a character
        changes = _merge(changes, _placed(_identifiers(_LETTER.sub("\ufffd", view)), starts))
    if _PERCENT.search(text):
        view, starts = _view(text, _PERCENT)
        changes = _merge(changes, _placed(_identifiers(view), starts))
    pieces: list[str] = []
    at = 0
    for start, end, replacement in changes:
        pieces += (text[at:start], replacement)
        at = end
    return "".join([*pieces, text[at:]]).encode("utf-8", "surrogateescape")


def redact_user(name: bytes, key: str = "") -> bytes:
    """What stands for the user `name`: a pseudonym, which stays as it is, or `USER` without a `key`."""
    return _stand_in("user", name.decode("utf-8", "backslashreplace"), key).encode()


def redact_header(name: str, value: bytes | None, key: str = "") -> tuple[str, bytes]:
    """A header without identifiers; one that is named for a user or session has nothing but one as its value.

    Kafka knows headers without a value, whatever their type says here; they come back with an empty one.
    """
    if not value:
        return mask(name), b""
    if _WHOLE_NAME.fullmatch(name):
        return mask(name), _stand_in(name, value.decode("utf-8", "backslashreplace"), key).encode()
    if name.lower() == "ce_id" and key and _found(text := value.decode("utf-8", "backslashreplace")):
        return name, _pseudonym(text, key).encode()
    return mask(name), redact(value, key) or b""


def _stand_in(name: str, identifier: str, key: str) -> str:
    if is_pseudonym(identifier):
        return identifier
    if key:
        return _pseudonym(identifier, key)
    return SESSION if "session" in name.lower() else USER


def _pseudonym(identifier: str, key: str) -> str:
    """As `pseudonym`, also for what is no proper text: halves of surrogate pairs, bytes that are no UTF-8."""
    return pseudonym(identifier.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "backslashreplace"), key)


def _view(text: str, escapes: re.Pattern[str]) -> tuple[str, list[int]]:
    """`text` with `escapes` read as the characters they stand for, and where each character starts (and the last one ends)."""
    pieces: list[str] = []
    starts: list[int] = []
    at = 0
    for escape in escapes.finditer(text):
        pieces.append(text[at : escape.start()])
        starts += range(at, escape.start())
        if escape[0][0] != "\x00":
            pieces.append(chr(int(escape[1], 16)) if escape[1] else "\n")
            starts.append(escape.start())
        at = escape.end()
    pieces.append(text[at:])
    starts += range(at, len(text) + 1)
    return "".join(pieces), starts


def _placed(changes: Iterator[Change], starts: list[int]) -> Iterator[Change]:
    """The changes of a view, in places of the text."""
    return ((starts[start], starts[end], replacement) for start, end, replacement in changes)


def _merge(first: Iterable[Change], then: Iterable[Change]) -> list[Change]:
    """Both, in order; of two that overlap, the one of `first`. Each is in order and free of overlaps."""
    merged: list[Change] = []
    waiting = deque(first)
    for change in then:
        while waiting and waiting[0][1] <= change[0]:
            merged.append(waiting.popleft())
        if not waiting or change[1] <= waiting[0][0]:
            merged.append(change)
    return merged + list(waiting)


def _fields(view: str, key: str) -> Iterator[Change]:
    """What is named as a user, a session or an event's id."""
    at = 0
    while field := _FIELD.search(view, at):
        at = field.end()
        name = field["name"]
        replace = _replace_id(key) if name.lower() == "id" else _replace_user(name, key)
        if field["nested"]:
            at = yield from _scalars(view, field.start("nested"), replace)
        else:
            yield from _value(field, replace, quoted='"' in field["gap"] and "\\" not in field["gap"])


Replace = Callable[[str], str | None]


def _replace_user(name: str, key: str) -> Replace:
    return lambda identifier: _stand_in(name, identifier, key)


def _replace_id(key: str) -> Replace:
    """An event's id stays, unless it is an identifier itself; distinct ids must stay distinct."""
    return lambda identifier: _pseudonym(identifier, key) if key and _found(identifier) else None


def _value(match: re.Match[str], replace: Replace, *, quoted: bool) -> Iterator[Change]:
    """The one value that `match` found; a number becomes a string where its name is `quoted` as in JSON."""
    for group in ("double", "single", "escaped", "bare"):
        text = match.groupdict().get(group)
        if text is None or (group == "bare" and text.lower() in _NO_IDENTIFIER) or not text:
            continue
        replacement = replace(re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL))
        if replacement is not None and replacement != text:
            yield *match.span(group), f'"{replacement}"' if group == "bare" and quoted else replacement


def _scalars(view: str, at: int, replace: Replace) -> Generator[Change, None, int]:
    """Every string and number of the list or object at `at`; returns where it ends."""
    depth = 0
    for token in _TOKEN.finditer(view, at):
        depth += bool(token["open"]) - bool(token["close"])
        yield from _value(token, replace, quoted=True)
        at = token.end()
        if not depth:
            break
    return at


def _found(text: str) -> list[Found]:
    """The identifiers in `text`, UUIDs left out."""
    return find(_UUID.sub(lambda uuid: "\ufffd" * len(uuid[0]), text))


def _identifiers(view: str) -> Iterator[Change]:
    for found in _found(view):
        yield found.start, found.end, f"<{found.type}>"
