"""One pipeline's place in the flattened graph: which stage, included pipeline or input a name means there.

Names are looked up here first; what is not found is asked of the pipeline around it (renamed as its include says), and
what nobody knows is an input of the whole. Owns the faults of includes and outputs, and of names that are used twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vwt_agents.errors import Fault, did_you_mean
from vwt_agents.graph.shape import REQUIRED
from vwt_agents.graph.signature import OWN_NAMES, Signature, read_signature
from vwt_agents.pipeline import Inclusion, Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Found", "Scope", "same"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a name means: stages of the flattened graph (several: as a dict by key), or an input and its default."""

    stages: tuple[tuple[str, str], ...]
    annotation: Any
    source: str
    default: Any = REQUIRED

    @property
    def is_input(self) -> bool:
        """Whether the run has to be given it."""
        return not self.stages


class Scope:
    """The stages (`signatures`) and included pipelines (`inner`) of one pipeline, by their names in it."""

    def __init__(
        self, pipeline: Pipeline, faults: list[Fault], outer: Scope | None = None, by: Inclusion | None = None
    ) -> None:
        self.pipeline = pipeline
        self.outer = outer
        self.prefix: str = "" if outer is None or by is None else f"{outer.prefix}{by.name}."
        self.renamed: Mapping[str, str] = {} if by is None else by.inputs
        self.signatures: dict[str, Signature] = {}
        self.inner: dict[str, Scope] = {}
        self._places: dict[str, str] = {}
        for declaration in pipeline.declarations:
            signature = read_signature(declaration, faults, otherwise=str(pipeline.place))
            if self._claim(signature.name, signature.where, faults):
                self.signatures[signature.name] = signature
        for inclusion in pipeline.inclusions:
            self._include(inclusion, faults)
        self._check(faults)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that stages here can be wired to."""
        return (*self.signatures, *self.inner)

    @property
    def free(self) -> tuple[str, ...]:
        """The names that its stages and included pipelines need from outside."""
        used = [parameter.source for signature in self.signatures.values() for parameter in signature.values]
        for scope in self.inner.values():
            used += [scope.renamed.get(name, name) for name in scope.free]
        return tuple(dict.fromkeys(name for name in used if name not in self._places))

    @property
    def chain(self) -> list[Pipeline]:
        """The pipelines around it, outermost first, and its own."""
        return [*(self.outer.chain if self.outer is not None else ()), self.pipeline]

    def walk(self) -> Iterator[tuple[Scope, Signature]]:
        """Every stage below, with the scope it is written in: in the order of writing, included ones last."""
        for signature in self.signatures.values():
            yield self, signature
        for scope in self.inner.values():
            yield from scope.walk()

    def lookup(self, name: str, default: Any = REQUIRED) -> Found:
        """What a name means to a stage written here; the outermost pipeline that gives an input a default decides."""
        found = self._local(name)
        if found is not None:
            return found
        default = self.pipeline.defaults.get(name, default)
        if self.outer is None:
            return Found((), Any, name, default)
        return self.outer.lookup(self.renamed.get(name, name), default)

    def result(self) -> Found:
        """Where the pipeline's own result comes from: the stage that `output` names, or what its last stages return."""
        for name, _ in self.pipeline.outputs:
            found = self._local(name)
            if found is not None:
                return found
        used = self._used()
        last = {name: self._local(name) for name in self.names if name not in used}
        if len(last) == 1:
            return next(found for found in last.values() if found is not None)
        parts = [
            (f"{name}.{key}" if len(found.stages) > 1 else name, stage)
            for name, found in last.items()
            if found is not None
            for key, stage in found.stages
        ]
        return Found(tuple(parts), dict, self.prefix.rstrip("."))

    def _local(self, name: str) -> Found | None:
        if name in self.signatures:
            full = self.prefix + name
            return Found(((name, full),), self.signatures[name].result, full)
        return self.inner[name].result() if name in self.inner else None

    def _used(self) -> set[str]:
        used = {parameter.source for signature in self.signatures.values() for parameter in signature.values}
        return used.union(*({scope.renamed.get(name, name) for name in scope.free} for scope in self.inner.values()))

    def _claim(self, name: str, where: str, faults: list[Fault]) -> bool:
        if name in self._places:
            faults.append(Fault(where, f"stage {name} is defined twice", f"first at {self._places[name]}; rename one"))
            return False
        self._places[name] = where
        return True

    def _include(self, inclusion: Inclusion, faults: list[Fault]) -> None:
        where, name, given = str(inclusion.place), inclusion.name, inclusion.pipeline
        if not isinstance(given, Pipeline):
            faults.append(Fault(where, f"include {name}: {given!r} is not a Pipeline"))
            return
        if not name.isidentifier() or name in OWN_NAMES:
            hint = "a stage gets its output by a parameter of that name; taken: " + ", ".join(sorted(OWN_NAMES))
            faults.append(Fault(where, f"include: {name!r} cannot be a stage's name", hint))
            return
        chain = self.chain
        if inclusion.pipeline in chain:
            names = [pipeline.name for pipeline in chain[chain.index(inclusion.pipeline) :]]
            faults.append(Fault(where, f"pipeline {names[0]} includes itself: {' -> '.join([*names, names[0]])}"))
            return
        if not self._claim(name, where, faults):
            return
        self.inner[name] = scope = Scope(inclusion.pipeline, faults, self, inclusion)
        for wanted, source in inclusion.inputs.items():
            if wanted not in scope.free:
                message = f"include {name}: pipeline {inclusion.pipeline.name} has no input {wanted!r}"
                faults.append(Fault(where, message, did_you_mean(wanted, scope.free)))
            if not source.isidentifier():
                message = f"include {name}: {wanted} cannot come from {source!r}"
                faults.append(Fault(where, message, "name a stage or an input of the outer pipeline"))

    def _check(self, faults: list[Fault]) -> None:
        pipeline, where = self.pipeline, str(self.pipeline.place)
        if not pipeline.declarations and not pipeline.inclusions:
            faults.append(Fault(where, f"pipeline {pipeline.name} has no stages", "write one with @pipeline.stage"))
        for name, place in pipeline.outputs:
            if name not in self._places:
                faults.append(Fault(str(place), f"output: there is no stage {name!r}", did_you_mean(name, self.names)))
        chosen = {name for name, _ in pipeline.outputs}
        if len(chosen) > 1:
            message = f"output is set to {' and to '.join(dict.fromkeys(name for name, _ in pipeline.outputs))}"
            faults.append(Fault(str(pipeline.outputs[-1][1]), message, "a pipeline has one output"))
        for name, default in pipeline.defaults.items():
            if name not in self.free:
                faults.append(
                    Fault(where, f"defaults: no stage takes an input {name!r}", did_you_mean(name, self.free))
                )
                continue
            for signature in self.signatures.values():
                self._check_default(signature, name, default, faults)

    def _check_default(self, signature: Signature, name: str, default: Any, faults: list[Fault]) -> None:
        for parameter in signature.values:
            if parameter.source == name and parameter.default is not REQUIRED and not same(parameter.default, default):
                message = (
                    f"stage {signature.name}: input {name} has the default {parameter.default!r} here and {default!r}"
                )
                faults.append(Fault(signature.where, f"{message} in the pipeline's defaults", "keep one of them"))


def same(one: object, other: object) -> bool:
    """Whether two defaults are the same value of the same type."""
    return one is other or (type(one) is type(other) and (one == other) is True)
