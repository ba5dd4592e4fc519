"""Workspace: the text files of a folder, and what each of them is. Pure; `workspace.folder` reads one from disk.

Which files are tests, and so out of a candidate's reach, is decided here and nowhere else. Paths are relative, with `/`.
"""

from __future__ import annotations

import configparser
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Workspace", "is_guarded", "is_test_file"]

_TEST_FOLDERS: Final = frozenset({"test", "tests"})
_CONFIGS: Final = frozenset({"conftest.py", "pytest.ini", ".pytest.ini", "pyproject.toml", "setup.cfg", "tox.ini"})


def is_test_file(path: str) -> bool:
    """Whether pytest would look for tests in it, by its own naming: `test_*.py`, `*_test.py`."""
    name = PurePosixPath(path)
    return name.suffix == ".py" and (name.name.startswith("test_") or name.stem.endswith("_test"))


def is_guarded(path: str) -> bool:
    """Whether a candidate must leave it alone: tests, all that lies in a folder of tests, and what configures pytest."""
    parts = PurePosixPath(path).parts
    return is_test_file(path) or parts[-1] in _CONFIGS or bool(_TEST_FOLDERS & set(parts[:-1]))


@dataclass(frozen=True)
class Workspace:
    """Files by path, in the order of their paths. `left_out`: what the folder has and this has not, each with the reason."""

    files: dict[str, str] = field(default_factory=dict)
    name: str = ""
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", dict(sorted(self.files.items())))

    @property
    def sources(self) -> tuple[str, ...]:
        """The Python files a candidate may change."""
        return tuple(path for path in self.files if path.endswith(".py") and not is_guarded(path))

    @property
    def tests(self) -> tuple[str, ...]:
        """The files pytest looks for tests in; only those below the folder's `testpaths`, where it names any."""
        below = [PurePosixPath(one) for one in self._settings("testpaths")]
        return tuple(
            path
            for path in self.files
            if is_test_file(path) and (not below or any(PurePosixPath(path).is_relative_to(one) for one in below))
        )

    def with_changes(self, changes: Mapping[str, str]) -> Workspace:
        """This workspace with files changed or added."""
        return replace(self, files={**self.files, **changes})

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders Python has to import from: the top, `src` where it is one, pytest's `pythonpath`, those of the tests.

        The last is pytest's own rule: the nearest folder of a test that is no package.
        """
        found = dict.fromkeys([".", *self._settings("pythonpath")])
        if any(path.startswith("src/") for path in self.sources) and "src/__init__.py" not in self.files:
            found["src"] = None
        for path in self.tests:
            folder = PurePosixPath(path).parent
            while f"{folder}/__init__.py" in self.files:
                folder = folder.parent
            found[str(folder)] = None
        return tuple(found)

    def module_of(self, path: str) -> str:
        """The name a file is imported by: `src/shop/cart.py` is `shop.cart`."""
        inside = PurePosixPath(path)
        for root in sorted(self.roots, key=len, reverse=True):
            if root != "." and inside.is_relative_to(root):
                inside = inside.relative_to(root)
                break
        parts = inside.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    @property
    def modules(self) -> dict[str, str]:
        """The paths of all Python files by the names they are imported by."""
        return {self.module_of(path): path for path in self.files if path.endswith(".py")}

    def has_module(self, name: str) -> bool:
        """Whether a module, package or plain folder of that name can be imported from the workspace."""
        return any(one == name or one.startswith(f"{name}.") for one in self.modules)

    def _settings(self, key: str) -> list[str]:
        """The folders a setting of pytest names, from the first file that pytest would read it from."""
        for text in self._pytest_settings():
            value = text.get(key)
            if value is not None:
                names = value if isinstance(value, list) else re.split(r"\s+", str(value).strip())
                inside = [PurePosixPath(str(name)) for name in names if name]
                return [str(one) for one in inside if not one.is_absolute() and ".." not in one.parts]
        return []

    def _pytest_settings(self) -> Iterable[Mapping[str, object]]:
        for name, section in (("pytest.ini", "pytest"), (".pytest.ini", "pytest")):
            yield _ini(self.files.get(name, ""), section)
        try:
            project = tomllib.loads(self.files.get("pyproject.toml", ""))
            yield project["tool"]["pytest"]["ini_options"]
        except (tomllib.TOMLDecodeError, KeyError, TypeError):
            pass
        yield _ini(self.files.get("tox.ini", ""), "pytest")
        yield _ini(self.files.get("setup.cfg", ""), "tool:pytest")


def _ini(text: str, section: str) -> Mapping[str, object]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return dict(parser[section]) if parser.has_section(section) else {}
