"""Blocks: parts that families are composed of. torch only; a block takes values or ready parts, never a config."""
