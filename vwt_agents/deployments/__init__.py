"""Servers that are brought up when they are needed and stopped when nobody has used them for a while.

`deployment` is pure: which commands with which environment. `folder` is what is written down of one server, with the locks
that tell who uses it and whether somebody looks after it. `keeper` is the small process that owns a server we started: it
starts it, watches its users, stops it after `idle_stop`, and ends with it. `kept` is the side of those who want the server.

Locks are the truth, because the kernel frees them when a process dies; what is written is only believed with them. A server
that answers and was not started by us is used and never stopped.
"""

from vwt_agents.deployments.deployment import Deployment, Order, deployment_of

__all__ = ["Deployment", "Order", "deployment_of"]
