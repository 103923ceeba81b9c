"""Score candidates with `Dataset.map`, look at the columns, keep the good rows.

python examples/quickstart.py                        # 40 demo scenes and the demo CLIP: runs offline
python examples/quickstart.py --data candidates      # your own, with the paper's CLIP
"""

import argparse

from datasets import Dataset, load_dataset

from sds_hf import ASF, PCS, Threshold, TopPerGroup, add_scores, select
from sds_hf.demo.dataset import demo_features, demo_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="what load_dataset takes, with the columns image, mask and classes")
    args = parser.parse_args()
    if args.data:
        candidates, pcs_score, asf_miou = load_dataset(args.data, split="train"), PCS(), ASF()
    else:
        candidates = Dataset.from_list(list(demo_rows(40)), features=demo_features())
        pcs_score, asf_miou = PCS(model="demo"), ASF(model="demo", reference="maskclip")

    one_by_one = candidates.map(pcs_score, batched=True, batch_size=32)  # a score is a function for `map`
    scored = add_scores(candidates, pcs_score, asf_miou)  # several at once: each row is decoded only once
    assert one_by_one["pcs"] == scored["pcs"]

    rules = [
        Threshold(column="clip_sim", above="q0.2"),  # a quantile; the paper takes 0.8
        TopPerGroup(column="asf_miou", by=("num_classes_present", "classes_present"), fraction=0.6),
    ]
    selection = select(scored, rules)
    for reason, count in selection.report.reasons.items():
        print(f"{count:5d} {reason}")
    good = selection.apply(candidates)
    print(f"{len(good)} of {len(candidates)} rows kept")


if __name__ == "__main__":
    main()
