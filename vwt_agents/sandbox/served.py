"""Serves the code to tests that run in another sandbox: imports, calls and reads it as asked, and sends plain data back.

Started with the words FD CODE SITE... inside the code's sandbox. All of this is in the hands of the code it
loads, so nothing here is relied on: the side of the tests (`stand_in`) believes data, never a judgement. What cannot be
plain data stays here and travels as a number.
"""

# No pathlib: its import would be most of this program's start-up. Paths are those of the sandbox.

from __future__ import annotations

import importlib
import io
import json
import operator
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.bases import plain_of
from vwt_agents.sandbox.held import Held
from vwt_agents.sandbox.served_values import Objects, ServedCoder, code_is_in, text_or_none
from vwt_agents.sandbox.wire import MOST_BYTES, WireError, look

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_TEXT: Final = 1024 * 1024

OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "len": len, "iter": iter, "next": next, "reversed": reversed, "bool": bool, "int": int, "float": float,
    "complex": complex, "index": operator.index, "abs": abs, "neg": operator.neg, "pos": operator.pos,
    "invert": operator.invert, "round": round, "hash": hash, "str": str, "repr": repr, "format": format,
    "bytes": bytes, "contains": operator.contains, "getitem": operator.getitem, "setitem": operator.setitem,
    "delitem": operator.delitem, "divmod": divmod, "pow": pow, "dir": dir, "vars": vars, "eq": operator.eq,
    "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "add": operator.add, "sub": operator.sub,
    "mul": operator.mul, "truediv": operator.truediv, "floordiv": operator.floordiv, "mod": operator.mod,
    "matmul": operator.matmul, "lshift": operator.lshift, "rshift": operator.rshift, "and": operator.and_,
    "or": operator.or_, "xor": operator.xor, "iadd": operator.iadd, "isub": operator.isub, "imul": operator.imul,
    "itruediv": operator.itruediv, "ior": operator.ior, "iand": operator.iand, "ixor": operator.ixor,
    "get": getattr, "set": setattr, "del": delattr,
    "enter": lambda own: type(own).__enter__(own),
    "exit": lambda own, *why: bool(type(own).__exit__(own, *why)),
    "trunc": lambda own: type(own).__trunc__(own),
    "floor": lambda own: type(own).__floor__(own),
    "ceil": lambda own: type(own).__ceil__(own),
}  # fmt: skip


