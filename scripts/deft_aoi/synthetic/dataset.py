"""AnomalyGen's data set on disk: layout, defect spec, colour labels, and the four invariants that its masks must keep.

```
<set>/defect_spec.jsonl                   {"defect_type": "IC+bridge", "spatial_dependency": "free|text|cad", ...}
<set>/semantic_segmentation_labels.json   {"(r, g, b, a)": {"class": name}}, needed by `cad` entries
<set>/<texture>/clean_image/<stem>.png    good parts; cad_mask/<stem>.png next to it, one colour a class
<set>/<texture>/mask/<anomaly>/<stem>.png where a real defect was; anomaly_image/<anomaly>/<stem>.png its picture
```
Ours adds `lights.json` (pictures are then called `<stem>_<light>.png`), `golden_image/` and `anomaly_golden/` (the
goldens of clean and defective parts).
Standard library, numpy and OpenCV only: the generator also runs in an image of its own.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.base import safe_images
from deft_aoi.base.errors import InputError

SPEC, LABELS, LIGHTS = "defect_spec.jsonl", "semantic_segmentation_labels.json", "lights.json"
FREE, TEXT, CAD = "free", "text", "cad"
MODELS = "checkpoints/model"  # of a training, below its ag_config.yaml
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
Colour = tuple[int, int, int]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """One line of the defect spec; `defect_type` is `<texture>+<anomaly>`."""

    defect_type: str
    dependency: str
    prompt: str = ""

    @property
    def texture(self) -> str:
        return self.defect_type.partition("+")[0]

    @property
    def anomaly(self) -> str:
        return self.defect_type.partition("+")[2]


@dataclass(frozen=True)
class AnomalySet:
    """The folders of one data set; `clean` is where the good images lie (AnomalyGen's `--clean-dir`)."""

    root: Path
    clean: Path

    @classmethod
    def at(cls, root: Path, clean: Path | None = None) -> AnomalySet:
        return cls(root, clean or root)

    @property
    def lights(self) -> tuple[str, ...]:
        """Light names of the pictures; one empty name where the set has a single picture of each part."""
        path = self.root / LIGHTS
        return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ("",)

    def clean_folder(self, texture: str) -> Path:
        """`<clean>/<texture>/clean_image`, else `<clean>/<texture>`, else `<clean>`: AnomalyGen's own order."""
        for folder in (self.clean / texture / "clean_image", self.clean / texture):
            if folder.is_dir():
                return folder
        return self.clean

    def clean_images(self, texture: str) -> list[Path]:
        return self.first_light(images_in(self.clean_folder(texture)))

    def masks(self, entry: Entry) -> list[Path]:
        return images_in(self.root / entry.texture / "mask" / entry.anomaly)

    def cad_mask(self, texture: str, clean: Path) -> Path:
        return self.root / texture / "cad_mask" / f"{self.stem(clean)}.png"

    def anomaly_image(self, entry: Entry, mask: Path) -> Path | None:
        """The real defect's picture of a mask, called as the mask (a `_mask` at its end does not count)."""
        return self._of_mask(entry, "anomaly_image", mask)

    def anomaly_golden(self, entry: Entry, mask: Path) -> Path | None:
        """What the defective part should have looked like."""
        return self._of_mask(entry, "anomaly_golden", mask)

    def _of_mask(self, entry: Entry, folder: str, mask: Path) -> Path | None:
        wanted = mask.stem.removesuffix("_mask")
        files = self.first_light(images_in(self.root / entry.texture / folder / entry.anomaly))
        return next((path for path in files if self.stem(path) == wanted), None)

    def golden_image(self, texture: str, clean: Path) -> Path | None:
        path = self.root / texture / "golden_image" / clean.name
        return path if path.is_file() else None

    def first_light(self, files: Iterable[Path]) -> list[Path]:
        """Of pictures of several lights the first one's."""
        tail = f"_{self.lights[0]}" if self.lights[0] else ""
        return [path for path in files if path.stem.endswith(tail)]

    def stem(self, picture: Path) -> str:
        """A part's name: the file's without its first light."""
        return picture.stem.removesuffix(f"_{self.lights[0]}") if self.lights[0] else picture.stem

    def per_light(self, picture: Path) -> list[Path]:
        """The pictures of one part, one for each light, from the first light's."""
        if not self.lights[0]:
            return [picture]
        return [picture.with_name(f"{self.stem(picture)}_{light}{picture.suffix}") for light in self.lights]


def model_file(folder: Path, step: int) -> Path:
    """Where AnomalyGen keeps the checkpoint of a step, below the folder of its ag_config.yaml."""
    return folder / MODELS / f"iter_{step:09d}.pt"


def images_in(folder: Path) -> list[Path]:
    """Images of a folder in name order; none where it is absent."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def read_entries(path: Path) -> list[Entry]:
    """Entries of a defect spec in order. Raises InputError naming file and line."""
    if not path.is_file():
        raise InputError(f'{path}: no such defect spec; expected lines like {{"defect_type": "IC+bridge"}}')
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            kind = record["defect_type"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}, line {number}: expected a JSON object with defect_type ({error})") from error
        if not isinstance(kind, str) or not all(kind.partition("+")):
            raise InputError(f"{path}, line {number}: defect_type {kind!r}; expected <texture>+<anomaly>")
        dependency = record.get("spatial_dependency", TEXT)
        if dependency not in (FREE, TEXT, CAD):
            raise InputError(f"{path}, line {number}: spatial_dependency {dependency!r}; expected free, text or cad")
        prompt = str(record.get("roi_prompt_defect_location") or "")
        entries.append(Entry(kind, dependency, prompt.strip()))
    if not entries:
        raise InputError(f"{path}: no defect in it; expected one JSON object a line")
    return entries


def label_colours(path: Path) -> dict[Colour, str]:
    """Class name by colour. Raises InputError for a file of another form."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {tuple(ast.literal_eval(key))[:3]: str(value["class"]) for key, value in table.items()}
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f'{path}: expected {{"(r, g, b, a)": {{"class": name}}, ...}} ({error})') from error


