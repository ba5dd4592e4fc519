"""The memory of a model, worked out from its metadata, against published shapes, engine logs and measurements."""

from __future__ import annotations

import pytest

from vwt_agents.footprint import Layer, ModelShape, estimate, shape_from_metadata


def gguf(architecture: str, size_bytes: int, **keys: object) -> ModelShape:
    named = {f"{architecture}.{key.replace('__', '.')}": value for key, value in keys.items()}
    general = {"general.architecture": architecture, "general.file_type": keys.pop("file_type", 2)}
    return shape_from_metadata(general | named, size_bytes=size_bytes)


QWEN_7B = gguf(
    "qwen2", 4_431_000_000, block_count=28, embedding_length=3584, context_length=32768, vocab_size=152064,
    attention__head_count=28, attention__head_count_kv=4,
)  # fmt: skip
MISTRAL_7B = gguf(
    "llama", 4_113_000_000, block_count=32, embedding_length=4096, context_length=32768, vocab_size=32768,
    attention__head_count=32, attention__head_count_kv=8,
)  # fmt: skip
NEURAL_CHAT = gguf(
    "llama", 4_109_000_000, block_count=32, embedding_length=4096, context_length=32768, vocab_size=32000,
    attention__head_count=32, attention__head_count_kv=8,
)  # fmt: skip
LLAMA2_13B = gguf(
    "llama", 7_366_000_000, block_count=40, embedding_length=5120, context_length=4096, vocab_size=32000,
    attention__head_count=40, attention__head_count_kv=40,
)  # fmt: skip
SMOLLM2 = gguf(
    "llama", 98_362_432, block_count=30, embedding_length=576, context_length=8192, vocab_size=49152,
    attention__head_count=9, attention__head_count_kv=3, file_type=3,
)  # fmt: skip
QWEN_05B = gguf(
    "qwen2", 491_400_064, block_count=24, embedding_length=896, context_length=32768, vocab_size=151936,
    attention__head_count=14, attention__head_count_kv=2, file_type=15,
)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "mib"), [(QWEN_7B, 3928), (MISTRAL_7B, 3850), (NEURAL_CHAT, 3848), (LLAMA2_13B, 6936)]
)
def test_weights_on_a_gpu_are_the_file_without_its_input_embeddings(shape: ModelShape, mib: int) -> None:
    assert estimate(shape, num_ctx=4096, slots=1).weights == pytest.approx(mib, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "f16", "q8_0"),
    [(QWEN_7B, 56, 29.75), (MISTRAL_7B, 128, 68), (NEURAL_CHAT, 128, 68), (LLAMA2_13B, 800, 425)],
)
def test_kv_bytes_per_token_count_grouped_heads_and_the_cache_type(shape: ModelShape, f16: float, q8_0: float) -> None:
    assert shape.kv_bytes_per_token() == f16 * 1024
    assert shape.kv_bytes_per_token("q8_0") == q8_0 * 1024


def shown(architecture: str, size: int, **keys: object) -> ModelShape:
    """As /api/show has it: the tokens left out, every number under its own key, and more that nobody asks for."""
    named = {f"{architecture}.{key.replace('__', '.')}": value for key, value in keys.items()}
    general = {
        "general.architecture": architecture,
        "general.file_type": 2,
        "general.parameter_count": 7_000_000_000,
        "general.quantization_version": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": None,
        "tokenizer.ggml.merges": None,
    }
    return shape_from_metadata(general | named, size_bytes=size)


def layers(blocks: int, embedding: int, heads: int, kv_heads: int, context: int) -> dict[str, object]:
    return {
        "block_count": blocks, "embedding_length": embedding, "context_length": context,
        "attention__head_count": heads, "attention__head_count_kv": kv_heads,
        "attention__layer_norm_rms_epsilon": 1e-6, "rope__freq_base": 1e6,
    }  # fmt: skip


