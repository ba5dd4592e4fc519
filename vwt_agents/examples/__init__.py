"""What a task says in a form that needs no model to be read: the function it wants, and examples of how that behaves.

Pure: reads text, runs nothing. What the task's author wrote is the one thing no model may edit, so nothing is guessed: an
example is kept only when both of its sides are Python and it says something about what the task asks for.
"""

from vwt_agents.examples.example import Example
from vwt_agents.examples.forms import find_examples
from vwt_agents.examples.literals import parses
from vwt_agents.examples.wanted import Stub, find_signature, find_stub, function_name, function_names

__all__ = [
    "Example",
    "Stub",
    "find_examples",
    "find_signature",
    "find_stub",
    "function_name",
    "function_names",
    "parses",
]
