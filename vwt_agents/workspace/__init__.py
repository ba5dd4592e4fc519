"""A folder of code as data: what is in it, what of it matters for a task, what an answer changes in it, and the patch.

Pure but for `folder`, which reads one. Owns no model, no sandbox and no prompt; never writes to a user's folder.
"""

from __future__ import annotations

from vwt_agents.workspace.blanks import Blank, blank_of, stub_of_function, without_body
from vwt_agents.workspace.cases import cases_of, shown_cases
from vwt_agents.workspace.changes import Changes, read_changes
from vwt_agents.workspace.folder import ReadLimits, read_workspace
from vwt_agents.workspace.homes import absent, at_home, homes
from vwt_agents.workspace.patches import unified_patch
from vwt_agents.workspace.relevance import named_files, ranked, words_of
from vwt_agents.workspace.shown import shown
from vwt_agents.workspace.splice import SpliceError, definitions, splice_anew
from vwt_agents.workspace.suspects import Suspect, suspects
from vwt_agents.workspace.tree import Workspace, is_guarded, is_test_file

__all__ = [
    "Blank",
    "Changes",
    "ReadLimits",
    "SpliceError",
    "Suspect",
    "Workspace",
    "absent",
    "at_home",
    "blank_of",
    "cases_of",
    "definitions",
    "homes",
    "is_guarded",
    "is_test_file",
    "named_files",
    "ranked",
    "read_changes",
    "read_workspace",
    "shown",
    "shown_cases",
    "splice_anew",
    "stub_of_function",
    "suspects",
    "unified_patch",
    "without_body",
    "words_of",
]