SHOWN = {
    "qwen2.5-coder:7b": shown("qwen2", 4_431_000_000, feed_forward_length=18944, **layers(28, 3584, 28, 4, 32768)),
    "mistral": shown("llama", 4_113_000_000, vocab_size=32768, **layers(32, 4096, 32, 8, 32768)),
    "neural-chat": shown("llama", 4_109_000_000, vocab_size=32000, **layers(32, 4096, 32, 8, 32768)),
    "llama2:13b": shown("llama", 7_366_000_000, vocab_size=32000, **layers(40, 5120, 40, 40, 4096)),
    "llama3.1:8b": shown("llama", 4_920_000_000, vocab_size=128256, **layers(32, 4096, 32, 8, 131072)),
    "qwen2.5-coder:14b": shown("qwen2", 8_990_000_000, **layers(48, 5120, 40, 8, 32768)),
    "qwen3:8b": shown(
        "qwen3", 5_230_000_000, attention__key_length=128, attention__value_length=128, **layers(36, 4096, 32, 8, 40960)
    ),
    "qwen3-coder:30b": shown(
        "qwen3moe", 18_600_000_000, attention__key_length=128, attention__value_length=128, expert_count=128,
        expert_used_count=8, **layers(48, 2048, 32, 4, 262144),
    ),
    "mistral-small:24b": shown(
        "llama", 14_300_000_000, vocab_size=131072, attention__key_length=128, attention__value_length=128,
        **layers(40, 5120, 32, 8, 32768),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "mib"), [("qwen2.5-coder:7b", 3928), ("mistral", 3850), ("neural-chat", 3848), ("llama2:13b", 6936)]
)
def test_weights_on_a_gpu_from_what_api_show_says(model: str, mib: int) -> None:
    assert estimate(SHOWN[model], num_ctx=4096, slots=1).weights == pytest.approx(mib, rel=0.02)


WORKED = [(4096, 1), (4096, 4), (8192, 1), (8192, 4), (32768, 1), (32768, 4)]
KV_F16 = {
    "qwen2.5-coder:7b": [224, 896, 448, 1792, 1792, 7168],
    "mistral": [512, 2048, 1024, 4096, 4096, 16384],
    "neural-chat": [512, 2048, 1024, 4096, 4096, 16384],
    "llama2:13b": [3200, 12800, 3200, 12800, 3200, 12800],
}
KV_Q8 = {
    "qwen2.5-coder:7b": [119, 476, 238, 952, 952, 3808],
    "mistral": [272, 1088, 544, 2176, 2176, 8704],
    "neural-chat": [272, 1088, 544, 2176, 2176, 8704],
    "llama2:13b": [1700, 6800, 1700, 6800, 1700, 6800],
}


@pytest.mark.parametrize("model", KV_F16)
def test_kv_grows_with_context_and_slots_up_to_the_trained_context(model: str) -> None:
    """Every worked figure, f16 and q8_0, exactly."""
    shape = SHOWN[model]
    assert [estimate(shape, num_ctx=ctx, slots=slots).kv for ctx, slots in WORKED] == KV_F16[model]
    assert [estimate(shape, num_ctx=ctx, slots=slots, cache_type="q8_0").kv for ctx, slots in WORKED] == KV_Q8[model]


def test_without_a_trained_context_nothing_caps_the_kv_cache() -> None:
    """The uncapped row of llama2:13b."""
    uncapped = shown("llama", 7_366_000_000, vocab_size=32000, **layers(40, 5120, 40, 40, 0))
    assert [estimate(uncapped, num_ctx=ctx, slots=slots).kv for ctx, slots in WORKED] == [
        3200, 12800, 6400, 25600, 25600, 102400,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "one", "four"),
    [
        ("llama3.1:8b", 1024, 4096),
        ("qwen2.5-coder:14b", 1536, 6144),
        ("qwen3:8b", 1152, 4608),
        ("qwen3-coder:30b", 768, 3072),
        ("mistral-small:24b", 1280, 5120),
    ],
)
def test_the_kv_cache_of_other_models_at_8192_tokens(model: str, one: int, four: int) -> None:
    assert [estimate(SHOWN[model], num_ctx=8192, slots=slots).kv for slots in (1, 4)] == [one, four]


@pytest.mark.parametrize(
    ("architecture", "vocabulary"),
    [("gemma3", 262_144), ("gptoss", 201_088), ("qwen35moe", 248_320), ("qwen2", 152_064)],
)
def test_a_vocabulary_that_api_show_leaves_out_is_the_largest_of_its_family(architecture: str, vocabulary: int) -> None:
    assert shown(architecture, 1).vocabulary == vocabulary


LLAMA_7B = shown("llama", 3_826_000_000, vocab_size=32000, **layers(32, 4096, 32, 32, 65536))


