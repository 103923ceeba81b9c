"""Train the tiny CLIP that ships with the package, on scenes of the demo's artwork.

    python examples/demo_clip/train.py                    # about 100 minutes on 2 cores with bf16
    python examples/demo_clip/train.py                    # again: continues from its checkpoint
    python examples/demo_clip/train.py --samples 900000   # longer, from the same checkpoint
    python examples/demo_clip/train.py --start sds_hf/demo/clip --early 0 --lr 2e-4 --muon-lr 0.0016 --device cuda

Writes weights (fp16), tokenizer and preprocessor settings to `--out`, then prints the table of `evaluate.py` and puts
it into the model's own card. On Linux `MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592` saves much
system time.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import disable_progress_bars
from evaluate import report
from objectives import NUM_OBJECTS, Batch, loss
from pool import scene_pool
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTokenizer
from vocabulary import MAX_TOKENS, train_tokenizer

SIDE, PATCH = 160, 16  # 10x10 tokens: grids of 8, 16 and 32 tiles a side cut through tokens, as they do at 224 pixels
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SHUFFLE_GRIDS = (4, 5, 8, 10, 16, 20, 32)
MASTER, CHECKPOINT = "master.safetensors", "checkpoint.pt"


def new_model(tokenizer) -> CLIPModel:
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    text = {"vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3,
            "num_attention_heads": 4, "max_position_embeddings": MAX_TOKENS, "hidden_act": "gelu", **ids}  # fmt: skip
    vision = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 3,
              "image_size": SIDE, "patch_size": PATCH, "hidden_act": "gelu"}  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    torch.manual_seed(0)
    model = CLIPModel._from_config(config, attn_implementation="eager")  # faster than fused attention on a CPU
    with torch.no_grad():
        model.logit_scale.fill_(np.log(14))
        model.text_model.embeddings.token_embedding.weight.normal_(std=0.2)
    return model


class Muon:
    """Momentum whose updates of matrices are orthogonalised (Jordan et al. 2024), all of a shape at once."""

    def __init__(self, matrices: list[Tensor], lr: float) -> None:
        self.lr, self.momentum = lr, 0.95
        self.groups = [[m for m in matrices if m.shape == shape] for shape in dict.fromkeys(m.shape for m in matrices)]
        self.buffers = [torch.stack([torch.zeros_like(m) for m in group]) for group in self.groups]

    @torch.no_grad()
    def step(self, factor: float) -> None:
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            gradient = torch.stack([m.grad for m in group])
            buffer.lerp_(gradient, 1 - self.momentum)
            update = self.orthogonal(gradient.lerp(buffer, self.momentum))  # Nesterov
            rate = self.lr * factor * max(1, update.shape[1] / update.shape[2]) ** 0.5
            for matrix, direction in zip(group, update, strict=True):
                matrix.mul_(1 - self.lr * factor * 0.01).add_(direction, alpha=-rate)

    @staticmethod
    def orthogonal(x: Tensor) -> Tensor:
        """Five Newton-Schulz steps towards the nearest orthogonal matrices, (n, rows, columns)."""
        wide = x.shape[1] <= x.shape[2]
        x = (x if wide else x.mT).bfloat16()
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(5):
            gram = x @ x.mT
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return (x if wide else x.mT).float()


class Optimizer:
    """Muon for the matrices of the blocks, AdamW for the rest; steps on fp32 copies of the bf16 parameters."""

    def __init__(self, model: CLIPModel, lr: float, muon_lr: float) -> None:
        self.model, self.lr = model, lr
        self.master = {name: p.detach().float().clone() for name, p in model.named_parameters()}
        matrices = [p for name, p in self.master.items() if p.ndim == 2 and ".layers." in name]
        others = [p for name, p in self.master.items() if not (p.ndim == 2 and ".layers." in name)]
        self.muon = Muon(matrices, muon_lr)
        self.adam = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)

    def step(self, factor: float) -> None:
        for name, p in self.model.named_parameters():
            self.master[name].grad = p.grad.float()
            p.grad = None
        torch.nn.utils.clip_grad_norm_(self.master.values(), 1.0)
        self.muon.step(factor)
        self.adam.param_groups[0]["lr"] = self.lr * factor
        self.adam.step()
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(self.master[name])

    def save(self, folder: Path, seen: int) -> None:
        save_file(self.master, folder / (MASTER + ".part"))
        state = {"muon": self.muon.buffers, "adam": self.adam.state_dict(), "seen": seen}
        torch.save(state, folder / (CHECKPOINT + ".part"))
        for name in (MASTER, CHECKPOINT):
            (folder / (name + ".part")).rename(folder / name)

    def load(self, folder: Path) -> int:
        with torch.no_grad():
            for name, value in load_file(folder / MASTER).items():
                self.master[name].copy_(value)
            for name, p in self.model.named_parameters():
                p.copy_(self.master[name])
        state = torch.load(folder / CHECKPOINT, weights_only=True, map_location=self.model.device)
        self.muon.buffers = state["muon"]
        self.adam.load_state_dict(state["adam"])
        return state["seen"]


def augment(images: Tensor, concepts: Tensor, rng: np.random.Generator, zoomed: float) -> tuple[Tensor, Tensor]:
    """Flips, light, grey, and a closer look at one object of some images.

    Returns:
        (B, 3, side, side) float in 0 to 1, (B, side, side) ids.
    """
    x = images.permute(0, 3, 1, 2).float() / 255
    for row in np.flatnonzero(rng.random(len(x)) < 0.5):
        x[row], concepts[row] = x[row].flip(-1), concepts[row].flip(-1)
    chosen = np.flatnonzero(rng.random(len(x)) < zoomed)
    if len(chosen):
        theta = torch.stack([closer_look(concepts[row], rng) for row in chosen])
        grid = F.affine_grid(theta, [len(chosen), 1, SIDE, SIDE], align_corners=False)
        x[chosen] = F.grid_sample(x[chosen], grid, align_corners=False, padding_mode="reflection")
        ids = concepts[chosen, None].float()
        ids = F.grid_sample(ids, grid, mode="nearest", align_corners=False, padding_mode="reflection")
        concepts[chosen] = ids[:, 0].to(concepts.dtype)
    batch = len(x)
    x = x * (1 + 0.3 * (torch.rand(batch, 1, 1, 1) - 0.5))
    x += 0.2 * (torch.rand(batch, 1, 1, 1) - 0.5) + 0.08 * (torch.rand(batch, 3, 1, 1) - 0.5)
    for row in np.flatnonzero(rng.random(batch) < 0.08):
        x[row] = x[row].mean(0, keepdim=True)
    return x.clamp_(0, 1), concepts


def closer_look(concepts: Tensor, rng: np.random.Generator) -> Tensor:
    """An affine map (2, 3) onto a window around one object, somewhat turned; onto the whole image if there is none."""
    found = concepts.numpy()
    objects = [concept for concept in np.unique(found) if concept < NUM_OBJECTS]
    turn = torch.eye(2) + 0.1 * torch.randn(2, 2)
    if not objects:
        return torch.cat([turn, torch.zeros(2, 1)], 1)
    y, x = np.nonzero(found == rng.choice(objects))
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()]) + 1
    size = min(1.0, (high - low).max() * rng.uniform(1.1, 2.2) / SIDE)
    middle = (low + high) / SIDE - 1 + rng.uniform(-0.2, 0.2, 2) * size
    middle = np.clip(middle, size - 1, 1 - size)
    return torch.cat([turn * size, torch.tensor(middle, dtype=torch.float32)[:, None]], 1)


def shuffle(x: Tensor, rng: np.random.Generator) -> Tensor:
    """One image (3, side, side) with its tiles in random order."""
    n = int(rng.choice(SHUFFLE_GRIDS))
    tile = SIDE // n
    tiles = x.view(3, n, tile, n, tile).permute(1, 3, 0, 2, 4).reshape(n * n, 3, tile, tile)
    tiles = tiles[torch.from_numpy(rng.permutation(n * n))].view(n, n, 3, tile, tile)
    return tiles.permute(2, 0, 3, 1, 4).reshape(3, SIDE, SIDE)


def make_batch(
    images: np.ndarray, concepts: np.ndarray, rng: np.random.Generator, size: int, shuffled: float, zoomed: float
) -> Batch:
    """A random batch; `shuffled` is the share of images with shuffled tiles, `zoomed` that of objects seen closer."""
    rows = np.sort(rng.choice(len(images), size, replace=False))
    x, ids = augment(torch.from_numpy(images[rows]), torch.from_numpy(concepts[rows]), rng, zoomed)
    torn = torch.from_numpy(rng.random(size) < shuffled)
    for row in torn.nonzero()[:, 0].tolist():
        x[row] = shuffle(x[row], rng)
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return Batch(x.bfloat16(), ids, torn)


def tokenizer_of(folder: Path, start: Path | None) -> CLIPTokenizer:
    """The tokenizer in a folder, put there first: the model's to begin with, else a new one.

    A new one is trained once only, as pairs that are as frequent come in another order each time.
    """
    if not folder.exists() and start is None:
        return train_tokenizer(folder)
    if not folder.exists():
        AutoTokenizer.from_pretrained(start).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def train(args: argparse.Namespace) -> tuple[CLIPModel, int]:
    begun = time.time()
    tokenizer = tokenizer_of(args.work / "tokenizer", args.start)
    images, concepts = scene_pool(args.work, args.scenes, SIDE, args.threads)
    torch.set_num_threads(args.threads)
    model = new_model(tokenizer)
    if args.start:
        model.load_state_dict(load_file(args.start / "model.safetensors"))
    model = model.bfloat16().to(args.device)
    optimizer = Optimizer(model, args.lr, args.muon_lr)
    seen = optimizer.load(args.work) if (args.work / CHECKPOINT).exists() else 0
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {seen} of {args.samples} samples seen",
        flush=True,
    )
    rng, sums, started, saved, shown = np.random.default_rng([1, seen]), {}, time.time(), time.time(), seen
    torch.manual_seed(seen)
    while (progress := max(seen / args.samples, (time.time() - begun) / (60 * args.minutes))) < 1:
        late = progress >= args.early  # first what things are called, then what is present
        batch = make_batch(images, concepts, rng, args.batch, 0.15 if late else 0.0, 0.15 if late else 0.5)
        value, parts = loss(model, tokenizer, rng, batch.to(args.device), presence=late)
        value.backward()
        optimizer.step(min(1, (progress + 1e-4) / 0.02) * 0.5 * (1 + math.cos(math.pi * progress)))
        seen += args.batch
        for name, part in parts.items():
            if part == part:
                sums.setdefault(name, []).append(part)
        if seen // 10_000 > (seen - args.batch) // 10_000:
            rate = (seen - shown) / (time.time() - started)
            shown, started = seen, time.time()
            means = "  ".join(f"{name} {np.mean(values):.3f}" for name, values in sums.items())
            print(f"{seen:8d}  {rate:4.0f}/s  {means}", flush=True)
            sums = {}
        if time.time() - saved > 300:
            optimizer.save(args.work, seen)
            saved = time.time()
    optimizer.save(args.work, seen)
    print(f"{seen} of {args.samples} samples seen", flush=True)
    model = model.float()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(optimizer.master[name])
    return model, seen


def export(model: CLIPModel, tokenizer_folder: Path, out: Path) -> None:
    """Weights in fp16, tokenizer and the settings of the preprocessor."""
    model.half().cpu().save_pretrained(out)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(out)
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--samples", type=int, default=620_000, help="images to see in all; the learning rate ends there"
    )
    parser.add_argument("--scenes", type=int, default=100_000, help="different scenes to draw")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-3, help="of AdamW, at its highest")
    parser.add_argument("--muon-lr", type=float, default=0.008, help="of Muon, at its highest")
    parser.add_argument("--early", type=float, default=0.55, help="part of the training that only learns names")
    parser.add_argument("--count", type=int, default=400, help="scenes of each kind to measure it on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="where to train; batches are made on the CPU")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="end after so long if that is sooner; the learning rate too"
    )
    parser.add_argument("--start", type=Path, help="folder of a model to begin with, if there is no checkpoint")
    parser.add_argument("--work", type=Path, default=Path("demo-clip-training"), help="scenes and checkpoint")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "sds_hf" / "demo" / "clip")
    args = parser.parse_args()
    disable_progress_bars()
    args.work.mkdir(parents=True, exist_ok=True)
    model, seen = train(args)
    export(model, args.work / "tokenizer", args.out)
    print(report(args.out, args.count, {"samples": seen, "scenes": args.scenes}))


if __name__ == "__main__":
    main()
