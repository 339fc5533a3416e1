"""Settings: defaults <- a YAML file <- `key=value` words, strict and typed. Machinery only: the blocks live beside the code
that they configure, and each verb composes its own `Settings` from them.

`read(schema, words)` splits a command line into settings, paths and switches. Numbers and booleans follow YAML 1.2: `3e-4` is a
number, `no` is a word. An unknown key names the nearest known one; every fault of a command line is raised in one SettingsError.
"""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Tag, ValidationError

from yanmo.errors import SettingsError


class Block(BaseModel):
    """The base of every block of settings: strict about keys, coerced by the fields' types."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, protected_namespaces=())


def one_of(table: Mapping[str, tuple[Any, Any]]) -> Any:
    """The type of a settings field that may be any row of a table (name -> its settings, and what is made of them), chosen by its `name`;
    without one, the first row."""

    def name(given: Any) -> str:
        said = given.get("name") if isinstance(given, dict) else getattr(given, "name", None)
        return str(said or next(iter(table)))

    variants = tuple(Annotated[settings, Tag(name)] for name, (settings, _) in table.items())
    if len(variants) == 1:
        return table[name({})][0]
    fault = f"no such name; known: {', '.join(table)}"
    chosen = Discriminator(name, custom_error_type="name", custom_error_message=fault)
    return Annotated[Union[variants], chosen]  # noqa: UP007 (made at run time)


S = TypeVar("S", bound=Block)


@dataclass
class Words(typing.Generic[S]):
    """A command line, understood."""

    settings: S
    paths: list[Path] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)  # the words behind `paths`, letter by letter
    json: bool = False
    print_settings: bool = False


# ---- reading


class _Yaml12(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema, and no key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Int(int):
    """A number that remembers how it was written, so that a column called 007 keeps its name in a field of words."""

    written: str

    def __str__(self) -> str:
        return self.written


class _Float(float):
    """The same: 1.10 stays 1.10."""

    written: str

    def __str__(self) -> str:
        return self.written


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    number = _Int(text, 0 if "o" in text or "x" in text else 10)  # PyYAML takes 010 for 8 and stumbles over 08
    number.written = text
    return number


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    number = _Float(loader.construct_yaml_float(node))
    number.written = loader.construct_scalar(node)
    return number


_Yaml12.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Yaml12.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Yaml12.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Yaml12)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(
            f"{where}{line}: not valid YAML: {error.problem}. Check the indentation and the quotes there."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{where}: not valid YAML: {error}") from None


def _lines(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    """(dotted key, line) of every key in a YAML document."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield prefix + str(key.value), key.start_mark.line + 1
            yield from _lines(value, f"{prefix}{key.value}.")


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The content of a settings file, and where each dotted key stands in it ("file:line")."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: can't be read as UTF-8 text: {error}") from None
    content = parse_yaml(text, str(path))
    if content is None:
        return {}, {}
    if not isinstance(content, dict):
        raise SettingsError(
            f"{path}:1: settings are keys and values (run: runs/mine), this is a {type(content).__name__}"
        )
    return content, {key: f"{path}:{line}" for key, line in _lines(yaml.compose(text, Loader=_Yaml12))}


