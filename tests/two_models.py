"""Two tiers with a model each on one scripted Ollama, for tests of whole runs; `budget` and `url` are to be filled in."""

from __future__ import annotations

from vwt_agents.testing import ServedModel

MODELS = {"small:1b": ServedModel(300), "large:2b": ServedModel(600)}

CONFIG = """
[budget]
cpu = "{budget}"
[endpoints.here]
kind = "ollama"
url = "{url}"
device = "cpu"
parallel = 2
[tiers.small]
endpoint = "here"
models = ["small:1b"]
num_ctx = 2048
[tiers.large]
endpoint = "here"
models = ["large:2b"]
workers = 1
num_ctx = 2048
[agents.coder]
task = "code"
[agents.reviewer]
tier = "small"
"""
