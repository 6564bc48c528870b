"""Which backbone a weight file holds, by the names and shapes in its safetensors header."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

RADIO, DINOV3, OTHER_VIT = "C-RADIO", "DINOv3", "a vision transformer with learned positions"
DINOV3_SIZES = {"small": 384, "small_plus": 384, "base": 768, "large": 1024, "huge_plus": 1280, "7b": 4096}
DINOV3_TYPES = {f"vit_{size}_dinov3": width for size, width in DINOV3_SIZES.items()}
RADIO_WIDTHS = {"base": 768, "large": 1024, "huge": 1280}
_RADIO_NAME, _VIT_NAME, _POSITIONS = "patch_generator.embedder.weight", "patch_embed.proj.weight", "pos_embed"


# What a name says of a backbone, in TAO's types as in the usual file names. The first that fits counts.
_NAMED = (
    ("C-RADIO", re.compile(r"radio", re.I)),
    ("DINOv3", re.compile(r"dino_?v3", re.I)),
    ("DINOv2", re.compile(r"dino_?v2", re.I)),
    ("FAN", re.compile(r"(?<![a-z])fan(?![a-z])", re.I)),
)


def named_family(name: str) -> str | None:
    """The family of backbones that a type or file name names; None where it names none."""
    return next((family for family, words in _NAMED if words.search(name.replace("-", "_"))), None)


def name_disagreement(kind: str, name: str) -> str | None:
    """Why a file's name does not fit the backbone `kind` of the spec; None where it does, or either says nothing."""
    wanted, found = named_family(kind), named_family(name)
    return (
        f"is called {found}, model.backbone.type {kind} is {wanted}" if wanted and found and wanted != found else None
    )


def dinov3_repo(kind: str) -> str:
    """The hub's repository with the weights of a DINOv3 type."""
    return f"timm/vit_{kind.removeprefix('vit_').removesuffix('_dinov3')}_patch16_dinov3.lvd1689m"


def held(path: Path) -> tuple[str, int] | None:
    """(family, width) of the backbone in a safetensors file; None where it is another file, or another kind of model.

    C-RADIO embeds patches by a linear layer of its own name; DINOv3 has rotary positions, so no position table.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "numpy") as opened:
            names = list(opened.keys())
            radio = next((name for name in names if name.endswith(_RADIO_NAME)), None)
            patches = radio or next((name for name in names if name.endswith(_VIT_NAME)), None)
            if patches is None:
                return None
            width = int(opened.get_slice(patches).get_shape()[0])
    except (SafetensorError, OSError):
        return None
    if radio:
        return RADIO, width
    return (OTHER_VIT if any(name.endswith(_POSITIONS) for name in names) else DINOV3), width


def disagreement(kind: str, path: Path) -> str | None:
    """Why a weight file cannot be the backbone `kind` of the spec; None where it can, or nothing is known of it."""
    found = held(path)
    if found is None:
        return None
    family, width = found
    if kind in DINOV3_TYPES:
        wanted, expected = DINOV3, DINOV3_TYPES[kind]
    elif kind.startswith("c_radio"):
        size = next((size for size in RADIO_WIDTHS if f"_{size}_" in kind), "")
        wanted, expected = RADIO, RADIO_WIDTHS.get(size, width)
    else:
        return None
    if (family, width) == (wanted, expected):
        return None
    return f"holds {family} of width {width}; {kind} is {wanted} of width {expected}"
