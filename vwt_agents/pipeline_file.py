"""A pipeline's file: imported by its path, checked for one Pipeline, its failures told with the line they come from.

The file's folder can be imported from while the file is read, so that helpers may lie beside it; import them at the top.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vwt_agents.errors import DefinitionError, Fault, VwtError
from vwt_agents.pipeline import Pipeline, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, ModuleType, TracebackType

__all__ = ["load_pipeline"]


class _Source(importlib.machinery.SourceFileLoader):
    """Always compiles: a cached module may be older than an edit within the same second, and no file is left behind."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the import system passes it
        return self.source_to_code(self.get_data(self.path), self.path)


def load_pipeline(path: Path) -> Pipeline:
    """The pipeline that a Python file defines: its only one, or the one named `pipeline`; DefinitionError if there is none."""
    if path.suffix != ".py" or not path.is_file():
        raise _fault(str(path), *_not_there(path))
    return _the_pipeline(_module(path.resolve()), path)


def _not_there(path: Path) -> tuple[str, str]:
    if path.is_dir():
        return "is a folder", f"name a file in it: {_listed(path)}"
    if path.is_file():
        return "is not a Python file", "a pipeline is a .py file that defines `pipeline = Pipeline(...)`"
    if path.exists():
        return "is no regular file", f"here are: {_listed(path.parent)}"
    return "there is no such file", f"here are: {_listed(path.parent)}"


def _listed(folder: Path) -> str:
    names = sorted(found.name for found in folder.glob("*.py")) if folder.is_dir() else []
    return ", ".join(names[:12]) or "no .py files"


def _module(path: Path) -> ModuleType:
    # The same name for the same file in every process: classes of the file keep their identity in pickles and messages.
    name = f"pipeline_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look annotations up there
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, VwtError) or not isinstance(error, Exception | SystemExit):
            raise
        raise _told(error, path) from error
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _told(error: BaseException, path: Path) -> DefinitionError:
    if isinstance(error, SyntaxError) and error.filename is not None and Path(error.filename).is_file():
        text = f": {error.text.strip()}" if error.text else ""
        return _fault(str(Place(error.filename, error.lineno or 1)), f"{error.msg}{text}")
    own, last = _lines(error.__traceback__, str(path))
    hint = f"raised at {last}" if last != own else None
    if isinstance(error, ModuleNotFoundError):
        hint = f"install {error.name}, or put {error.name}.py beside the pipeline"
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _fault(str(own), f"importing it failed with {message}", hint)


def _lines(traceback: TracebackType | None, file: str) -> tuple[Place, Place]:
    """The last line of the user's file on the way to an error, and the line that raised it."""
    own = last = Place(file, 1)
    while traceback is not None:
        last = Place(traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        own = last if last.file == file else own
        traceback = traceback.tb_next
    return own, last


def _the_pipeline(module: ModuleType, path: Path) -> Pipeline:
    named = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    if len({id(value) for value in named.values()}) == 1:
        return next(iter(named.values()))
    if "pipeline" in named:
        return named["pipeline"]
    where = str(Place(str(path.resolve()), 1))
    if not named:
        raise _fault(where, "it defines no Pipeline", "write `pipeline = Pipeline('name')` and decorate its stages")
    raise _fault(where, f"it defines several pipelines: {', '.join(sorted(named))}", "name the one to run `pipeline`")


def _fault(where: str, message: str, hint: str | None = None) -> DefinitionError:
    return DefinitionError([Fault(where, message, hint)])
