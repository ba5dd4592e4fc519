"""The text form of a recording: TOML, a table for each call, prompts and answers as they read. Owns the file.

Written so that it survives editors and diffs well: no line ends in a space, whatever the texts hold.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.endpoints.base import ModelInfo
from vwt_agents.errors import UsageError
from vwt_agents.messages import Message, Options
from vwt_agents.testing.recording import RecordedCall, RecordedDevice, RecordedEndpoint, RecordedModel, Recording
from vwt_agents.whole import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["dumps", "load", "loads", "save"]

_VERSION: Final = 1
_HEAD: Final = (
    "# What the models of a run answered, for a test to give again (docs/testing.md). To record anew:\n#   {}\n"
)
_LONGEST_LIST: Final = 512  # a figure for each layer; not a vocabulary
_BREAKS: Final = re.compile(r"[^\n\t -~\u00a0-\ud7ff\ue000-\ufeff-\U0010ffff]|[ \t](?=\n)")
_LONE: Final = re.compile(r"[\ud800-\udfff]")


def save(recording: Recording, path: Path, *, command: str = "") -> None:
    """Write it whole or not at all; `command` is what records it anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, dumps(recording, command=command).encode())


def load(path: Path) -> Recording:
    """The recording in a file; UsageError where it is none."""
    try:
        return loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the recording {path} cannot be read: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # tomllib's own is a ValueError
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path} is no recording: {why}", hint="record it anew") from None


# -- to text ---------------------------------------------------------------------------------------------------------


def dumps(recording: Recording, *, command: str = "") -> str:
    """The text of a recording."""
    lines = [
        _HEAD.format(command or "pytest --vwt-record"),
        *_pairs({"version": _VERSION, "pipeline": recording.pipeline}),
    ]
    for device in recording.devices:
        lines += ["", f"[devices.{_key(device.name)}]", *_pairs({"total_mib": device.total, "used_mib": device.used})]
    for endpoint in recording.endpoints:
        lines += ["", f"[endpoints.{_key(endpoint.name)}]", *_pairs({"version": endpoint.version})]
        for name in sorted(endpoint.models):
            lines += _model(f"endpoints.{_key(endpoint.name)}.models.{_key(name)}", endpoint.models[name])
    for call in recording.calls:
        lines += _call(call)
    return "\n".join(lines) + "\n"


def _model(table: str, model: RecordedModel) -> Iterator[str]:
    info = model.info
    yield from ("", f"[{table}]")
    yield from _pairs(
        {
            "digest": info.digest,
            "size_bytes": info.size_bytes,
            "memory_mib": model.memory,
            "quantisation": info.quantisation,
            "parameters": info.parameters,
            "licence": info.licence,
            "installed": info.installed,
            "tasks": list(info.tasks),
        }
    )
    if facts := _facts(info.metadata):
        yield from (f"[{table}.metadata]", *_pairs(facts))


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that tells how much memory a model takes: not its vocabulary, nor its chat template."""
    found = {name: value for name, value in metadata.items() if not name.startswith("tokenizer.") and _is_plain(value)}
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, list | tuple) and tokens:
        found.setdefault(f"{metadata.get('general.architecture')}.vocab_size", len(tokens))
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= _LONGEST_LIST and all(isinstance(one, str | int | float) for one in value)
    return isinstance(value, str | int | float)


def _call(call: RecordedCall) -> Iterator[str]:
    yield from ("", "[[call]]")
    head = {"stage": call.stage, "item": call.item, "agent": call.agent, "model": call.model}
    yield from _pairs({name: value for name, value in head.items() if value})
    yield from (f"options.{name} = {_value(value)}" for name, value in call.options.as_ollama().items())
    if call.format is not None:
        yield f"format = {_text(json.dumps(call.format, indent=2, sort_keys=True))}"
    for message in call.messages:
        yield "[[call.message]]"
        yield from _pairs({"role": message.role, "text": message.content})
    yield "[call.answer]"
    yield from _pairs({"text": call.answer, "done_reason": call.done_reason})
    yield from _pairs({"prompt_tokens": call.prompt_tokens, "output_tokens": call.output_tokens})
    if call.left:
        yield "left = true"


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    return (f"{_key(name)} = {_value(value)}" for name, value in values.items())


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _one_line(name)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(_one_line(one) if isinstance(one, str) else _value(one) for one in value)}]"
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    """A string of TOML: as it reads where that is possible, with escapes where it is not."""
    if "\n" not in text:
        return _one_line(text)
    text = _LONE.sub("\ufffd", text)
    if "'''" not in text and not text.endswith("'") and not _BREAKS.search(text):
        return f"'''\n{text}'''"
    escaped = _BREAKS.sub(_escape, text.replace("\\", "\\\\")).replace('"""', '""\\"')
    return f'"""\n{escaped[:-1]}\\""""' if escaped.endswith('"') else f'"""\n{escaped}"""'


def _one_line(text: str) -> str:
    return '"' + _BREAKS.sub(_escape, json.dumps(_LONE.sub("\ufffd", text), ensure_ascii=False)[1:-1]) + '"'


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# -- from text -------------------------------------------------------------------------------------------------------


def loads(text: str) -> Recording:
    """The recording in a text; ValueError, TypeError or KeyError where it is none."""
    raw = tomllib.loads(text)
    if raw.get("version") != _VERSION:
        raise ValueError(f"its version is {raw.get('version')!r}, and this program reads version {_VERSION}")
    devices = [RecordedDevice(name, one["total_mib"], one["used_mib"]) for name, one in raw.get("devices", {}).items()]
    endpoints = [_endpoint_in(name, one) for name, one in raw.get("endpoints", {}).items()]
    calls = [_call_in(one) for one in raw.get("call", [])]
    return Recording(raw["pipeline"], tuple(calls), tuple(endpoints), tuple(devices))


def _endpoint_in(name: str, raw: Mapping[str, Any]) -> RecordedEndpoint:
    models = {model: _model_in(model, one) for model, one in raw.get("models", {}).items()}
    return RecordedEndpoint(name, raw["version"], models)


def _model_in(name: str, raw: Mapping[str, Any]) -> RecordedModel:
    given = {key: value for key, value in raw.items() if key not in {"memory_mib", "tasks", "metadata"}}
    info = ModelInfo(name, tasks=tuple(raw["tasks"]), metadata=raw.get("metadata", {}), **given)
    return RecordedModel(info, raw["memory_mib"])


def _call_in(raw: Mapping[str, Any]) -> RecordedCall:
    options, answer = raw.get("options", {}), raw["answer"]
    return RecordedCall(
        stage=raw.get("stage", ""),
        item=raw.get("item", ""),
        agent=raw.get("agent", ""),
        model=raw.get("model", ""),
        messages=tuple(Message(one["role"], one["text"]) for one in raw.get("message", [])),
        options=Options(**{**options, "stop": tuple(options.get("stop", ()))}),
        format=json.loads(raw["format"]) if "format" in raw else None,
        answer=answer["text"],
        done_reason=answer["done_reason"],
        prompt_tokens=answer["prompt_tokens"],
        output_tokens=answer["output_tokens"],
        left=answer.get("left", False),
    )
