"""The worker process: one model in llama.cpp (`xllamacpp`), behind Ollama's API on a loopback port of its own.

    python -m vwt_agents.endpoints.embedded.worker

Its parent writes one line of JSON to its stdin (`Spec`) and keeps the pipe open; it answers with one line on stdout,
`{"port": ...}` or `{"error": ...}`, and says everything else on stderr. It lives as long as its
parent: end of file on stdin, or the parent's death, ends it. It never opens another address than 127.0.0.1, never writes a
file, and answers nobody without the token.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from vwt_agents.endpoints.embedded.gguf import read_header
from vwt_agents.endpoints.embedded.ollama_api import Engine, serve

__all__ = ["Spec", "main"]

BATCH: Final = 64
"""Prompt tokens evaluated at a time. A cancelled call's slot is only free between two batches, and other slots only go on
between them: on two cores 64 tokens of a 0.5B model take 0.6 s, the default of 512 takes 4 s for 8 % more speed."""

_GPU_BATCH: Final = 512  # a GPU is through with it in a tenth of a second
_CACHE_RAM_MIB: Final = 64  # parked prompts; the engine's default is 8 GiB of host memory
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker is to load and how; the token is what its callers have to show."""

    path: str
    name: str
    sha256: str
    num_ctx: int
    slots: int
    threads: int
    device: str
    token: str
    parent: int
    batch: int = BATCH
    cache_type: str = "f16"
    flash_attention: bool = True

    def line(self) -> bytes:
        """The spec as the one line its worker reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Read the spec, load, say so, serve until the parent goes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the engine may print; only our one line may go to the parent
    line = sys.stdin.readline()
    if not line:
        return
    spec = Spec(**json.loads(line))
    _die_with(spec.parent)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    started = time.monotonic()
    try:
        engine = _load(spec)
    except Exception as error:  # noqa: BLE001 -- whatever it was, the parent has to hear it
        _say(answers, {"error": str(error) or type(error).__name__})
        sys.exit(1)  # the long way out: the engine's log is written by a thread that is joined there
    server = serve(engine, spec.token)
    port = server.server_address[1]
    _say(answers, {"port": port, "load_s": round(time.monotonic() - started, 3), "version": engine.version})
    server.serve_forever(poll_interval=3600)  # it is never asked to stop: the process is


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _die_with(parent: int) -> None:
    """Be killed when the parent dies, however it dies; a pipe alone is not enough while a load holds the interpreter."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def _load(spec: Spec) -> Engine:
    from importlib.metadata import version

    import xllamacpp

    if spec.device != "cpu" and not any("GPU" in one["type"].name for one in xllamacpp.get_device_info()):
        raise RuntimeError(
            f'this build of xllamacpp sees no GPU for device = "{spec.device}"; use "cpu" or install a GPU build'
        )
    header = read_header(Path(spec.path))
    key = secrets.token_urlsafe(24)
    params = xllamacpp.CommonParams()
    params.model.path = spec.path
    params.n_parallel = spec.slots
    params.n_ctx = spec.slots * spec.num_ctx
    params.n_batch = params.n_ubatch = spec.batch if spec.device == "cpu" else _GPU_BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = spec.threads
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{spec.cache_type.upper()}")
    flash = xllamacpp.llama_flash_attn_type
    if spec.cache_type != "f16":
        params.flash_attn_type = flash.LLAMA_FLASH_ATTN_TYPE_ENABLED  # a quantised cache of values can't do without
    elif not spec.flash_attention:
        params.flash_attn_type = flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.n_gpu_layers = 0 if spec.device == "cpu" else 999
    params.fit_params = False  # it would shrink the context unasked
    params.cache_ram_mib = _CACHE_RAM_MIB
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.verbosity = 1  # errors: the reason of a failed load is nowhere else
    params.offline = True
    params.port = 0
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [key]
    params.cors_origins = "http://127.0.0.1"
    params.ui = False
    params.endpoint_slots = False
    server = xllamacpp.Server(params)
    return Engine(
        spec.name, spec.sha256, spec.num_ctx, header, server.listening_address, key, version("xllamacpp"), server
    )


if __name__ == "__main__":
    main()