@pytest.mark.parametrize(
    ("shape", "num_ctx", "logged"), [(LLAMA_7B, 4096, 296.02), (LLAMA_7B, 8192, 560.0), (QWEN_7B, 4096, 304.0)]
)
def test_without_flash_attention_the_compute_buffer_is_what_engines_logged(
    shape: ModelShape, num_ctx: int, logged: float
) -> None:
    compute = estimate(shape, num_ctx=num_ctx, slots=1, flash_attention=False).compute
    assert logged <= compute <= logged * 1.02
    assert estimate(shape, num_ctx=num_ctx, slots=1).compute <= compute


def test_the_compute_buffer_grows_with_the_batch() -> None:
    small, large = (estimate(QWEN_7B, num_ctx=4096, slots=1, batch=batch).compute for batch in (512, 1024))
    assert (small, large) == (304, 608)


@pytest.mark.parametrize(
    ("shape", "num_ctx", "slots", "worked"),
    [
        (QWEN_7B, 8192, 4, 6396),
        (QWEN_7B, 32768, 4, 11772),
        (MISTRAL_7B, 32768, 4, 20339),
        (LLAMA2_13B, 4096, 1, 10239),
        (LLAMA2_13B, 4096, 4, 19839),
    ],
)
def test_a_gpu_total_is_never_below_the_worked_figure_and_at_most_4_percent_above(
    shape: ModelShape, num_ctx: int, slots: int, worked: int
) -> None:
    """The worked figures of the llama models leave next to nothing for the CUDA context; the estimate never does."""
    assert worked <= estimate(shape, num_ctx=num_ctx, slots=slots).total <= worked * 1.04


@pytest.mark.parametrize(
    ("shape", "num_ctx", "slots", "measured"),
    [
        (SMOLLM2, 2048, 1, 201),
        (SMOLLM2, 2048, 4, 332),
        (SMOLLM2, 4096, 1, 239),
        (SMOLLM2, 4096, 4, 520),
        (QWEN_05B, 2048, 1, 621),
        (QWEN_05B, 2048, 4, 702),
        (QWEN_05B, 4096, 1, 646),
        (QWEN_05B, 4096, 4, 799),
    ],
)
def test_a_worker_on_the_cpu_takes_what_was_measured(
    shape: ModelShape, num_ctx: int, slots: int, measured: int
) -> None:
    """Pss of the embedded engine's worker after a prompt of 85 % of the context in every slot, MiB."""
    total = estimate(shape, num_ctx=num_ctx, slots=slots, device_kind="cpu").total
    assert measured * 0.97 <= total <= measured * 1.10


@pytest.mark.parametrize(("cache_type", "factor"), [("f32", 2), ("f16", 1), ("q8_0", 0.53125), ("q4_0", 0.28125)])
def test_every_cache_type_has_its_width(cache_type: str, factor: float) -> None:
    assert QWEN_7B.kv_bytes_per_token(cache_type) == 57344 * factor  # type: ignore[arg-type]


def test_the_arithmetic_adds_up_to_the_total() -> None:
    footprint = estimate(LLAMA2_13B, num_ctx=8192, slots=4)
    assert footprint.arithmetic == (
        "weights 6937 + KV 12800 (4096 x 4 tokens at 800 KiB, f16) + compute 73 + context 384 = 20194 MiB"
    )
    assert footprint.total == 20194
    assert estimate(SMOLLM2, num_ctx=2048, slots=1, device_kind="cpu").arithmetic.endswith("+ process 28 = 201 MiB")


def test_key_and_value_lengths_go_before_the_embedding_divided_by_heads() -> None:
    """qwen3 MoE 30B: 48 layers, 4 KV heads of 128, though 2048 / 32 is 64."""
    shape = gguf(
        "qwen3moe", 18_500_000_000, block_count=48, embedding_length=2048, vocab_size=151936,
        attention__head_count=32, attention__head_count_kv=4, attention__key_length=128, attention__value_length=128,
    )  # fmt: skip
    assert estimate(shape, num_ctx=8192, slots=4).kv == 3072


