"""The host-wide ledger: memory that all processes of this machine have claimed, without a daemon. See docs/memory.md."""

from vwt_agents.ledger.books import Claim, Holder, Refusal, Resource, Want
from vwt_agents.ledger.ledger import Ledger
from vwt_agents.ledger.snapshot import Snapshot
from vwt_agents.ledger.terms import Terms

__all__ = ["Claim", "Holder", "Ledger", "Refusal", "Resource", "Snapshot", "Terms", "Want"]
