"""Training scenes, drawn once into two files and then held in memory (102 kB a scene)."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from sds_hf.demo.artwork import HELD_OUT_SET, by_concept, sets
from sds_hf.demo.scenes import CLASSES, choose_objects, draw_scene

TRAIN_SETS = tuple(name for name in sets() if name != HELD_OUT_SET)
CHUNK = 500
SEED = 20_000_000  # far from the seeds of demo and evaluation scenes


def scene_pool(folder: Path, count: int, side: int, workers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, side, side, 3) and concept maps (count, side, side), uint8; drawn on the first call."""
    images, concepts = folder / f"images-{side}-{count}.npy", folder / f"concepts-{side}-{count}.npy"
    if not concepts.exists():
        folder.mkdir(parents=True, exist_ok=True)
        parts = [path.with_suffix(".part") for path in (images, concepts)]
        np.lib.format.open_memmap(parts[0], "w+", np.uint8, (count, side, side, 3)).flush()
        np.lib.format.open_memmap(parts[1], "w+", np.uint8, (count, side, side)).flush()
        with ProcessPoolExecutor(workers) as pool:
            jobs = [
                pool.submit(_draw, *parts, start, min(start + CHUNK, count), side) for start in range(0, count, CHUNK)
            ]
            for done, job in enumerate(jobs, 1):
                job.result()
                if done % 20 == 0:
                    print(f"drawn {min(done * CHUNK, count)} of {count} scenes", flush=True)
        parts[0].rename(images)
        parts[1].rename(concepts)
    return np.load(images), np.load(concepts)


def _draw(images_file: Path, concepts_file: Path, start: int, stop: int, side: int) -> None:
    images, concepts = np.load(images_file, mmap_mode="r+"), np.load(concepts_file, mmap_mode="r+")
    art = by_concept(TRAIN_SETS)
    # Classes that look more different are shown more often: there are 7 potted plants, but 500 persons.
    weights = np.array([sum(len(group) for group in art[name].values()) for name in CLASSES]) ** 0.3
    for index in range(start, stop):
        rng = np.random.default_rng([SEED, index])
        classes = choose_objects(rng, CLASSES, weights / weights.sum())
        kind = rng.random()
        classes = [] if kind < 0.06 else classes[:1] if kind < 0.35 else classes
        scene = draw_scene(rng, side, TRAIN_SETS, classes=classes, color=rng.uniform(0.3, 1.3))
        images[index], concepts[index] = scene.image, scene.concepts
