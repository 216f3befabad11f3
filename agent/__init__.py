"""Decisions: what an agent is, and the ones that ship.

`create_agent("expert")` and `list_agents()` are the door; the modules hold the agents.
"""

from navloop.agent.agents import AGENTS, Agent, create_agent, list_agents

__all__ = ["AGENTS", "Agent", "create_agent", "list_agents"]
