"""What can go wrong, as one tree. Owns every exception the package raises on purpose and its exit code.

    VwtError                    what happened, and what to do next (hint)
    ├── UsageError        2     the user's text is at fault
    │   ├── ConfigError             agents.toml: every fault at once
    │   ├── DefinitionError         the pipeline: every fault at once
    │   ├── InputError              the inputs of a run: every fault at once
    │   ├── LicenceRefused          a model whose licence agents.toml does not allow
    │   └── RecordingStale          a test's run asks something else than was recorded for it
    ├── WorldError        3     something outside does not answer or does not fit
    │   ├── EndpointUnavailable     no server there, or it stopped answering
    │   ├── EndpointAsleep          its server is not running, and what it has is not known
    │   ├── ModelMissing            the endpoint does not have the model
    │   ├── PullFailed              a model could not be brought here
    │   ├── LoadFailed              the endpoint could not load the model
    │   │   ├── Spilled             it did, but not all of it was on the device
    │   │   └── LoadsHang           it loads nothing any more, though resident models answer
    │   ├── UnloadFailed            a model would not leave its memory
    │   ├── MemoryTaken             others hold the memory now; it may be tried again
    │   ├── LedgerUnavailable       the host-wide ledger could not be written
    │   ├── Rejected                it can never fit; the arithmetic is in the message
    │   ├── CallFailed              a model call broke
    │   │   └── CallTimeout         it took longer than its limit
    │   ├── SandboxUnavailable      no sandbox works here
    │   ├── Unwritable              the run's folder could not be written: its disk is full, say
    │   └── JournalError            the journal could not be written or read
    └── RunError          1     the run came to a bad end
        ├── StageFailed             a stage raised; names the stage
        ├── NotApproved             a person said no
        ├── LimitReached            the run has spent what it may: calls, tokens, model time, or its deadline passed
        └── AnswerInvalid           the model's answer did not fit the type, also when asked again

Foreign errors are mapped in one place per endpoint.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "AnswerInvalid",
    "CallFailed",
    "CallTimeout",
    "ConfigError",
    "DefinitionError",
    "EndpointAsleep",
    "EndpointUnavailable",
    "Fault",
    "InputError",
    "JournalError",
    "LedgerUnavailable",
    "LicenceRefused",
    "LimitReached",
    "LoadFailed",
    "LoadsHang",
    "MemoryTaken",
    "ModelMissing",
    "NotApproved",
    "PullFailed",
    "RecordingStale",
    "Rejected",
    "RunError",
    "SandboxUnavailable",
    "Spilled",
    "StageFailed",
    "UnloadFailed",
    "Unwritable",
    "UsageError",
    "VwtError",
    "WorldError",
    "did_you_mean",
    "nearest",
    "words_of",
]


class VwtError(Exception):
    """The root: a message for people, a hint that says what to do next, and the exit code of a run it ends."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a text the user wrote: where it is (`agents.toml:12:1`), what it is, what was possible."""

    where: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class UsageError(VwtError):
    """The user's text is at fault: command line, config, pipeline or inputs. Exit code 2."""

    exit_code: ClassVar[int] = 2


class _FaultsError(UsageError):
    def __init__(self, faults: Sequence[Fault], *, hint: str | None = None) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults), hint=hint)


class ConfigError(_FaultsError):
    """Every fault of agents.toml at once."""


class DefinitionError(_FaultsError):
    """Every fault of a pipeline's definition at once."""


class InputError(_FaultsError):
    """Every fault of a run's inputs at once."""


class LicenceRefused(UsageError):
    """A model whose licence agents.toml neither allows nor accepts."""


class RecordingStale(UsageError):
    """A run that is replayed in a test asks something that was not recorded, or not all that was."""


class WorldError(VwtError):
    """Something outside does not answer, does not fit or broke. `retryable`: the same may well succeed later. Exit code 3."""

    exit_code: ClassVar[int] = 3
    retryable: bool = False


class EndpointUnavailable(WorldError):
    """No server answers there, or it stopped answering. `refused`: nobody listens there at all."""

    refused: bool = False


class EndpointAsleep(WorldError):
    """A server that would be started on demand is not running, and what is asked of it nobody has noted before."""

    def __init__(self, message: str, *, endpoint: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.endpoint = endpoint


class ModelMissing(WorldError):
    """The endpoint does not have the model. `here` is what it has instead, where it was asked."""

    here: tuple[str, ...] = ()


class PullFailed(WorldError):
    """A model could not be brought to this machine."""


class LoadFailed(WorldError):
    """The endpoint could not load the model; the message carries the engine's own words."""


class Spilled(LoadFailed):
    """A model was loaded in part only: of the MiB it takes in all, those that were on its device. It has been unloaded."""

    def __init__(self, message: str, *, hint: str | None = None, size_mib: int = 0, device_mib: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.size_mib = size_mib
        self.device_mib = device_mib


class LoadsHang(LoadFailed):
    """The endpoint loads nothing any more: a model that was to make way never leaves. What is resident still answers."""


class UnloadFailed(WorldError):
    """A model was told to leave and is still in memory, or could not be told."""


class MemoryTaken(WorldError):
    """Other processes hold the memory now; the message says who, and the same load may be tried again later."""


class LedgerUnavailable(WorldError):
    """The host-wide ledger could not be written, so nothing can be claimed; the hint says how to do without."""


class Rejected(WorldError):
    """A request that can never be granted; the message carries the arithmetic."""


class CallFailed(WorldError):
    """A model call broke before its answer was complete."""

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class CallTimeout(CallFailed):
    """A model call took longer than its limit."""


class SandboxUnavailable(WorldError):
    """No sandbox works here; the hint says how to get one."""


class Unwritable(WorldError):
    """The run's folder could not be written, through no fault of a name: a full disk, say. The run can be resumed."""


class JournalError(WorldError):
    """The journal could not be written or read."""


class RunError(VwtError):
    """The run came to a bad end. Exit code 1."""


class StageFailed(RunError):
    """A stage raised an error that is not ours; the cause is chained."""


class NotApproved(RunError):
    """A person, or what stood in for one, said no."""


class LimitReached(RunError):
    """The run has spent what it may, or its deadline has passed; it can be resumed."""


class AnswerInvalid(RunError):
    """The model's answer did not fit the asked type, also after it was told why."""


_MOST_SAID: Final = 2000
"""Characters: an error may hold a program's whole output, which is no message."""


def words_of(error: BaseException) -> str:
    """An error as `Type: text`, the type alone where it has no text, or one that cannot be made; of a text that is very long,
    how it begins and how it ends.
    """
    try:
        said = str(error)
    except Exception as fault:  # noqa: BLE001 - whatever a stranger's __str__ does
        said = f"(its text could not be made: {type(fault).__name__})"
    if len(said) > _MOST_SAID:
        left_out = len(said) - _MOST_SAID
        said = f"{said[: _MOST_SAID // 2]} [... {left_out} characters left out ...] {said[-_MOST_SAID // 2 :]}"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def did_you_mean(word: str, possible: Iterable[str]) -> str | None:
    """A hint such as `did you mean 'coder'?`, or the whole list when nothing is near and it is short."""
    names = sorted(set(possible))
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"possible: {', '.join(names)}" if 0 < len(names) <= 12 else None


def nearest(word: str, possible: Iterable[str], most: int = 5) -> str:
    """The names most like a word, best first, and how many more there are: `a:7b, b:7b and 3 more`; empty for none."""
    names = sorted(set(possible))
    said = ", ".join(difflib.get_close_matches(word, names, n=most, cutoff=0.0))
    return f"{said} and {len(names) - most} more" if len(names) > most else said
