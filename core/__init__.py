"""navloop: InternVideo encoders as the eyes of agents that follow directions in Habitat, and the loop back."""

from importlib.metadata import version

__version__ = version("navloop")