class _Captured:
    """Stands in for a standard stream, so that what the code prints reaches the test that called it."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self.bytes, encoding="utf-8", errors="backslashreplace", write_through=True)

    def take(self) -> str:
        if not self.stream.closed and self.bytes.tell() == 0:
            return ""
        text = "" if self.stream.closed else self.bytes.getvalue()[:_MOST_TEXT].decode(errors="backslashreplace")
        self.__init__()  # type: ignore[misc]
        return text


class _Server:
    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # noqa: FBT003
        self.reading = os.fdopen(fd, "rb")
        self.fd = fd
        self.objects = Objects()
        self.held = Held(-1, look)
        self.out, self.err = _Captured(), _Captured()

    def serve(self) -> None:
        for line in iter(self.reading.readline, b""):
            self.out_streams()
            self._send(self._answer(json.loads(line)))

    def out_streams(self) -> None:
        sys.stdout, sys.stderr = self.out.stream, self.err.stream

    def _answer(self, request: list[Any]) -> list[Any]:
        """Number, kind, value, changes, dropped, out, err; what is dropped is known once nothing of the call is left here."""
        said = self._said(request)
        return [*said, self.held.dropped(), self.out.take(), self.err.take()]

    def _said(self, request: list[Any]) -> list[Any]:
        number, forgotten, changes, what, *data = request
        coder = ServedCoder(self.held, self.objects)
        try:
            try:
                self.held.drop(forgotten)
                coder.apply(changes)
                value = self._do(what, coder.all_of(data, 0))
                said = [number, "value", coder.encode(value)]
            except BaseException as error:  # noqa: BLE001
                coder.take_back()
                said = [number, "error", coder.encode_exception(error)]
            changed = self.held.changed()
            changes = coder.items_of(changed)
        except BaseException as error:  # noqa: BLE001
            coder.take_back()
            return [number, "unsendable", f"{type(error).__name__}: {error}"[:500], []]
        for one in changed:
            self.held.agree(one)
        self.held.sent()
        return [*said, changes]

    def _do(self, what: str, arguments: list[Any]) -> Any:
        if what in OPERATIONS:
            return OPERATIONS[what](*arguments)
        if what in _QUESTIONS:
            return _QUESTIONS[what](*arguments)
        match what, arguments:
            case "call", [target, positional, named]:
                return target(*positional, **named)
            case "import", [name]:
                return _exports(importlib.import_module(name))
            case _:
                raise WireError(f"there is no operation {what!r}")

    def _send(self, answer: list[Any]) -> None:
        data = json.dumps(answer).encode() + b"\n"
        if len(data) > MOST_BYTES:
            text = f"an answer of {len(data)} bytes, more than {MOST_BYTES}"
            data = json.dumps([answer[0], "unsendable", text, [], [], "", ""]).encode() + b"\n"
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]


def _copied(one: Any, *, deep: bool) -> Any:
    import copy

    return copy.deepcopy(one) if deep else copy.copy(one)


def _equals(one: Any, stranger: object) -> bool:
    try:
        return bool(one == stranger)
    except Exception:  # noqa: BLE001  # it looks for what only its own kind has, as honest code often does
        return False


def _equals_or_none(one: Any, choice: Any) -> bool | None:
    try:
        return bool(one == choice)
    except Exception:  # noqa: BLE001  # the tests' side asks again, for the exception, where this is the one it means
        return None


def _called_or_none(target: Callable[..., Any], choice: Any, others: list[Any], named: dict[str, Any]) -> Any:
    try:
        return target(choice, *others, **named)
    except Exception:  # noqa: BLE001
        return None


def _holds(one: Any, item: object) -> bool:
    try:
        return bool(item in one)
    except Exception:  # noqa: BLE001
        return False


_QUESTIONS: Final[dict[str, Callable[..., Any]]] = {
    "base": plain_of,
    "copy": lambda one: _copied(one, deep=False),
    "deep copy": lambda one: _copied(one, deep=True),
    "equal": lambda one, other: [bool(one == other), *(_equals(each, object()) for each in (one, other))],
    "equal plain": lambda one, choices: [_equals_or_none(one, choice) for choice in choices],
    "each": lambda target, choices, more, named: [_called_or_none(target, one, more, named) for one in choices],
    "holds": lambda one, item: [item in one, _holds(one, object())],
    "listed": list,
    "instance": lambda one, cls: [isinstance(one, cls), isinstance(object(), cls)],
    "subclass": lambda one, cls: [issubclass(one, cls), issubclass(type("Stranger", (), {}), cls)],
}
"""What the tests' side asks beside an operation to see whether the answer can be believed: the same of a stranger."""


def _exports(module: ModuleType) -> dict[str, Any]:
    """What `from module import *` would bring: names of the module's own things, and where the others are from."""
    names = getattr(module, "__all__", None)
    chosen = [*names] if names is not None else [name for name in vars(module) if not name.startswith("_")]
    own, other = [], []
    for name in chosen:
        value = vars(module).get(name)
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(home, str) and home.partition(".")[0] in sys.stdlib_module_names and home not in _OWN_HOMES:
            other.append([str(name), "" if isinstance(value, ModuleType) else home])
        else:
            own.append(str(name))
    return {"own": own, "other": other, "doc": text_or_none(module.__doc__)}


_OWN_HOMES: Final = ("builtins", "__main__")


def main(fd: str, code: str, *sites: str) -> None:
    """Serve requests that come on `fd` until it ends; the code is in the folder `code`."""
    code_is_in(code)
    sys.path.extend((*sites, code))
    sys.argv = [""]
    end = os._exit
    _Server(int(fd)).serve()
    end(0)  # threads and atexit handlers of the code have no say
