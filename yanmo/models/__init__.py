"""The families: one file each, found by the `model_type` of a Hugging Face config. A family is imported when it is asked for."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from yanmo.errors import ModelError, SettingsError, gather
from yanmo.models.base import Config, Family
from yanmo.settings import Block
from yanmo.text.tokenizer import TokenizerSettings

# model_type -> module:name
FAMILIES = {
    "bert": "yanmo.models.bert:FAMILY",
    "distilbert": "yanmo.models.bert:DISTIL",
    "roberta": "yanmo.models.roberta:ROBERTA",
    "xlm-roberta": "yanmo.models.roberta:XLM_ROBERTA",
    "gpt2": "yanmo.models.gpt2:FAMILY",
    "llama": "yanmo.models.llama:LLAMA",
    "mistral": "yanmo.models.llama:MISTRAL",
    "qwen2": "yanmo.models.llama:QWEN2",
    "qwen3": "yanmo.models.llama:QWEN3",
    "transfo-xl": "yanmo.models.transformer_xl:TRANSFO_XL",
    "xlnet": "yanmo.models.xlnet:FAMILY",
    "yanmo-transformer-xl": "yanmo.models.transformer_xl:FAMILY",
    "transformer": "yanmo.models.transformer:FAMILY",  # Marian's, by the name of the paper
    "marian": "yanmo.models.transformer:FAMILY",
    "bart": "yanmo.models.bart:BART",
    "mbart": "yanmo.models.bart:MBART",
    "t5": "yanmo.models.t5:T5",
    "mt5": "yanmo.models.t5:MT5",
    "yanmo-autoencoder": "yanmo.models.autoencoder:FAMILY",
    "yanmo-bert-ngrams": "yanmo.models.bert_ngrams:FAMILY",
    "yanmo-ngram-bert": "yanmo.models.ngram_bert:FAMILY",
    "yanmo-rnn": "yanmo.models.rnn:FAMILY",
    "yanmo-cnn": "yanmo.models.cnn:FAMILY",
    "yanmo-gated-cnn": "yanmo.models.cnn:GATED",
}
FAMILY, SIZE = "bert", "mini"  # where the settings say nothing


def _alone(given: str | list[str] | None) -> str | list[str] | None:
    if given == []:
        raise ValueError("expected a folder, or a list of folders: model.base=[runs/a, runs/b]")
    return given[0] if isinstance(given, list) and len(given) == 1 else given


Bases = Annotated[str | list[str] | None, AfterValidator(_alone)]  # a list of one is that one


def bases(given: str | list[str] | None) -> list[str]:
    return [*map(str, given)] if isinstance(given, list) else [] if given is None else [given]


class ModelSettings(Block):
    base: Bases = Field(
        None,
        description="a model or run folder to start from, or a list of them, which are joined; null: from scratch",
    )
    join: Literal["weights"] = Field(
        "weights", description="what is averaged of several bases: their weights, since training goes on from one model"
    )
    family: str | None = Field(
        None,
        description=f"from scratch (without base): {', '.join(FAMILIES)}; null: {FAMILY}. Beside base: one that widens the base's own",
    )
    size: str | dict[str, Any] | None = Field(
        None,
        description=f"from scratch (without base): a named size of the family, or explicit config keys; null: {SIZE}",
    )
    vectors: Path | None = Field(
        None,
        description="from scratch (without base): a word2vec or fastText text file (.vec, .vec.gz) that tokens begin with",
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="config keys to set over those of base or size, such as dropouts"
    )


def find(model_type: str) -> Family:
    """The family of a `model_type`. Raises ModelError that lists the known ones."""
    if model_type not in FAMILIES:
        raise ModelError(f"model_type '{model_type}' is not a family that Yanmo knows; known: {', '.join(FAMILIES)}")
    module, _, name = FAMILIES[model_type].partition(":")
    family: Family = getattr(importlib.import_module(module), name)
    return family


def check(settings: ModelSettings, tokenizer: TokenizerSettings) -> None:
    """Raise SettingsError for keys that others leave without a meaning."""
    wider = settings.family in FAMILIES and find(str(settings.family)).widens
    model = {
        f"model.{key}": getattr(settings, key) for key in ("family", "size", "vectors") if key != "family" or not wider
    }
    cutter = {f"tokenizer.{key}": getattr(tokenizer, key) for key in ("kind", "vocab")}
    faults = []
    given = ", ".join(bases(settings.base))
    if given:
        faults += [
            f"{key}: says how a model from scratch is made, but model.base={given} is given; leave one of them out"
            for key, value in model.items()
            if value is not None
        ]
    if base := tokenizer.base or given:
        faults += [
            f"{key}: says how a tokeniser is trained, but that of {base} is used; leave one of them out"
            for key, value in cutter.items()
            if value is not None
        ]
    gather(faults, "these settings contradict each other:", SettingsError)


def configure(settings: ModelSettings, longest: int | None = None, **values: Any) -> tuple[Family, Config]:
    """A config from scratch: the named or explicit size, `values` (vocabulary size, labels), and room for rows of `longest` tokens."""
    try:
        family = find(settings.family or FAMILY)
    except ModelError as error:
        raise SettingsError(f"model.family: {error}") from None
    size = settings.size if settings.size is not None else SIZE
    if isinstance(size, str):
        if size not in family.sizes:
            raise SettingsError(
                f"model.size: '{size}' is not a size of '{family.model_type}'; sizes: {', '.join(family.sizes)}, or explicit keys"
            )
        size = dict(family.sizes[size])
    content = {**values, **size, **settings.config}
    if longest is None or not family.positions or family.positions in content:
        return family, known(family, content)
    config = known(family, {**content, family.positions: longest})
    short = longest - (config.longest or longest)
    return family, known(family, {**content, family.positions: longest + short}) if short else config


def known(family: Family, content: dict[str, Any]) -> Config:
    """A config whose keys come from settings: an unknown one is a SettingsError."""
    try:
        config, unknown = family.config.read(content, "model.size, model.config")
    except ModelError as error:
        raise SettingsError(str(error)) from None
    if unknown:
        keys = ", ".join(family.config.named())
        raise SettingsError(f"model.config: unknown key '{unknown[0]}' for '{family.model_type}'; keys: {keys}")
    return config
