"""A recipe and a report as cards are made of."""

from datasets import ClassLabel, Features, Sequence, Value

from sds_hf.data.folder import Shard, card_metadata, row_features
from sds_hf.data.labels import VOC
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import ClassCount, Report, ScoreSummary, Step


def make_recipe(**publish) -> Recipe:
    return Recipe.from_dict(
        {
            "name": "mine",
            "model": "demo",
            "scores": {"pcs": {"scales": [3, 4], "orders": 2}},
            "rules": [
                {"threshold": {"column": "clip_sim", "above": "q0.2"}},
                {"top_per_group": {"column": "pcs", "by": ["num_classes_present"], "fraction": 0.5}},
            ],
            "publish": {"to": "user/mine", **publish},
        }
    )


def make_report(names=VOC.names, **changes) -> Report:
    features = Features(
        {**row_features(VOC), "classes": Sequence(ClassLabel(names=list(names))), "pcs": Value("float32")}
    )
    metadata = card_metadata(features, [Shard("data/train-00000.parquet", 300, 5000, "0" * 64)], 4000).to_dict()
    metadata["configs"].append({"config_name": "scores", "data_files": "scores/*.parquet"})
    values = {
        "rows": 1000,
        "kept": 300,
        "failed": 10,
        "steps": [
            Step(rule="clip_sim > q0.2", before=990, after=790, dropped={"dropped:clip_sim": 198, "dropped:null": 2}),
            Step(rule="top 50% of each class by pcs", before=790, after=300, dropped={"dropped:top_fraction": 490}),
        ],
        "classes": [
            ClassCount(id=1, name=names[1], before=800, after=200),
            ClassCount(id=15, name=names[15], before=300, after=150),
        ],
        "scores": {"pcs": ScoreSummary(nulls=0, quantiles={"0": 0.0}, edges=[0, 1], all=[990], kept=[300])},
        "provenance": {
            "source": {"name": "/home/alice/gen_voc", "rows": 1000, "sha256": "a" * 64},
            "scores": [{"score": "pcs", "version": 1, "labels": "voc", "model": "/home/alice/clip", "scales": (3, 4)}],
            "models": {"/home/alice/clip": {"weights_sha256": "b" * 64}},
            "labels": {"names": tuple(names), "has_background": True},
            "device": "cpu",
            "notes": [],
            "versions": {"sds-hf": "0.1.0"},
        },
        "metadata": metadata,
        "assets": ["assets/samples.png", "assets/scores.png"],
    }  # fmt: skip
    return Report(**(values | changes))
