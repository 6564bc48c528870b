"""Scores of pictures that are in memory: the same numbers as inference gives for the same files, nothing cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deft_aoi.base.errors import InputError
from deft_aoi.engine.engine_choice import FEATURES, NET
from deft_aoi.engine.images import make_pair
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Optics

Picture = npt.NDArray[np.uint8]  # as engine.images.decode gives it
Pairs = Sequence[Sequence[tuple[Picture, Picture]]]  # (test, golden) by part and light
Scorer = Callable[[Pairs], npt.NDArray[np.float32]]  # score of each part; may be called from several threads


def load_scorer(engine: str, checkpoint: Path, optics: Optics) -> Scorer:
    """The model of a checkpoint. Raises InputError where it cannot be run here."""
    makers = {FEATURES: _features, NET: _net}
    if engine not in makers:
        raise InputError(f"engine {engine!r} does not run in this process; expected {' or '.join(makers)}")
    try:
        return makers[engine](checkpoint, optics)
    except TaskError as error:
        raise InputError(str(error)) from error


def _features(checkpoint: Path, optics: Optics) -> Scorer:
    from deft_aoi.engine.features.checkpoint import load_checkpoint
    from deft_aoi.engine.features.distances import pair_features
    from deft_aoi.engine.features.trunk import Trunk

    head, trunk = load_checkpoint(checkpoint, optics), Trunk()

    def score(pairs: Pairs) -> npt.NDArray[np.float32]:
        made = [make_pair(test, golden, optics.width, optics.height) for part in pairs for test, golden in part]
        values = pair_features(made, trunk)
        return head.scores(values.reshape(len(pairs), len(optics.lights), -1))

    return score


def _net(checkpoint: Path, optics: Optics) -> Scorer:
    from deft_aoi.engine.features.head import probabilities
    from deft_aoi.engine.net.net_checkpoint import load_checkpoint, scoring_model
    from deft_aoi.engine.net.onnx_net import logits_of, open_session
    from deft_aoi.engine.net.pixels import as_channels, pair_pixels

    found = load_checkpoint(checkpoint, optics)
    session = open_session(found.onnx, scoring_model(found), found.digest)
    channels = found.facts.channels

    def score(pairs: Pairs) -> npt.NDArray[np.float32]:
        rows = []
        for part in pairs:
            lights = [
                pair_pixels(as_channels(test, channels), as_channels(golden, channels), optics) for test, golden in part
            ]
            rows.append(np.concatenate(lights, axis=1))
        pixels = np.stack(rows)
        return probabilities(logits_of(session, len(pixels), lambda some: pixels[some])).astype(np.float32)

    return score