def _merge(old: dict[str, Any], new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, Mapping):
            if not isinstance(old.get(name), dict):
                old[name] = {}  # ours, so that later keys don't change the caller's
            _merge(old[name], value)
        else:
            old[name] = value


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested dicts. A mapping is merged into the one that is there."""
    *parents, last = key.split(".")
    for parent in parents:
        inner = content.get(parent)
        if not isinstance(inner, dict):
            inner = content[parent] = {}
        content = inner
    _merge(content, {last: value})


_OVERRIDE = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*(?:\.[\w\-]+)*)=(.*)", re.DOTALL
)  # behind a point: labels, in any script
_YAML = re.compile(r"[\"']|[\[{](?!\w+[\]}].)")  # "{text} is [MASK]" has brackets and is no list
_NULLS = ("", "~", "null", "Null", "NULL")
_SWITCHES = {"--json": "json", "--print-settings": "print_settings"}


def read(schema: type[S], words: Sequence[str]) -> Words[S]:
    """Understand `[settings.yaml] [PATH ...] [key=value ...] [--json] [--print-settings]`."""
    content: dict[str, Any] = {}
    places: dict[str, str] = {}
    paths: list[Path] = []
    typed: list[str] = []
    overrides: list[tuple[str, Any]] = []
    switches: dict[str, bool] = {}
    for word in words:
        if word in _SWITCHES:
            switches[_SWITCHES[word]] = True
        elif word.startswith("--"):
            raise SettingsError(
                f"unknown option '{word}'. Settings are given as key=value; the options are {', '.join(_SWITCHES)}, --help."
            )
        elif match := _OVERRIDE.fullmatch(word):
            key, text = match.groups()
            # Only lists, mappings, quoted words and null are YAML's business: the typed field coerces a plain word itself, and a
            # path may hold whatever it likes.
            value = parse_yaml(text, f"{key}=") if _YAML.match(text) or text in _NULLS else text
            overrides.append((key, value))
        elif word.endswith((".yaml", ".yml")):
            if places:
                raise SettingsError(
                    f"two settings files given; '{word}' is the second. Put them in one, or use key=value."
                )
            content, places = read_file(Path(word))
        else:
            paths.append(Path(word))
            typed.append(word)
    for key, value in overrides:
        put(content, key, value)
        places[key] = f"{key}="
    return Words(build(schema, content, places), paths, typed, **switches)


def from_arguments(schema: type[S], settings: str | Path | None, keys: Mapping[str, Any]) -> S:
    """The same for Python: an optional settings file, and keyword arguments that are blocks or dotted keys."""
    content, places = read_file(Path(settings)) if settings else ({}, {})
    for key, value in keys.items():
        put(content, key, value)
        places[key] = f"{key}="
    return build(schema, content, places)


# ---- checking


def build(schema: type[S], content: dict[str, Any], places: Mapping[str, str]) -> S:
    """Validate nested `content`; every fault is listed with its place in one SettingsError."""
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        known = sorted(keys(schema))
        lines = [_fault(dict(fault), content, places, known) for fault in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


_SAID = {"path_type": "expected the path of one file or folder"}  # where the library speaks to programmers


def _fault(fault: dict[str, Any], content: Any, places: Mapping[str, str], known: list[str]) -> str:
    # pydantic puts the tag of a chosen variant (the task's name), the types of a union and the places in a list into the path; the
    # user never wrote them.
    key = ""
    *parents, last = [str(part) for part in fault["loc"]] or [""]
    for word in parents:
        said = isinstance(content, dict) and word in content
        if said or f"{key}.{word}".removeprefix(".") in known:
            key = f"{key}.{word}".removeprefix(".")
            content = content[word] if said else None
    whole = f"{key}.{last}".removeprefix(".")
    if whole in known or whole in places or fault["type"] == "extra_forbidden":
        key = whole
    place = places.get(key) or next(
        (places[k] for k in places if k.startswith(f"{key}.") or key.startswith(f"{k}.")), ""
    )
    where = f"{place}: " if place and not place.endswith("=") else ""
    if fault["type"] == "extra_forbidden":
        same = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        inside = [name for name in same if name.split(".")[0] == key.split(".")[0]]
        block, _, word = key.rpartition(".")
        if block in known or not block:
            alone = same if not block and len(same) == 1 else []
            near = inside or alone or difflib.get_close_matches(key, known, n=1, cutoff=0.5) or same
        else:  # in one of several blocks under names of the user's own
            words = {name.rsplit(".", 1)[-1] for name in known if name.startswith(f"{key.split('.')[0]}.")}
            near = [f"{block}.{each}" for each in difflib.get_close_matches(word, words, n=1)]
        hint = (
            f"; did you mean '{near[0]}'?" if near else f"; known keys: {', '.join(k for k in known if '.' not in k)}"
        )
        return f"{where}unknown key '{key}'{hint}"
    message = _SAID.get(fault["type"], fault["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = "" if fault["type"] in ("missing", "value_error") else f" (given: {fault['input']!r})"
    return f"{where}{key or 'settings'}: {message}{given}"


def _blocks(annotation: Any) -> Iterator[type[Block]]:
    """The Block classes inside an annotation: itself, or the variants of a union."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for inner in typing.get_args(annotation):
            yield from _blocks(inner)


