"""Recall: which stages of a run need not be done, because its own journal or another run's has what they gave.

Owns the fingerprints of stages, the digests of their values they are made of, the keys of cached results, and the entries
of stages. Whether a stage is begun is the runner's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.entries import TRIED, Entry, fingerprint
from vwt_agents.errors import StageFailed, words_of
from vwt_agents.past import ORIGINS, read_past
from vwt_agents.run import delivered_entry
from vwt_agents.stored import Unreadable, read_value, says_all
from vwt_agents.values import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.board import StageLine
    from vwt_agents.config import Settings
    from vwt_agents.graph import Stage
    from vwt_agents.journal import Journal
    from vwt_agents.past import Delivery, Past
    from vwt_agents.routing import Plan, Route
    from vwt_agents.run import RunFolder
    from vwt_agents.types import Seconds

__all__ = ["Changed", "Recall", "Remembered", "code_marks"]

_MARK: Final = 16  # hex digits: enough to tell one version of a stage's code from another
_NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a stage gave before: in this run (`run` is empty), or in another, under the number `seq`."""

    value: Any
    run: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Changed:
    """Why what a stage gave before does not count any more."""

    why: str


def code_marks(stages: tuple[Stage, ...]) -> dict[str, str]:
    """A short mark of each stage's code, to say later which of them have changed."""
    return {stage.name: stage.fingerprint()[:_MARK] for stage in stages}


