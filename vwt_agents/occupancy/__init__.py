"""What others take of the memory that models may use, from moment to moment.

`taken` is the arithmetic, pure; `monitor` looks every second and tells what has changed.
"""

from vwt_agents.occupancy.monitor import Monitor, Sources
from vwt_agents.occupancy.taken import Sample, Taken, occupied

__all__ = ["Monitor", "Sample", "Sources", "Taken", "occupied"]
