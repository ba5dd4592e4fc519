"""What one stage says about itself: its parameters with their roles, its result, its `each` and its limits.

Owns every fault that can be seen in a single declaration; what a name refers to elsewhere is the scope's business.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

from vwt_agents.errors import Fault
from vwt_agents.graph.policy import PLAIN, Policy, duration_or_fault, read_policy
from vwt_agents.graph.shape import REQUIRED, Each
from vwt_agents.graph.typenames import contradict, plain, type_name, unwrapped
from vwt_agents.pipeline import Declaration, Place
from vwt_agents.stored import why_unreadable

if TYPE_CHECKING:
    from vwt_agents.types import Seconds

__all__ = ["OWN_NAMES", "Parameter", "Signature", "declared_name", "read_signature"]

OwnRole: TypeAlias = Literal["agent", "service", "value"]

OWN_NAMES: Final = frozenset({"inputs", "output", "outputs", "run", "sandbox", "self"})
"""Names that mean something of ours beside a stage's own: no stage may have them."""

_UNREADABLE: Final = (NameError, AttributeError, TypeError, SyntaxError)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter before it is wired; a `value` comes from `source`: its own name, or what `each` names."""

    name: str
    role: OwnRole
    annotation: Any
    default: Any
    source: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A stage before it is wired, its own faults already reported."""

    name: str
    declaration: Declaration
    parameters: tuple[Parameter, ...]
    returns: Any
    each: Each | None
    timeout: Seconds | None
    where: str
    policy: Policy = PLAIN

    @property
    def result(self) -> Any:
        """The type of what other stages get: a list where it runs once per item."""
        return self.returns if self.each is None else list[self.returns]  # type: ignore[name-defined]

    @property
    def values(self) -> tuple[Parameter, ...]:
        """The parameters that are neither agents nor services."""
        return tuple(parameter for parameter in self.parameters if parameter.role == "value")


def declared_name(declaration: Declaration) -> str:
    """The name of a stage: its function's."""
    return str(getattr(declaration.func, "__name__", repr(declaration.func)))


def read_signature(declaration: Declaration, faults: list[Fault], *, otherwise: str) -> Signature:
    """The stage as its function declares it; adds its faults to `faults`. `otherwise`: where what has no code lies."""
    func, name = inspect.unwrap(declaration.func), declared_name(declaration)
    if not isinstance(func, FunctionType):
        faults.append(
            Fault(otherwise, f"stage {name} is not a function", "decorate a function written with `async def`")
        )
        return Signature(name, declaration, (), Any, None, None, otherwise)
    where = str(Place(func.__code__.co_filename, func.__code__.co_firstlineno))

    def fault(message: str, hint: str | None = None) -> None:
        faults.append(Fault(where, f"stage {name}: {message}", hint))

    _check_name(name, fault)
    _check_kind(declaration, fault)
    hints = _annotations(func, declaration.names, fault)
    signature = inspect.signature(func)
    each = _each(declaration.each, signature.parameters, fault)
    parameters = tuple(
        _parameter(parameter, hints.get(parameter.name, Any), each, fault)
        for parameter in signature.parameters.values()
        if _usable(parameter, fault)
    )
    if each is not None and any(one.name == each.parameter and one.role != "value" for one in parameters):
        fault(f"each names {each.parameter!r}, an agent or a service, which has no items")
    returns = _returns(declaration, hints, fault)
    timeout = duration_or_fault("timeout", declaration.timeout, fault)
    policy = read_policy(declaration.policy, returns, fault)
    if policy.cache and (why := why_unreadable(returns)) is not None:
        fault(f"cache: {why}", "give it a result type that says what it holds, or leave cache out")
    return Signature(name, declaration, parameters, returns, each, timeout, where, policy)


_Report: TypeAlias = Callable[..., None]


def _check_name(name: str, fault: _Report) -> None:
    if not name.isidentifier():
        fault("needs a name that other stages can use as a parameter", "write it with `async def NAME`")
    elif name in OWN_NAMES:
        fault(f"the name {name!r} is taken", f"rename it; also taken: {', '.join(sorted(OWN_NAMES - {name}))}")


