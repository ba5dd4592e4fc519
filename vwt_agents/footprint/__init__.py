"""What a model takes in memory: worked out from its metadata before it is loaded, measured once it has been. Pure.

`shape` reads GGUF keys into a ModelShape, `estimate` turns one into MiB with the arithmetic as text, `measured` says what
a measurement is worth and which of several counts, `slots` solves a measurement for the number of slots a server allots.
It looks at no device and no file.
"""

from vwt_agents.footprint.estimate import Footprint, estimate
from vwt_agents.footprint.measured import Conditions, Measurement, believed, better, from_delta, spilled
from vwt_agents.footprint.shape import Layer, ModelShape, shape_from_metadata
from vwt_agents.footprint.slots import ONE_SLOT, Slots, overlap, slots_of

__all__ = [
    "ONE_SLOT",
    "Conditions",
    "Footprint",
    "Layer",
    "Measurement",
    "ModelShape",
    "Slots",
    "believed",
    "better",
    "estimate",
    "from_delta",
    "overlap",
    "shape_from_metadata",
    "slots_of",
    "spilled",
]
