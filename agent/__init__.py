"""Decisions: what an agent is, and the ones that ship.

`create_agent("expert")` and `list_agents()` are the door, `cameras_of` says what an agent looks at; the modules hold the agents.
"""

from navloop.agent.agents import AGENTS, Agent, BatchAgent, SeparateAgents, cameras_of, create_agent, list_agents

__all__ = ["AGENTS", "Agent", "BatchAgent", "SeparateAgents", "cameras_of", "create_agent", "list_agents"]