class Recall:
    """What one run's stages have done before, and what they do now, written down.

    `digests` are the sha256 of models by (endpoint, model): only a stage whose models are all there is cached. With
    `use_cache` False no other run's results are taken; this run's are still there for others.
    """

    __slots__ = (
        "_digests",
        "_folder",
        "_inputs",
        "_journal",
        "_marks",
        "_models",
        "_past",
        "_plan",
        "_run",
        "_seed",
        "_settings",
        "_use_cache",
    )

    def __init__(
        self,
        run_id: str,
        journal: Journal,
        folder: RunFolder,
        *,
        plan: Plan,
        settings: Settings,
        past: Past,
        seed: int,
        digests: Mapping[tuple[str, str], str],
        use_cache: bool,
    ) -> None:
        self._run = run_id
        self._journal = journal
        self._folder = folder
        self._plan = plan
        self._settings = settings
        self._past = past
        self._seed = seed
        self._models = digests
        self._use_cache = use_cache
        # Made when there is something to put in: of many runs side by side, many wait in their first stage.
        self._inputs: Mapping[str, bytes] = _NOTHING
        self._digests: dict[str, bytes] | None = None
        self._marks: dict[str, str] | None = None

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """The inputs the run was given."""
        self._inputs = {name: _digest(encode(value)) for name, value in inputs.items()} if inputs else _NOTHING

    def kept(self, stage: Stage) -> Remembered | Changed | None:
        """What the stage gave before in this run; None where it never ended well. Its files are put back if need be."""
        ends = self._past.stages.get(stage.name)
        if not ends:
            return None
        mark = self.mark(stage)
        entry = next((entry for entry in reversed(ends) if entry.fingerprint == mark), None)
        if entry is None:
            return Changed(self._what_changed(stage))
        try:
            value = read_value(str(entry.payload), stage.result)
        except Unreadable as error:
            return Changed(f"its result cannot be read back: {error}")
        self._gave(stage, self._value_digest(stage, str(entry.payload)))
        for name, text in dict(self._past.files_at(entry)).items():
            self._folder.write(name, text)
        return Remembered(value) if entry.run == self._run else Remembered(value, entry.run, entry.seq)

    def recount(self, line: StageLine) -> None:
        """Count the calls and attempts that the stage made before, in this run, as its own; of a cached one there are none."""
        made = {key for stage, key, *_ in self._past.attempts if stage == line.name}
        line.attempts = len(made) or int(self._past.stages[line.name][-1].status in TRIED)
        for answer in self._past.answers.get(line.name, ()):
            line.answered(answer)

    async def cached(self, stage: Stage) -> Remembered | None:
        """What the stage gave in any run, if all that shapes it was the same; with the files it delivered there."""
        key = self._cache_key(stage) if self._use_cache else ""
        if not key:
            return None
        age = stage.policy.max_age
        since = datetime.now(UTC) - timedelta(seconds=age) if age is not None else None
        entry = await self._journal.cached(key, since)
        if entry is None:
            return None
        try:
            value = read_value(str(entry.payload), stage.result)
        except Unreadable:
            return None
        for name, text in await self._deliveries(entry):
            self._folder.write(name, text)
            event = delivered_entry(self._run, stage.name, self.mark(stage), name, text)
            if not self._past.has_delivered(event):
                await self._journal.append(event)
        return Remembered(value, entry.run, entry.seq)

    async def _deliveries(self, entry: Entry) -> list[Delivery]:
        events = await self._journal.entries(entry.run, "event")
        return read_past([*(event for event in events if event.seq < entry.seq), entry]).files_at(entry)

    async def tell_origins(self, origins: Mapping[str, Remembered]) -> None:
        """Write down which stages' results are those of other runs."""
        said = {name: [one.run, one.seq] for name, one in origins.items()}
        await self._journal.append(Entry(self._run, "event", ORIGINS, payload=encode(said)))

    async def ended(
        self, stage: Stage, status: str, value: Any, seconds: Seconds, *, at_once: bool, needed: bool
    ) -> None:
        """Write down how a stage ended; durable when this returns. `needed`: other stages wait for it. StageFailed where its
        value cannot be written.
        """
        try:
            payload = encode(value)
        except Exception as error:
            # A value that holds itself, or is too deep; and whatever the methods of a class of the user's raise.
            raise StageFailed(
                f"stage {stage.name!r} returned what cannot be written down: {words_of(error)} ({stage.where})",
                hint="return what JSON can hold: text, numbers, lists, dicts, dataclasses, pydantic models",
            ) from error
        if needed:
            self._gave(stage, b"skipped" if status == "skipped" else self._value_digest(stage, payload))
        key = self._cache_key(stage) if status == "done" and stage.policy.cache else ""
        entry = Entry(self._run, "stage", stage.name, key, self.mark(stage), status, None, seconds, payload)
        await self._journal.append(entry, at_once=at_once)

    async def event(self, name: str, stage: Stage, item: str, **said: Any) -> None:
        """Write down something that happened to a stage."""
        about = {"stage": stage.name} | ({"item": item} if item else {}) | said
        await self._journal.append(Entry(self._run, "event", name, stage.name, payload=encode(about)), at_once=True)

    def mark(self, stage: Stage) -> str:
        """Of the stage's code, the values it needs and the inputs it is given: by their digests, however long they are."""
        known = self._marks.get(stage.name) if self._marks is not None else None
        if known is None:
            parts = [stage.fingerprint().encode()]
            for need in stage.needs:
                assert self._digests is not None
                parts.append(self._digests[need])
            for param in stage.params:
                if param.role == "input":
                    parts.append(self._inputs[param.source])
            known = sha256(b"".join(parts)).hexdigest()
            if self._marks is None:
                self._marks = {}
            self._marks[stage.name] = known
        return known

    def _gave(self, stage: Stage, digest: bytes) -> None:
        if self._digests is None:
            self._digests = {}
        self._digests[stage.name] = digest

    def _value_digest(self, stage: Stage, payload: str) -> bytes:
        """Of a value whose JSON does not say all of it, also by what it was made of: equal JSON means little there."""
        return _digest(payload if says_all(stage.result) else payload + self.mark(stage))

    def _what_changed(self, stage: Stage) -> str:
        now = stage.fingerprint()[:_MARK]
        if self._past.code.get(stage.name, now) != now:
            return "its code, or code of its file that it uses, has changed"
        needs = [need for need in stage.needs if need not in self._past.stages or not self._is_old(need)]
        return f"what it needs has changed: {', '.join(needs)}" if needs else "its inputs have changed"

    def _is_old(self, need: str) -> bool:
        mark = self._marks.get(need) if self._marks is not None else None
        return any(entry.fingerprint == mark for entry in self._past.stages[need])

    def _cache_key(self, stage: Stage) -> str:
        """Of all that shapes what the stage gives: what `mark` has, and its agents with their models. "" where a model is
        not known by its digest.
        """
        agents = []
        for name in stage.agents:
            route: Route | None = self._plan.routes[stage.name, name]
            settings = self._settings.agents[name]
            while route is not None:
                digest = self._models.get((route.endpoint, route.model), "")
                if not digest:
                    return ""
                agents.append([name, digest, route.num_ctx, settings.system, settings.options.as_ollama()])
                route = route.escalated
        return fingerprint("cached", self.mark(stage), agents, self._seed)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
