"""A script as text and syntax tree together: where things stand, what they are called, what
replaces them. Nothing here runs the script or writes it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

LINE_END = re.compile(rb"\r\n|\r|\n")


class Unsure(Exception):
    """The place of a change is not certain; the text says why."""


@dataclass(frozen=True, order=True)
class Piece:
    """New text for the bytes [start, end) of the script in UTF-8; nothing to replace inserts."""

    start: int
    end: int
    text: str


def decoded(source: bytes) -> str:
    """The text of a Python file, by its own encoding line; line ends stay as they are.

    Raises:
        Unsure: not text in the encoding that it names.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise Unsure(f"the file cannot be read as Python text: {error}") from None
    if re.search(r"\r(?!\n)", text):
        raise Unsure("the file has line ends that no diff can carry")
    return text


class Script:
    """One version of the text. Offsets are of its UTF-8 bytes, as those of `ast` are."""

    def __init__(self, text: str, file: str = "") -> None:
        self.text = text
        self.file = file
        """Name of the file without its folder, as facts name places."""
        self.bytes = text.encode("utf-8", "surrogatepass")
        try:
            self.tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise Unsure(f"the file is not valid Python: {error}") from None
        self._starts = [0, *(m.end() for m in LINE_END.finditer(self.bytes))]

    def span(self, node: ast.expr | ast.stmt | ast.keyword | ast.alias) -> tuple[int, int]:
        """Start and end of a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def source(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node, as written."""
        start, end = self.span(node)
        return self.bytes[start:end].decode("utf-8", "surrogatepass")

    def replaced(self, node: ast.expr | ast.stmt | ast.keyword, text: str) -> Piece:
        """This text instead of the node."""
        return Piece(*self.span(node), text)

    def with_pieces(self, pieces: Iterable[Piece]) -> str:
        """The new text.

        Raises:
            Unsure: two pieces overlap, or what results is not Python.
        """
        out, last = b"", 0
        for piece in sorted(set(pieces)):
            if piece.start < last:
                raise Unsure("two changes meet at one place")
            out += self.bytes[last : piece.start] + piece.text.encode()
            last = piece.end
        text = (out + self.bytes[last:]).decode("utf-8", "surrogatepass")
        try:
            ast.parse(text)
        except SyntaxError:
            raise Unsure("the place is written in a way that cannot be changed safely") from None
        return text

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """Node -> the node that holds it."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """What holds a node, from near to far."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that a node is part of."""
        return next(n for n in (node, *self.above(node)) if isinstance(n, ast.stmt))

    def scope(self, node: ast.AST) -> ast.AST:
        """The function that a node stands in, or the module."""
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Module)
        return next(n for n in self.above(node) if isinstance(n, functions))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Name -> dotted path of what was imported under it; not where it is also assigned."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    own = name.asname or name.name.partition(".")[0]
                    found[own] = name.name if name.asname else own
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {n.asname or n.name: f"{node.module}.{n.name}" for n in node.names}
        return {name: path for name, path in found.items() if name not in self.assigned}

    @cached_property
    def modules(self) -> set[str]:
        """Every module that is imported; ``.name`` for those of the program's own package."""
        found = {n.name for x in ast.walk(self.tree) if isinstance(x, ast.Import) for n in x.names}
        return found | {
            "." * x.level + (x.module or "")
            for x in ast.walk(self.tree)
            if isinstance(x, ast.ImportFrom)
        }

    @cached_property
    def assigned(self) -> set[str]:
        """Every name that is bound by something else than an import."""
        names = {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and _binds(n)}
        return names | self.parameters | {
            n.name for n in ast.walk(self.tree)
            if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        }  # fmt: skip

    @cached_property
    def parameters(self) -> set[str]:
        """Every name of an argument of a function."""
        return {n.arg for n in ast.walk(self.tree) if isinstance(n, ast.arg)}

    def dotted(self, node: ast.AST) -> str:
        """``torch.optim.SGD`` for whatever spelling the imports make of it; empty for others."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def calls(self, *paths: str) -> list[ast.Call]:
        """Calls of these dotted paths, in the order of the text."""
        found = [
            n for n in ast.walk(self.tree)
            if isinstance(n, ast.Call) and self.dotted(n.func) in paths
        ]  # fmt: skip
        return sorted(found, key=self.span)

    def references(self, *paths: str) -> list[ast.expr]:
        """Every mention of these dotted paths, called or not, in the order of the text."""
        found: list[ast.expr] = [
            n for n in ast.walk(self.tree)
            if isinstance(n, (ast.Name, ast.Attribute)) and self.dotted(n) in paths
        ]  # fmt: skip
        return sorted(found, key=self.span)

    def spelled(self, path: str, like: ast.expr | None = None) -> tuple[str, list[Piece]]:
        """How to write a dotted path here, and the import that this needs.

        ``like`` is a mention of something of the same module: its spelling is followed.
        """
        module, _, name = path.rpartition(".")
        if isinstance(like, ast.Attribute) and self.dotted(like.value) == module:
            return f"{self.source(like.value)}.{name}", []
        known = {dotted: alias for alias, dotted in self.aliases.items()}
        if path in known:
            return known[path], []
        head, tail = module, name
        while head:
            if head in known:
                return f"{known[head]}.{tail}", []
            head, _, last = head.rpartition(".")
            tail = f"{last}.{tail}"
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == module and not node.level:
                if name in self.assigned:
                    break
                end = self.span(node.names[-1])[1]
                return name, [Piece(end, end, f", {name}")]
        raise Unsure(f"{path} cannot be named with the imports of the file")

    def alone(self, statement: ast.stmt) -> bool:
        """Nothing else than a comment stands on the lines of a statement."""
        start, end = self.span(statement)
        before = self.bytes[self._starts[statement.lineno - 1] : start]
        after = LINE_END.split(self.bytes[end:], maxsplit=1)[0].strip()
        return not before.strip() and (not after or after.startswith(b"#"))

    def before(self, statement: ast.stmt, *lines: str) -> Piece:
        """Simple statements in front of one."""
        start, _ = self.span(statement)
        if not self.alone(statement):
            return Piece(start, start, "".join(f"{line}; " for line in lines))
        at = self._starts[statement.lineno - 1]
        return Piece(at, at, self._indented(statement, lines))

    def after(self, statement: ast.stmt, *lines: str) -> Piece:
        """Simple statements behind one."""
        _, end = self.span(statement)
        if not self.alone(statement):
            return Piece(end, end, "".join(f"; {line}" for line in lines))
        assert statement.end_lineno is not None
        if statement.end_lineno < len(self._starts):
            at = self._starts[statement.end_lineno]
            return Piece(at, at, self._indented(statement, lines))
        return Piece(
            len(self.bytes), len(self.bytes), self.newline + self._indented(statement, lines)
        )

    def block_before(self, statement: ast.stmt, lines: Sequence[str]) -> Piece:
        """Lines of any kind in front of a statement, indented as it is."""
        if not self.alone(statement):
            raise Unsure("the statement shares its line with others")
        at = self._starts[statement.lineno - 1]
        return Piece(at, at, self._indented(statement, lines))

    def block_after(self, statement: ast.stmt, lines: Sequence[str]) -> Piece:
        """Lines of any kind behind a statement, indented as it is."""
        if not self.alone(statement):
            raise Unsure("the statement shares its line with others")
        return self.after(statement, *lines)

    @property
    def newline(self) -> str:
        found = LINE_END.search(self.bytes)
        return found[0].decode() if found else "\n"

    def _indented(self, statement: ast.stmt, lines: Iterable[str]) -> str:
        start, _ = self.span(statement)
        indent = self.bytes[self._starts[statement.lineno - 1] : start].decode()
        return "".join(f"{indent}{line}{self.newline}" for line in lines)


def _binds(name: ast.Name) -> bool:
    return isinstance(name.ctx, (ast.Store, ast.Del))
