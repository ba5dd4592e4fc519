"""What a server says of its models, in our words: /api/tags, /api/show, /api/ps. Asks no server."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.endpoints.address import canonical
from vwt_agents.endpoints.base import ModelInfo, Residence
from vwt_agents.types import MIB, Mib

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ollama

__all__ = ["joined", "lacks_layers", "listed", "mib", "running", "shown"]

_WEIGHTS: Final = re.compile(r"^FROM .*sha256[-:]([0-9a-f]{64})", re.MULTILINE)


def listed(entry: ollama.ListResponse.Model) -> ModelInfo:
    """A model of the server's store, without its metadata; its name in its one spelling."""
    return ModelInfo(
        name=canonical(entry.model or ""),
        size_bytes=int(entry.size or 0),
        digest=(entry.digest or "").removeprefix("sha256:"),
        quantisation=_detail(entry.details, "quantization_level"),
        parameters=_detail(entry.details, "parameter_size"),
    )


def shown(model: str, answer: ollama.ShowResponse, metadata: Mapping[str, Any]) -> ModelInfo:
    """One model's metadata, licence and the digest of its weights; `size_bytes` is 0, only `listed` knows it."""
    weights = _WEIGHTS.search(answer.modelfile or "")
    return ModelInfo(
        name=canonical(model),
        size_bytes=0,
        digest=weights[1] if weights else "",
        metadata=MappingProxyType(dict(metadata)),
        quantisation=_detail(answer.details, "quantization_level"),
        parameters=_detail(answer.details, "parameter_size"),
        licence=answer.license or "",
        options=MappingProxyType(_options(answer.parameters or "")),
        thinks="thinking" in (answer.capabilities or ()),
    )


def joined(listed: ModelInfo, shown: ModelInfo) -> ModelInfo:
    """All that is known of a model, from its entry in the list and from what was shown of it."""
    return replace(shown, name=listed.name, size_bytes=listed.size_bytes, digest=shown.digest or listed.digest)


def running(entry: ollama.ProcessResponse.Model) -> Residence:
    """A model in the server's memory; `device_mib` is the part on its GPUs."""
    return Residence(
        model=canonical(entry.model or entry.name or ""),
        size_mib=mib(int(entry.size or 0)),
        device_mib=mib(int(entry.size_vram or 0)),
        num_ctx=entry.context_length or 0,
        expires_in=entry.expires_at.timestamp() - time.time() if entry.expires_at else None,
    )


def lacks_layers(metadata: Mapping[str, Any]) -> bool:
    """Whether per-layer numbers were left out, as a server does unless it is asked for everything."""
    return any(key.endswith(".attention.head_count_kv") and not value for key, value in metadata.items())


def mib(size: int) -> Mib:
    """Bytes as whole MiB, rounded up."""
    return -(-size // MIB)


def _options(parameters: str) -> dict[str, str]:
    """The PARAMETER lines of a Modelfile, as `/api/show` lists them; of those that may be repeated, the last."""
    return {
        line.split()[0]: line.split(maxsplit=1)[1].strip() for line in parameters.splitlines() if len(line.split()) > 1
    }


def _detail(details: Any, name: str) -> str:
    return str(getattr(details, name, None) or "")
