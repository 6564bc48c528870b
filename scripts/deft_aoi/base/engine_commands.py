"""The embedded engine under TAO's own command names, for a job, a hand-off or a spec that a person wants to try."""

from __future__ import annotations

ENGINES = {
    "visual_changenet": "deft_aoi.engine.visual_changenet",
    "embedding": "deft_aoi.engine.embedding",
    "classical_baseline": "deft_aoi.engine.features.classical",
    "prep_testcase.sh": "deft_aoi.synthetic.anomalygen_prep",
    "run_sdg.sh": "deft_aoi.synthetic.anomalygen_sdg",
    "anomalygen_dataset": "deft_aoi.synthetic.dataset_source",
    "realism_screen": "deft_aoi.synthetic.realism",
    "pair_features": "deft_aoi.engine.features.pair_features",
}
#: What nearly every one of them imports: a worker does so once, before it forks the first.
SHARED_IMPORTS = ("numpy", "cv2", "pandas", "pyarrow.parquet", "deft_aoi.engine.features.tasks")