def keys(schema: type[Block], prefix: str = "") -> set[str]:
    """Every dotted key that a schema knows."""
    found: set[str] = set()
    for name, info in schema.model_fields.items():
        found.add(prefix + name)
        for block in _blocks(info.annotation):
            found |= keys(block, f"{prefix}{name}.")
    return found


# ---- writing


def dump(settings: Block, indent: str = "") -> str:
    """The settings as commented YAML that `read` gives back unchanged."""
    lines = []
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        comment = f"  # {info.description}" if info.description else ""
        if isinstance(value, Block):
            lines.append(f"{indent}{name}:{comment}")
            lines.append(dump(value, indent + "  ").rstrip("\n"))
        else:
            lines.append(f"{indent}{name}: {_scalar(value)}{comment}")
    return "\n".join(lines) + "\n"


def compose(entries: Mapping[str, tuple[Any, str]]) -> str:
    """{dotted key: (value, comment)} as YAML, a block where several keys share a beginning; `read_file` gives it back."""
    content: dict[str, Any] = {}
    for key, entry in entries.items():
        put(content, key, _Entry(*entry))
    return _composed(content, "")


@dataclass(frozen=True)
class _Entry:
    value: Any
    comment: str


def _composed(content: Mapping[str, Any], indent: str) -> str:
    lines = []
    for name, entry in content.items():
        if isinstance(entry, _Entry):
            comment = f"  # {entry.comment}" if entry.comment else ""
            lines.append(f"{indent}{name}: {_scalar(entry.value)}{comment}\n")
        else:
            lines.append(f"{indent}{name}:\n{_composed(entry, indent + '  ')}")
    return "".join(lines)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Yaml12` reads back as the same value: it quotes words that 1.2 would take for something else, and keeps every value
    on one line."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        broken = not {*"\n\x85\u2028\u2029"}.isdisjoint(text)
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if broken else None)


_Dumper.yaml_implicit_resolvers = dict(_Yaml12.yaml_implicit_resolvers)
_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_multi_representer(Path, lambda dumper, path: dumper.represent_str(str(path)))
_Dumper.add_multi_representer(_Int, lambda dumper, number: dumper.represent_int(int(number)))
_Dumper.add_multi_representer(_Float, lambda dumper, number: dumper.represent_float(float(number)))


def _scalar(value: Any) -> str:
    plain = _bare(value)
    if isinstance(plain, float):  # PyYAML writes 1e-05, which some readers take for a word
        text = repr(plain)
        return text.replace("inf", ".inf").replace("nan", ".nan")
    text = yaml.dump(plain, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=1 << 20, sort_keys=False)
    return text.removesuffix("\n...\n").rstrip("\n")


def _bare(value: Any) -> Any:
    """A value without blocks in it."""
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items()}
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def differences(old: Mapping[str, Any], new: Mapping[str, Any], ignore: Sequence[str] = ()) -> list[str]:
    """Dotted keys whose values differ between two nested mappings, in words."""
    flat_old, flat_new = dict(_flat(old)), dict(_flat(new))
    return [
        f"{key}: was {flat_old.get(key, '(absent)')!r}, now {flat_new.get(key, '(absent)')!r}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if flat_old.get(key) != flat_new.get(key) and key.split(".")[0] not in ignore
    ]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value