def read_cad(path: Path) -> Mask | None:
    """RGB mask (h, w, 3); None where it is no readable image."""
    image = safe_images.read(path, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image[:, :, ::-1], np.uint8)


def colours_in(mask: Mask) -> set[Colour]:
    return {(int(r), int(g), int(b)) for r, g, b in np.unique(mask.reshape(-1, 3), axis=0)}


def free_area(mask: Mask, colours: Iterable[Colour]) -> Mask:
    """255 where the mask shows one of the colours, (h, w)."""
    area = np.zeros(mask.shape[:2], np.uint8)
    for colour in colours:
        area[(mask == np.asarray(colour, np.uint8)).all(axis=2)] = 255
    return area


def placeable(classes: dict[Colour, str]) -> list[Colour]:
    """Colours that a defect may be on: every class but the background."""
    return [colour for colour, name in classes.items() if name.lower() not in ("background", "unlabelled", "unlabeled")]


def problems(found: AnomalySet, entries: Sequence[Entry]) -> list[str]:
    """What breaks an invariant, one line each: labels file, mask colours, prompts, pairs of clean and cad image."""
    lines: list[str] = []
    labels = found.root / LABELS
    classes: dict[Colour, str] | None = None
    if any(entry.dependency == CAD for entry in entries):
        try:
            classes = label_colours(labels)
        except InputError as error:
            lines.append(f"labels file: {error}")
    seen: set[str] = set()
    for entry in entries:
        if not found.masks(entry):
            lines.append(f"{entry.defect_type}: no masks in {found.root / entry.texture / 'mask' / entry.anomaly}")
        cleans = found.clean_images(entry.texture)
        if not cleans:
            lines.append(f"{entry.defect_type}: no clean images in {found.clean_folder(entry.texture)}")
        if entry.dependency == TEXT and not entry.prompt:
            lines.append(f"prompt: {entry.defect_type} is placed by text and has no roi_prompt_defect_location")
        if entry.dependency == CAD and entry.texture not in seen:
            seen.add(entry.texture)
            lines += _cad_problems(found, entry.texture, cleans, classes)
    return lines


def training_problems(found: AnomalySet, entries: Sequence[Entry]) -> list[str]:
    """What keeps a set from being learned, one line each: types without a picture, pictures without a mask.

    The mask of `n0.png` must be `n0_mask.png`, or AnomalyGen's training dies halfway.
    """
    lines = []
    for entry in entries:
        shots = found.first_light(images_in(found.root / entry.texture / "anomaly_image" / entry.anomaly))
        masks = {path.stem for path in found.masks(entry)}
        alone = [path.name for path in shots if f"{found.stem(path)}_mask" not in masks]
        if not shots:
            lines.append(f"{entry.defect_type}: no picture in {entry.texture}/anomaly_image/{entry.anomaly}")
        elif alone:
            wanted = f"{Path(alone[0]).stem}_mask.png"
            lines.append(
                f"{entry.defect_type}: {len(alone)} of {len(shots)} pictures have no mask (first: {alone[0]}; expected "
                f"{entry.texture}/mask/{entry.anomaly}/{wanted})"
            )
    return lines


def _cad_problems(
    found: AnomalySet, texture: str, cleans: Sequence[Path], classes: dict[Colour, str] | None
) -> list[str]:
    lines = []
    alone = [path.stem for path in cleans if not found.cad_mask(texture, path).is_file()]
    if alone:
        lines.append(
            f"pairs: {len(alone)} clean images of {texture} have no cad_mask of the same name (first: {alone[0]}.png); "
            "AnomalyGen drops them without a word"
        )
    if classes is None:
        return lines
    for clean in cleans:
        path = found.cad_mask(texture, clean)
        mask = read_cad(path) if path.is_file() else None
        if mask is not None and not (shown := colours_in(mask)) & set(placeable(classes)):
            some = ", ".join(str(colour) for colour in sorted(shown)[:3])
            lines.append(
                f"mask classes: {path} shows {some}, no colour that {LABELS} names but the background's; "
                "a mask flattened to black and white gives no place for any defect: export it with its class colours"
            )
            break
    return lines
