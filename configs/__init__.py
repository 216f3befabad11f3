"""Typed configuration: the schema, the strict loader, and the recipes that ship."""
