"""The families: one file each, found by the `model_type` of a Hugging Face config. A family is imported when it is asked for."""

import importlib
from dataclasses import fields
from typing import Any

from pydantic import Field

from yanmo.errors import ModelError, SettingsError
from yanmo.models.base import Config, Family
from yanmo.settings import Block

FAMILIES = {
    "bert": "yanmo.models.bert",
    "yanmo-ngram-bert": "yanmo.models.ngram_bert",
}


class ModelSettings(Block):
    base: str | None = Field(None, description="a model or run folder to start from; null: from scratch")
    family: str = Field("bert", description=f"from scratch (without base): {', '.join(FAMILIES)}")
    size: str | dict[str, Any] = Field(
        "mini", description="from scratch (without base): a named size of the family, or explicit config keys"
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="config keys to set over those of base or size, such as dropouts"
    )


def find(model_type: str) -> Family:
    """The family of a `model_type`. Raises ModelError that lists the known ones."""
    if model_type not in FAMILIES:
        raise ModelError(f"model_type '{model_type}' is not a family that Yanmo knows; known: {', '.join(FAMILIES)}")
    family: Family = importlib.import_module(FAMILIES[model_type]).FAMILY
    return family


def configure(settings: ModelSettings, **values: Any) -> tuple[Family, Config]:
    """A config from scratch: the named or explicit size, and `values` (vocabulary size, positions, labels)."""
    try:
        family = find(settings.family)
    except ModelError as error:
        raise SettingsError(f"model.family: {error}") from None
    size = settings.size
    if isinstance(size, str):
        if size not in family.sizes:
            raise SettingsError(
                f"model.size: '{size}' is not a size of '{settings.family}'; sizes: {', '.join(family.sizes)}, or explicit keys"
            )
        size = dict(family.sizes[size])
    return family, known(family, {**values, **size, **settings.config})


def known(family: Family, content: dict[str, Any]) -> Config:
    """A config whose keys come from settings: an unknown one is a SettingsError."""
    try:
        config, unknown = family.config.read(content, "model.size, model.config")
    except ModelError as error:
        raise SettingsError(str(error)) from None
    if unknown:
        keys = ", ".join(field.name for field in fields(family.config) if field.name not in ("extra", "id2label"))
        raise SettingsError(f"model.config: unknown key '{unknown[0]}' for '{family.model_type}'; keys: {keys}")
    return config
