"""What a run did, from its journal: one page for a browser, a trace for Perfetto. Pure: entries in, text out.

Reads no clock and no file but its own template; who calls it brings the run's record and entries.
"""

from vwt_agents.report.data import report_data
from vwt_agents.report.origins import Others, origins_of
from vwt_agents.report.page import report_page
from vwt_agents.report.present import Present, present, usual_seconds
from vwt_agents.report.trace import trace_of

__all__ = ["Others", "Present", "origins_of", "present", "report_data", "report_page", "trace_of", "usual_seconds"]
