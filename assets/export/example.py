"""Decide parts on the line. Needs onnxruntime, numpy and Pillow; preprocessing.json says what the model does itself.

python example.py TEST GOLDEN [TEST GOLDEN ...]    one pair of files for each light, in the order of preprocessing.json
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).resolve().parent
FACTS = json.loads((HERE / "preprocessing.json").read_text(encoding="utf-8"))
SESSION = onnxruntime.InferenceSession(str(HERE / FACTS["model"]["file"]), providers=["CPUExecutionProvider"])


def picture(path):
    """(height, width, 3) RGB as stored; a picture with more than 8 bits a value has to be converted before."""
    with Image.open(path) as image:
        if image.mode[:1] in ("I", "F"):
            raise ValueError(f"{path}: more than 8 bits a value")
        return np.asarray(image.convert("RGB"), np.uint8)


def score(files):
    """Score of one part from its files, test and golden of each light in turn."""
    inputs = {entry["name"]: picture(path) for entry, path in zip(FACTS["inputs"], files, strict=True)}
    return float(SESSION.run([FACTS["output"]], inputs)[0][0])


def decide(value):
    low, high = FACTS["decision"]["review"] or (1, 0)
    return "REVIEW" if low <= value <= high else "NO_PASS" if value > FACTS["decision"]["threshold"] else "PASS"


if __name__ == "__main__":
    found = score(sys.argv[1:])
    print(f"{decide(found)} {found:.9g}")
