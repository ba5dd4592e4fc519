"""The checked graph of a pipeline: what waits for what, which agents each stage may call, which inputs a run needs.

`build_graph` wires the stages by their parameters' names, puts them in order and reports every fault of the definition
at once, each with its file and line. Pure: it calls no stage, reads no file and needs no setting but the agents' names.
"""

from vwt_agents.graph.build import build_graph
from vwt_agents.graph.fingerprint import fingerprint
from vwt_agents.graph.shape import REQUIRED, Each, Graph, Input, Param, Stage
from vwt_agents.graph.typenames import type_name

__all__ = ["REQUIRED", "Each", "Graph", "Input", "Param", "Stage", "build_graph", "fingerprint", "type_name"]