def _check_kind(declaration: Declaration, fault: _Report) -> None:
    func = declaration.func
    generates = inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func)
    if generates:
        fault("yields, and a stage has one result", "return a list instead")
    elif declaration.agent is None and not inspect.iscoroutinefunction(func):
        fault("is not async", f"write `async def {declared_name(declaration)}(...)`")
    if declaration.importance not in ("normal", "high"):
        fault(f"importance {declaration.importance!r} is unknown", "possible: 'normal', 'high'")


def _annotations(func: FunctionType, names: Mapping[str, Any], fault: _Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, written in func.__annotations__.items():
        holder = SimpleNamespace(__annotations__={name: written})
        try:
            hints = typing.get_type_hints(holder, func.__globals__, {**names}, include_extras=True)
        except _UNREADABLE as error:
            what = "the return annotation" if name == "return" else f"the annotation of {name}"
            hint = (
                "import it in this file, and not only under `if TYPE_CHECKING`"
                if isinstance(error, NameError)
                else None
            )
            fault(f"{what}, {written!r}, cannot be read: {error}", hint)
            hints = {name: Any}
        found |= hints
    return found


def _usable(parameter: inspect.Parameter, fault: _Report) -> bool:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        fault(f"{stars}{name} cannot be wired", "name each parameter: its name says where its value comes from")
        return False
    if parameter.kind is parameter.POSITIONAL_ONLY:
        fault(f"parameter {name} is positional-only, and stages are called by name", "remove the `/`")
    if parameter.annotation is parameter.empty:
        fault(
            f"parameter {name} has no annotation",
            f"write `{name}: Agent`, `{name}: str` or the type of the stage's result",
        )
    return True


def _parameter(parameter: inspect.Parameter, annotation: Any, each: Each | None, fault: _Report) -> Parameter:
    name, declared = parameter.name, _role(unwrapped(annotation))
    role: OwnRole = declared or "value"
    if declared is None and any(_role(arg) for arg in get_args(annotation)):
        fault(f"parameter {name} is {type_name(annotation)}", "write one parameter for each: its name says which it is")
    if each is not None and each.parameter == name:
        return Parameter(name, role, annotation, REQUIRED, each.source)
    default = REQUIRED if parameter.default is parameter.empty else parameter.default
    return Parameter(name, role, annotation, default, name)


def _role(annotation: Any) -> Literal["agent", "service"] | None:
    declared = getattr(annotation, "__vwt_role__", None)
    return cast("Literal['agent', 'service']", declared) if declared in ("agent", "service") else None


def _each(written: object, parameters: Mapping[str, object], fault: _Report) -> Each | None:
    if written is None:
        return None
    pairs = {written: written} if isinstance(written, str) else written
    if (
        not isinstance(pairs, Mapping)
        or len(pairs) != 1
        or not all(isinstance(n, str) for pair in pairs.items() for n in pair)
    ):
        fault(
            f"each={written!r} is not understood",
            'write each="files", or each={"file": "files"} for a parameter `file`',
        )
        return None
    ((parameter, source),) = pairs.items()
    if parameter not in parameters:
        hint = f"its parameters: {', '.join(parameters)}" if parameters else None
        hint = (
            f'{hint}; each={{"item": "{source}"}} gives the items to a parameter `item`'
            if hint and written == source
            else hint
        )
        fault(f"each names {parameter!r}, which is not one of its parameters", hint)
        return None
    return Each(parameter, source)


def _returns(declaration: Declaration, hints: Mapping[str, Any], fault: _Report) -> Any:
    if declaration.agent is None:
        if "return" not in hints:
            fault(
                "has no return annotation",
                "write `-> None` if it returns nothing; a resumed run reads results back by it",
            )
        return hints.get("return", Any)
    built = hints.get("return", str)
    if plain(built) is not None and contradict(built, str):
        fault(
            f"builds the prompt, so it returns str, not {type_name(built)}",
            "the answer's type is `returns=` of the decorator",
        )
    return declaration.returns