def windowed(architecture: str, blocks: int, **keys: object) -> ModelShape:
    return gguf(
        architecture, 3_000_000_000, block_count=blocks, embedding_length=2560, vocab_size=262144,
        attention__head_count=8, attention__head_count_kv=4, attention__key_length=256, attention__value_length=256,
        attention__sliding_window=1024, **keys,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "full"),
    [
        (windowed("gemma3", 12), {5, 11}),
        (windowed("gpt-oss", 4), {1, 3}),
        (windowed("gemma3", 4, attention__sliding_window_pattern=2), {1, 3}),
        (windowed("gemma3", 4, attention__sliding_window_pattern=[True, False, True, True]), {1}),
        (windowed("qwen2", 4), {0, 1, 2, 3}),
    ],
)
def test_windowed_layers_follow_the_pattern_of_the_metadata_or_of_the_architecture(
    shape: ModelShape, full: set[int]
) -> None:
    assert {index for index, layer in enumerate(shape.layers) if not layer.windowed} == full


def test_a_windowed_layer_keeps_the_window_of_each_slot_and_one_batch() -> None:
    shape = windowed("gemma3", 6)
    per_layer = 4 * (256 + 256) * 2
    assert shape.kv_bytes(num_ctx=8192, slots=2) == per_layer * (2 * 8192 + 5 * (2 * 1024 + 512))
    assert shape.kv_bytes(num_ctx=512, slots=2) == per_layer * 6 * 1024


def test_a_window_that_the_architecture_does_not_use_saves_nothing() -> None:
    shape = windowed("qwen2", 4)
    assert shape.window is None
    assert shape.kv_bytes(num_ctx=8192, slots=1) == shape.kv_bytes_per_token() * 8192


def test_kv_heads_may_differ_by_layer() -> None:
    shape = gguf(
        "openelm", 600_000_000, block_count=3, embedding_length=1280, vocab_size=32000,
        attention__head_count=[12, 14, 20], attention__head_count_kv=[3, 4, 5],
        attention__key_length=64, attention__value_length=64,
    )  # fmt: skip
    assert shape.layers == (Layer(3), Layer(4), Layer(5))
    assert shape.kv_bytes_per_token() == 12 * 128 * 2


def test_of_layers_that_attend_in_turn_with_recurrent_ones_only_those_have_a_kv_cache() -> None:
    """qwen3-next: every fourth layer attends."""
    shape = gguf(
        "qwen3next", 40_000_000_000, block_count=8, embedding_length=2048, vocab_size=151936, full_attention_interval=4,
        attention__head_count=16, attention__head_count_kv=2, attention__key_length=256, attention__value_length=256,
        ssm__inner_size=4096, ssm__state_size=128, ssm__conv_kernel=4, ssm__group_count=16,
    )  # fmt: skip
    assert [layer.kv_heads for layer in shape.layers] == [0, 0, 0, 2, 0, 0, 0, 2]
    assert shape.state_bytes == 6 * 4 * (3 * (4096 + 2 * 16 * 128) + 4096 * 128)
    assert shape.kv_known


def test_layers_that_share_the_keys_of_earlier_ones_have_no_kv_cache_of_their_own() -> None:
    shape = gguf(
        "gemma3n", 5_000_000_000, block_count=4, embedding_length=2048, vocab_size=262144,
        attention__head_count=8, attention__head_count_kv=2, attention__shared_kv_layers=2,
    )  # fmt: skip
    assert [layer.kv_heads for layer in shape.layers] == [2, 2, 0, 0]


def test_windowed_layers_may_have_shorter_keys() -> None:
    shape = windowed("gemma4", 2, attention__sliding_window_pattern=[True, False], attention__key_length_swa=128,
                     attention__value_length_swa=64)  # fmt: skip
    assert shape.kv_bytes_per_token() == 4 * (256 + 256) * 2 + 4 * (128 + 64) * 2


def test_a_layer_that_feeds_forward_and_nothing_else_keeps_no_state() -> None:
    shape = hybrid([0, 0, 0, 8], feed_forward_length=[0, 9216, 0, 0])
    assert shape.state_bytes == 2 * 4 * (3 * (6144 + 2 * 128) + 6144 * 128)


def test_what_must_be_there_in_any_case_counts_the_kv_cache_only_where_it_is_known() -> None:
    sure, guessed = (
        estimate(MISTRAL_7B, num_ctx=4096, slots=4),
        estimate(shape_from_metadata({}, size_bytes=4_113_000_000), num_ctx=4096, slots=4),
    )
    assert sure.least == int(0.9 * (sure.weights + sure.kv))
    assert guessed.least == int(0.9 * guessed.weights)


