"""Where a key stands in a TOML text. Only imported to report a fault: tree-sitter takes 30 ms and 4 MiB."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KeyPath", "Position", "locate", "positions"]

KeyPath: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]

_KEYS = ("bare_key", "quoted_key", "dotted_key")
_TABLES = ("table", "table_array_element")


def positions(text: str) -> dict[KeyPath, Position]:
    """Line and column (from 1) of every table, key and array item in a TOML text, by its path."""
    found: dict[KeyPath, Position] = {}
    tree = Parser(Language(tree_sitter_toml.language())).parse(text.encode())
    lines = text.encode().split(b"\n")
    for path, node in _walk(tree.root_node, ()):
        row, column = node.start_point.row, node.start_point.column
        # Columns are bytes; people count characters.
        found.setdefault(path, (row + 1, len(lines[row][:column].decode(errors="replace")) + 1))
    return found


def locate(path: KeyPath, known: Mapping[KeyPath, Position]) -> Position:
    """The position of `path`, or of the nearest table around it; the top of the file if there is none."""
    while path and path not in known:
        path = path[:-1]
    return known.get(path, (1, 1))


def _walk(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
    for child in node.named_children:
        if child.type in _TABLES or child.type == "pair":
            inner = path + _names(child.named_children[0])
            for depth in range(len(path) + 1, len(inner) + 1):
                yield inner[:depth], child
            if child.type == "pair":
                yield from _value(child.named_children[-1], inner)
            else:
                yield from _walk(child, inner)


def _value(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
    if node.type == "inline_table":
        yield from _walk(node, path)
    elif node.type == "array":
        items = (child for child in node.named_children if child.type != "comment")
        for index, item in enumerate(items):
            yield (*path, index), item
            yield from _value(item, (*path, index))


def _names(node: Node) -> tuple[str, ...]:
    if node.type == "dotted_key":
        return tuple(name for child in node.named_children for name in _names(child))
    written = (node.text or b"").decode()
    if node.type != "quoted_key":
        return (written,)
    return (written[1:-1] if written.startswith("'") else str(json.loads(written)),)
