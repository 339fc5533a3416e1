"""Checkpoint -> answers. The one door through which servers and applications reach a model."""

from yanmo.engine.engine import Asked, Engine, load

__all__ = ["Asked", "Engine", "load"]
