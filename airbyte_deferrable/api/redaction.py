"""Secrets taken out of what a server says, in whatever form it says them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from html.entities import codepoint2name

#: Taking out shorter secrets would garble ordinary words.
SHORTEST_SECRET = 6
#: What is never escaped.
_PLAIN = re.compile(r"[A-Za-z0-9]+")
#: What JSON, Java and JavaScript write with a letter behind the backslash.
_BY_LETTER = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class Redaction:
    r"""Takes secrets out of texts: as they are, and escaped for JSON, URLs or HTML, also several times over.

    Each character of a secret is looked for in each of its forms, since no two servers escape alike: Python's JSON
    writes ``é`` as ``\u00e9``, Gson ``=`` as ``\u003d``, PHP ``/`` as ``\/``; and a message may quote a body
    that quotes another.

    :param secrets: The secrets. White space around them is no part of them: servers tell them without.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        #: Of each secret the part by which it is found quickly.
        self._secrets: dict[str, str] = {}
        for secret in secrets:
            self.keep(secret)

    def keep(self, secret: str, replaces: str = "") -> None:
        """Take this one, too, out of every later text.

        :param secret: The secret.
        :param replaces: An older secret that need not be looked for any more.
        """
        self._secrets.pop(replaces.strip(), None)
        secret = secret.strip()
        if len(secret) >= SHORTEST_SECRET:
            self._secrets[secret] = max(_PLAIN.findall(secret), default="", key=len)
            # One may be a part of another, whose rest must not stay behind.
            self._secrets = dict(sorted(self._secrets.items(), key=lambda each: -len(each[0])))

    def __call__(self, text: str) -> str:
        """Return the text without the secrets.

        :param text: The text.
        """
        for secret, anchor in self._secrets.items():
            # The plain search takes a fraction of the other, and answers are read in the event loop.
            if anchor in text:
                text = _in_any_form(secret).sub("***", text)
        return text


@lru_cache(maxsize=100)
def _in_any_form(secret: str) -> re.Pattern[str]:
    """Return what finds a secret. Most tasks never need it, and making it takes 5 ms of their worker."""
    parts = re.findall(r"[A-Za-z0-9]+|\\+|.", secret, re.S)
    return re.compile("".join(part if _PLAIN.fullmatch(part) else _any_form(part) for part in parts))


def _any_form(part: str) -> str:
    """Return what matches one character, or a row of backslashes, in each of its forms.

    Nothing in it repeats without end: where many of a kind stand in a row that would take the square of them.
    """
    char = part[0]
    percent = "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    units = char.encode("utf-16-be", "surrogatepass").hex()
    forms = [
        rf"\\{{0,8}}{re.escape(char)}",
        f"(?i:{percent})",
        "(?i:" + "".join(rf"\\{{1,8}}u{units[at : at + 4]}" for at in range(0, len(units), 4)) + ")",
        f"(?i:&(?:amp;){{0,4}}#0{{0,6}}{ord(char)};)",
        f"(?i:&(?:amp;){{0,4}}#x0{{0,6}}{ord(char):x};)",
    ]
    if (name := "apos" if char == "'" else codepoint2name.get(ord(char))) is not None:
        forms.append(f"&(?:amp;){{0,4}}{name};")
    if char in _BY_LETTER:
        forms.append(rf"\\{{1,8}}{_BY_LETTER[char]}")
    if char == " ":
        forms.append(r"\+")
    if char == "\\":
        # As one: each of them with a length of its own could be matched in too many ways.
        return rf"(?:\\{{{len(part)},{8 * len(part)}}}|(?:{'|'.join(forms[1:])}){{{len(part)}}})"
    return f"(?:{'|'.join(forms)})"
