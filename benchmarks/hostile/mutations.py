"""Makes input wrong: bytes of any kind, and the values of JSON, YAML and safetensors."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

ODD_BYTES = (
    b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\r", b"\r\n",
    b"\n", b"\x1b[2J", "\u2028".encode(), "\U0001f600".encode(), "e\u0301".encode(), b" ", b"\t", b"../", b"%s", b"{}",
)  # fmt: skip
ODD_WORDS = (
    b"0", b"-1", b"1e999", b"-1e999", b"1e-400", b"NaN", b"Infinity", b"9" * 30, b"9" * 5000, b"2147483648",
    b"18446744073709551616", b"0.1", b"true", b"null", b'""', b'"x"', b"[]", b"{}", b'"../../x"', b'"/etc/passwd"',
    b"0x10", b"1_0",
)  # fmt: skip
ODD_YAML = (
    b"~", b"yes", b".nan", b".inf", b"-.inf", b"!!python/object/apply:os.getcwd []", b"!!binary aGk=", b"!x y",
    b"&a [*a]", b"*a", b"{", b"[" * 2000, b"{a: " * 2000, b'"\\x00"', b"'", b"|", b"? [a]", b"2001-01-01", b"0o17",
    b"[1, {a: b}]", b"&b [" + b"x, " * 100 + b"]", b"<<: {hidden: 3}", b"12:30:45", b"- 1",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**30, 10**400, "", "x", "\0",
    "\ud800", "../x", "/etc/passwd", "x" * 100_000, [], {}, [None], {"": None}, [[]] * 1000, "<script>", "1", "lstm",
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null")
_LONGEST = 4 << 20
_LONGEST_TEXT = 100_000


def of_bytes(content: bytes, generator: random.Random) -> bytes:
    """Some bytes are others, gone, new, twice there or elsewhere; a number is another; the end is missing."""
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        content = generator.choice(_OF_BYTES)(content, generator)[:_LONGEST]
    return content


def of_json(content: bytes, generator: random.Random) -> bytes:
    """A value of a JSON file is of another kind or size, or is missing; else as `of_bytes`."""
    return _values_changed(content, generator) if generator.random() < 0.7 else of_bytes(content, generator)


def of_json_lines(content: bytes, generator: random.Random) -> bytes:
    """The same for a file with an object a line."""
    if generator.random() < 0.3:
        return of_bytes(content, generator)
    lines = content.splitlines(keepends=True)
    place = generator.randrange(len(lines))
    changed = _values_changed(lines[place], generator) + b"\n" * (generator.random() < 0.9)
    return b"".join([*lines[:place], changed, *lines[place + generator.choice((0, 1)) :]])


def of_yaml(content: bytes, generator: random.Random) -> bytes:
    """A line of a YAML file is gone, twice there, elsewhere, deeper, or has another value; else as `of_bytes`."""
    if generator.random() < 0.3:
        return of_bytes(content, generator)
    lines = content.splitlines()
    place = generator.randrange(len(lines))
    chosen = lines[place]
    key, colon, _ = chosen.partition(b":")
    lines[place : place + 1] = generator.choice(
        [
            [],
            [chosen, chosen],
            [b"  " + chosen],
            [chosen.lstrip()],
            [key + colon + b" " + generator.choice(ODD_YAML)],
            [key + colon + b" " + generator.choice(ODD_WORDS)],
            [chosen, generator.choice(ODD_YAML)],
            [chosen, _aliases()],
            [chosen[:-1], generator.choice(lines)],
        ]
    )
    return b"\n".join(lines) + b"\n"


def of_safetensors(content: bytes, generator: random.Random) -> bytes:
    """The header says something else of the tensors, or its size is wrong; else as `of_bytes`."""
    kind = generator.random()
    size = int.from_bytes(content[:8], "little")
    if kind < 0.5:
        header = _values_changed(content[8 : 8 + size], generator)
        return len(header).to_bytes(8, "little") + header + content[8 + size :]
    if kind < 0.6:
        other = generator.choice((0, size - 1, size + 1, 2**32, 2**63, 2**64 - 1))
        return other.to_bytes(8, "little") + content[8:]
    return of_bytes(content, generator)


def of_text(content: bytes, generator: random.Random) -> bytes:
    """As `of_bytes`; or a text of one line, of one symbol, of no symbol, of too many."""
    if generator.random() < 0.8:
        return of_bytes(content, generator)[:_LONGEST_TEXT]
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)])).encode()
    one_line = content.replace(b"\n", b" ")
    return generator.choice([b"", b"a", b"\n", b" " * 5000, b"a" * _LONGEST_TEXT, one_line, every, b"\n" * 20_000])


def _flip(content: bytes, generator: random.Random) -> bytes:
    if not content:
        return b"\x80"
    place = generator.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]


def _cut(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randint(0, len(content))]


def _span(content: bytes, generator: random.Random) -> tuple[int, int]:
    begin = generator.randint(0, len(content))
    return begin, min(len(content), begin + generator.choice((1, 2, 8, 100, 5000)))


def _remove(content: bytes, generator: random.Random) -> bytes:
    begin, end = _span(content, generator)
    return content[:begin] + content[end:]


def _repeat(content: bytes, generator: random.Random) -> bytes:
    begin, end = _span(content, generator)
    return content[:end] + content[begin:end] * generator.choice((1, 2, 300)) + content[end:]


def _move(content: bytes, generator: random.Random) -> bytes:
    begin, end = _span(content, generator)
    rest = content[:begin] + content[end:]
    place = generator.randint(0, len(rest))
    return rest[:place] + content[begin:end] + rest[place:]


def _insert(content: bytes, generator: random.Random) -> bytes:
    place = generator.randint(0, len(content))
    return content[:place] + generator.choice(ODD_BYTES) * generator.choice((1, 1, 50)) + content[place:]


def _other_number(content: bytes, generator: random.Random) -> bytes:
    found = list(_NUMBER.finditer(content[:100_000]))
    if not found:
        return _insert(content, generator)
    match = generator.choice(found)
    return content[: match.start()] + generator.choice(ODD_WORDS) + content[match.end() :]


_OF_BYTES: tuple[Mutation, ...] = (_flip, _flip, _cut, _remove, _repeat, _move, _insert, _other_number, _other_number)


def _values_changed(content: bytes, generator: random.Random) -> bytes:
    try:
        root = [json.loads(content)]
    except ValueError:
        return of_bytes(content, generator)
    places = list(_places(root))
    holder, key = generator.choice(places)
    action = generator.random()
    if action < 0.15 and isinstance(holder, dict):
        del holder[key]
    elif action < 0.25 and isinstance(holder, dict):
        holder[generator.choice(("", "x", key + " ", "../x", "__class__"))] = holder.pop(key)
    elif action < 0.35:
        # Something else of the same file stands there.
        other, name = generator.choice(places)
        holder[key] = other[name]
    elif action < 0.4:
        holder[key] = "deep"
        deep = b"[" * 5000 + b"]" * generator.choice((0, 5000))
        return json.dumps(root[0]).encode().replace(b'"deep"', deep)
    else:
        holder[key] = generator.choice(ODD_VALUES)
    try:
        return json.dumps(root[0]).encode()
    except ValueError:  # It is inside itself.
        return of_bytes(content, generator)


def _places(holder: Any) -> list[tuple[Any, Any]]:
    """All (holder, key) of values inside."""
    keys = holder.keys() if isinstance(holder, dict) else range(len(holder))
    found = [(holder, key) for key in keys]
    for key in keys:
        if isinstance(holder[key], dict | list):
            found += _places(holder[key])
    return found


def _aliases() -> bytes:
    """Few lines that would be 10^9 values, were they written out."""
    levels = [b"a0: &a0 [" + b"x, " * 10 + b"]"]
    levels += [b"a%d: &a%d [" % (n, n) + b"*a%d, " % (n - 1) * 10 + b"]" for n in range(1, 9)]
    return b"\n".join(levels)
