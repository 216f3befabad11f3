"""Parametric furniture: one builder a category."""
