"""Checkpoint -> answers. The one door through which servers and applications reach a model."""

from yanmo.engine.engine import Engine, Untrained, load

__all__ = ["Engine", "Untrained", "load"]
