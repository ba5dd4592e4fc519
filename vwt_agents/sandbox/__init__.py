"""Running code nobody has read yet, and judging whether its tests truly passed.

The parts: `service` (what pipeline stages hold), `judge` (verdicts), `detect` (which backend works here), one file per backend,
`supervise` (one run, seen from outside), `inside` (seen from inside). Imports nothing by itself, so that it costs nothing.
"""
