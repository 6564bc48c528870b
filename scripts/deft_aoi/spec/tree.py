"""TAO's experiment spec: read, refuse what TAO refuses, and derive the spec of one task from the user's."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_text
from deft_aoi.base.names import check_lights
from deft_aoi.base.safe_paths import shown
from deft_aoi.base.safe_yaml import parse_yaml, read_yaml, yaml_bytes, yaml_of
from deft_aoi.spec.older_keys import KEYS_FILE, successor

DATASETS = ("train_dataset", "validation_dataset", "test_dataset", "infer_dataset")
MAX_SIDE = 4096  # pixels that a network is fed with
_LARGEST = (1 << 32) - 1  # NumPy's and torch's seeds
WHOLE_NUMBERS = {
    "dataset.classify.batch_size": 1, "train.num_epochs": 1, "train.num_gpus": 1, "train.num_nodes": 1,
    "train.checkpoint_interval": 1, "train.validation_interval": 1, "train.seed": 0,
    "train.tensorboard.infrequent_logging_frequency": 1,
}  # fmt: skip
Spec = dict[str, Any]
_TYPE_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"}


def load_spec(path: Path) -> Spec:
    """Parse a spec with YAML's safe loader and refuse unknown keys, as TAO's schema does.

    Raises InputError naming file and key.
    """
    spec, problems = read_spec(path)
    if problems:
        raise InputError(problems[0])
    return spec


def read_spec(path: Path) -> tuple[Spec, list[str]]:
    """(the spec without what :func:`load_spec` refuses of it, each refusal in one line), so that a check can go on.

    Raises InputError where the file is no spec at all.
    """
    return parse_spec(spec_bytes(path), path)


def spec_bytes(path: Path) -> bytes:
    """The bytes of a spec. Raises InputError where it cannot be read."""
    if not path.is_file():
        raise InputError(f"{path}: no such experiment spec; see specs/baseline_spec.yaml of the skill for a template")
    try:
        return yaml_bytes(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def parse_spec(content: bytes, path: Path) -> tuple[Spec, list[str]]:
    """:func:`read_spec` of bytes that were read from `path`."""
    spec = yaml_of(content, str(path))
    if not isinstance(spec, dict):
        raise InputError(f"{path}: expected a mapping of TAO experiment keys (task, model, dataset, train)")
    problems = []
    for key, problem in _tree_problems(spec, " (TAO refuses unknown keys at start); "):
        problems.append(f"{path}: {problem}")
        drop(spec, key)
    return spec, problems


@functools.cache
def known_keys() -> dict[str, Any]:
    """The tree of TAO's keys with the type of each."""
    tree: dict[str, Any] = read_yaml(KEYS_FILE)
    return tree


def _check_tree(spec: Spec, where: str) -> None:
    """Refuse unknown keys, a plain value where TAO has a group of keys, and numbers that are none."""
    for _, problem in _tree_problems(spec, ""):
        raise InputError(f"{where}: {problem}")


def _tree_problems(spec: Spec, advice: str) -> Iterable[tuple[Sequence[Any], str]]:
    """(key by its parts, what TAO's schema has against it); the caller may drop the key before it asks for the next."""
    for parts in list(_unknown(spec, known_keys())):
        key = ".".join(map(str, parts))
        told = f"{advice}{successor(spec, key)}" if advice else ""
        yield parts, f"Key {shown(key)} not in 'ExperimentConfig'{told}"
    for key in list(_misshapen(spec, known_keys())):
        yield key.split("."), f"{key} is {shown(get(spec, key))}; expected a mapping, as in TAO's schema"
    for key, least in WHOLE_NUMBERS.items():
        value = get(spec, key)
        if value is not None and (type(value) is not int or not least <= value <= _LARGEST):
            yield key.split("."), f"{key} is {shown(value)}; expected a whole number from {least}"


