"""Decisions: experts, baselines, policies."""
