"""Evaluation of perception: what an encoder makes of videos, measured."""