def _misshapen(spec: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Dotted keys whose value is plain where the key tree has a group."""
    for key, value in spec.items():
        if not isinstance(known.get(key), Mapping) or not known[key] or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _misshapen(value, known[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def unknown_keys(spec: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Dotted keys of `spec` that the key tree lacks. A leaf of the tree names a type; `{}` takes any keys."""
    for parts in _unknown(spec, known):
        yield prefix + ".".join(map(str, parts))


def _unknown(spec: Mapping[str, Any], known: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
    for key, value in spec.items():
        if key not in known:
            yield (key,)
        elif isinstance(value, Mapping) and isinstance(known[key], Mapping) and known[key]:
            yield from ((key, *rest) for rest in _unknown(value, known[key]))


def wrong_values(spec: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """What TAO's schema refuses of the values, one line each; keys must be known."""
    for key, value in spec.items():
        name, expected = f"{prefix}{key}", known.get(key)
        if isinstance(expected, Mapping):
            if not isinstance(value, Mapping):
                yield f"{name} is {value!r}; expected a mapping"
            elif expected:
                yield from wrong_values(value, expected, f"{name}.")
        elif isinstance(expected, str) and not _fits(value, expected):
            yield f"{name} is {value!r}; expected {_TYPE_WORDS[expected.rstrip('?')]}{_or_null(value, expected)}"


def _fits(value: Any, expected: str) -> bool:
    """Whether TAO's schema takes the value; it converts text to numbers and scalars to text."""
    kind = expected.rstrip("?")
    if value is None:
        return expected.endswith("?")
    if isinstance(value, str) and "${" in value:  # a reference, resolved later
        return True
    if kind == "list":
        return isinstance(value, list)
    if isinstance(value, (list, Mapping)):
        return False
    try:
        return kind == "str" or {"int": _whole, "float": _number, "bool": _truth}[kind](value)
    except ValueError:
        return False


def _whole(value: Any) -> bool:
    return float(value) == int(value) and not (isinstance(value, str) and "." in value)


def _number(value: Any) -> bool:
    float(value)
    return True


def _truth(value: Any) -> bool:
    return isinstance(value, (bool, int)) or str(value).lower() in ("true", "false", "yes", "no", "on", "off", "1", "0")


def _or_null(value: Any, expected: str) -> str:
    return "; leave the key out for TAO's default" if value is None and not expected.endswith("?") else ""


def get(spec: Mapping[str, Any], dotted: str, default: Any = None) -> Any:
    """Value at a dotted key, or `default` where a part of the path is absent or null."""
    node: Any = spec
    for part in dotted.split("."):
        if not isinstance(node, Mapping) or node.get(part) is None:
            return default
        node = node[part]
    return node


def put(spec: Spec, dotted: str, value: Any) -> None:
    """Set the value at a dotted key, making the mappings on the way."""
    *parents, last = dotted.split(".")
    node = spec
    for part in parents:
        child = node.get(part)
        if not isinstance(child, dict):
            child = node[part] = {}
        node = child
    node[last] = value


def drop(spec: Spec, parts: Sequence[Any]) -> None:
    """Remove the key at these parts of a path, where it is there."""
    *parents, last = parts
    node: Any = spec
    for part in parents:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)


def override(spec: Spec, assignments: Iterable[str], where: str = "command line") -> Spec:
    """A copy with `key=value` assignments applied; values are YAML. Unknown keys are refused as in the file."""
    changed = copy.deepcopy(spec)
    for text in assignments:
        key, mark, value = text.partition("=")
        if not mark:
            raise InputError(f"{where}: {text!r} is no override; expected key=value, as in train.num_epochs=10")
        put(changed, key, parse_yaml(value, f"{where}: {key}"))
    _check_tree(changed, where)
    return changed


def dump_spec(path: Path, spec: Spec) -> None:
    atomic_write_text(path, spec_text(spec))


def spec_text(spec: Spec) -> str:
    """A spec as YAML text, keys in their order."""
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class Optics:
    """What a spec says of the images: light names in the order of the YAML, which is the one that TAO joins them in
    whatever their numbers are, extension, size in pixels."""

    lights: tuple[str, ...]
    ext: str
    width: int
    height: int


def optics(spec: Mapping[str, Any], where: Path) -> Optics:
    """Image facts of a spec; raises InputError where TAO would fail on them."""
    mapping = get(spec, "dataset.classify.input_map")
    if not isinstance(mapping, Mapping) or not mapping:
        raise InputError(
            f"{where}: dataset.classify.input_map is empty; expected at least one light, as SolderLight: 0"
        )
    ext = get(spec, "dataset.classify.image_ext")
    if not isinstance(ext, str) or not ext.startswith("."):
        raise InputError(f"{where}: dataset.classify.image_ext is {ext!r}; expected it with its dot, as '.jpg'")
    if not all(type(number) is int for number in mapping.values()) or len(set(mapping.values())) < len(mapping):
        raise InputError(
            f"{where}: dataset.classify.input_map {shown(mapping)}; expected a different number for each light"
        )
    check_lights([str(light) for light in mapping], ext, str(where))
    width, height = (get(spec, f"dataset.classify.image_{side}", 224) for side in ("width", "height"))
    if not all(type(side) is int and 16 <= side <= MAX_SIDE for side in (width, height)):
        raise InputError(
            f"{where}: image_width {shown(width)} and image_height {shown(height)}: expected whole pixels "
            f"from 16 to {MAX_SIDE}"
        )
    return Optics(tuple(map(str, mapping)), ext, width, height)