def test_without_kv_heads_every_head_has_its_own_as_in_llama_cpp() -> None:
    shape = gguf("llama", 7_000_000_000, block_count=2, embedding_length=4096, vocab_size=9, attention__head_count=32)
    assert shape.layers == (Layer(32), Layer(32))
    assert shape.assumptions == ("the metadata has no attention.head_count_kv: taken one KV head per head (32)",)


def hybrid(kv_heads: object, **keys: object) -> ModelShape:
    return gguf(
        "nemotron_h", 4_000_000_000, block_count=4, embedding_length=3072, vocab_size=131072,
        attention__head_count=24, attention__head_count_kv=kv_heads, ssm__inner_size=6144, ssm__state_size=128, **keys,
    )  # fmt: skip


def test_a_hybrid_model_keeps_a_state_per_slot_in_its_recurrent_layers() -> None:
    shape = hybrid([0, 0, 0, 8], ssm__conv_kernel=4, ssm__group_count=8)
    assert shape.state_bytes == 3 * 4 * (3 * (6144 + 2 * 8 * 128) + 6144 * 128)
    assert shape.kv_bytes(num_ctx=0, slots=4) == 4 * shape.state_bytes
    assert shape.assumptions == ()


def test_a_hybrid_model_that_does_not_list_its_layers_is_charged_for_both_kinds() -> None:
    shape = hybrid(8)
    assert shape.state_bytes == 4 * 4 * (3 * (6144 + 2 * 128) + 6144 * 128)
    assert [text for text in shape.assumptions if "recurrent" in text]


def test_the_vocabulary_is_counted_from_the_tokens_when_they_are_there() -> None:
    shape = shape_from_metadata({"tokenizer.ggml.tokens": ["a", "b", "c"]}, size_bytes=1)
    assert shape.vocabulary == 3


@pytest.mark.parametrize("tokens", [None, [], "left out"])
def test_tokens_left_out_of_api_show_leave_the_vocabulary_size_key(tokens: object) -> None:
    metadata = {"general.architecture": "llama", "llama.vocab_size": 32000, "tokenizer.ggml.tokens": tokens}
    assert shape_from_metadata(metadata, size_bytes=1).vocabulary == 32000


def test_no_metadata_at_all_gives_a_high_guess_that_says_what_it_assumed() -> None:
    shape = shape_from_metadata({}, size_bytes=4_431_000_000)
    guess = estimate(shape, num_ctx=4096, slots=4)
    assert guess.total > estimate(QWEN_7B, num_ctx=4096, slots=4).total
    assert guess.weights == 4226
    assert shape.capped(10**6) == 10**6
    assert shape.assumptions == (
        "the metadata has no vocabulary size: taken 152064 tokens",
        "the metadata has no layer shape: taken the KV cache of a token as 1/16384 of the weights",
    )


@pytest.mark.parametrize("value", [0, -1, True, None, "many", [], ["many"]])
def test_a_nonsensical_number_counts_as_missing(value: object) -> None:
    metadata = {"general.architecture": "llama", "llama.context_length": value}
    assert shape_from_metadata(metadata, size_bytes=1).context_length is None


@pytest.mark.parametrize(
    ("architecture", "embedding", "file_type", "resident"),
    [
        ("llama", 4096, 2, 4_000_000_000 - 32768 * 4096 * 18 // 32),
        ("llama", 4096, 1, 4_000_000_000 - 32768 * 4096 * 2),
        ("llama", 4096, 99, 4_000_000_000),
        ("llama", 2048, 2, 4_000_000_000),
        ("gemma2", 4096, 2, 4_000_000_000),
        ("llama", 40960, 0, 3_000_000_000),
    ],
)
def test_input_embeddings_stay_in_host_memory_unless_the_output_layer_may_share_them(
    architecture: str, embedding: int, file_type: int, resident: int
) -> None:
    """Small models and the gemma and cohere families tie them; an unknown width takes nothing off."""
    metadata = {
        "general.architecture": architecture,
        "general.file_type": file_type,
        f"{architecture}.embedding_length": embedding,
        f"{architecture}.vocab_size": 32768,
    }
    assert shape_from_metadata(metadata, size_bytes=4_000_000_000).device_bytes == resident


def test_without_a_file_type_nothing_is_taken_off_the_weights() -> None:
    metadata = {"general.architecture": "llama", "llama.embedding_length": 4096, "llama.vocab_size": 32768}
    assert shape_from_metadata(metadata, size_bytes=4_000_000_000).device_bytes == 4_000_000_000
