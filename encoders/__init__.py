"""Perception: video encoders. Nothing here yet but the package's place in the import order."""
