"""Collect the artwork of the demo scenes from icon packages into `sds_hf/demo/artwork.json.gz`.

    npm install @iconify/json
    python examples/demo_clip/collect_artwork.py node_modules/@iconify/json/json

Every set is openly licensed; NOTICE names authors and licences. `drawings/` beside this script holds our own pictures
of things that emoji show rarely or never. The file is the same bytes on every run.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

SETS = [
    "noto",
    "noto-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "emojione",
    "fxemoji",
    "streamline-emojis",
    "twemoji",
    # One-coloured sets: shape without colour, for training only.
    "fluent-emoji-high-contrast",
    "emojione-monotone",
]
# Icons of further sets that look like pictures, for training only: what is drawn more than once is learnt as a shape.
ICONS = {
    "streamline-ultimate-color": {
        "bottle": "soft-drinks-bottle-1 water-bottle-glass",
        "bus": "bus-1",
        "car": "car-4 car-retro taxi adventure-car-truck-1",
        "chair": "office-chair",
        "motorbike": "scooter scooter-3",
        "person": "single-woman",
        "train": "railroad-metro",
        "tvmonitor": "desktop-computer-pc monitor vintage-tv-4 screen-1",
    },
    "streamline-plump-color": {
        "aeroplane": "airplane-enabled",
        "bicycle": "bicycle-bike",
        "boat": "sail-ship",
        "bus": "bus",
        "dog": "dog-1",
        "pottedplant": "potted-flower",
        "sofa": "sofa",
        "train": "high-speed-train-side",
        "tvmonitor": "computer-pc-desktop",
    },
    "streamline-cyber-color": {
        "aeroplane": "airplane",
        "bicycle": "bicycle-1",
        "bottle": "baby-milk-bottle",
        "bus": "bus-2",
        "car": "car-4 police-car-1",
        "cat": "cat-2",
        "dog": "dog-1",
        "train": "train-2",
    },
    "glyphs-poly": {
        "aeroplane": "plane plane-side",
        "bicycle": "bike",
        "boat": "canoe-1 canoe-2",
        "bus": "bus school-bus",
        "car": "car car-side race-car",
        "motorbike": "scooter scooter-side",
        "sofa": "sofa",
        "train": "train",
        "tvmonitor": "monitor tv-retro",
    },
    "icon-park": {
        "aeroplane": "airplane",
        "bicycle": "bike",
        "bird": "bird duck owl eagle",
        "boat": "sailboat-one ship",
        "bottle": "bottle-one bottle-two",
        "bus": "bus bus-two",
        "car": "car taxi",
        "cat": "cat",
        "chair": "chair",
        "cow": "cattle",
        "dog": "dog",
        "horse": "rocking-horse",
        "sofa": "sofa",
        "train": "train",
    },
}

# Concept -> names of emoji that show it. The first block are PASCAL VOC classes (no emoji shows a dining table:
# `drawings/` does).
NAMES = {
    "aeroplane": "airplane small-airplane",
    "bicycle": "bicycle",
    "bird": "bird bird-1 bird-2 eagle duck swan owl dove dove-of-peace parrot flamingo rooster chicken turkey goose "
    "black-bird penguin penguin-1 penguin-2",
    "boat": "sailboat speedboat motor-boat ferry canoe passenger-ship ship rowboat",
    "bottle": "baby-bottle sake sake-bottle-and-cup bottle-with-popping-cork lotion-bottle",
    "bus": "bus oncoming-bus minibus trolleybus",
    "car": "automobile oncoming-automobile sport-utility-vehicle taxi oncoming-taxi police-car oncoming-police-car "
    "racing-car race-car pickup-truck",
    "cat": "cat black-cat cat-face cat-side grinning-cat grinning-cat-face cat-with-wry-smile cat-face-with-wry-smile",
    "chair": "chair seat",
    "diningtable": "",
    "cow": "cow cow-face ox water-buffalo",
    "dog": "dog dog-face dog-side poodle guide-dog service-dog",
    "horse": "horse horse-face",
    "motorbike": "motorcycle motor-scooter",
    "person": "person man woman boy girl child old-man old-woman older-person man-1 woman-1 boy-1 girl-1 old-man-1 "
    "old-woman-1 person-standing man-standing woman-standing person-walking man-walking woman-walking "
    "man-walking-1 woman-walking-1 man-running man-running-1 woman-running woman-dancing woman-dancing-1 "
    "man-dancing construction-worker police-officer person-raising-hand person-shrugging student farmer cook "
    "mechanic astronaut man-mechanic-1 woman-cook-1 man-farmer-1 running walking dancer waitress",
    "pottedplant": "potted-plant",
    "sheep": "ewe ewe-1 ram sheep",
    "sofa": "couch-and-lamp",
    "train": "train locomotive steam-locomotive metro high-speed-train high-speed-train-bullet-nose bullet-train "
    "light-rail tram tram-car railway-car monorail",
    "tvmonitor": "television desktop-computer personal-computer",
    # things that are no VOC class but a background prompt of CLIP-ES
    "tree": "deciduous-tree evergreen-tree evergreen palm-tree christmas-tree",
    "house": "house house-with-garden house-building derelict-house",
    "building": "office-building hospital school department-store bank hotel factory",
    "mountain": "mountain snow-capped-mountain mount-fuji volcano",
    "cloud": "cloud cloud-1 cloud-with-rain cloud-with-rain-1 cloud-with-lightning",
    "rock": "rock",
    "sign": "stop-sign no-entry children-crossing construction warning no-bicycles no-pedestrians bus-stop",
    "keyboard": "keyboard wired-keyboard musical-keyboard",
    "helmet": "rescue-workers-helmet military-helmet",
    "railway": "railway-track",
    # other distractors
    "truck": "delivery-truck articulated-lorry fire-engine ambulance",
    "tractor": "tractor",
    "helicopter": "helicopter",
    "rocket": "rocket",
    "elephant": "elephant",
    "pig": "pig pig-face boar boar-1 pig-side",
    "goat": "goat",
    "bear": "bear bear-face panda panda-face koala",
    "lion": "lion lion-face tiger tiger-face tiger-side leopard",
    "wolf": "wolf wolf-face fox fox-face fox-face-1",
    "monkey": "monkey monkey-face gorilla",
    "rabbit": "rabbit rabbit-face bunny-side",
    "mouse": "mouse mouse-face mouse-side rat",
    "frog": "frog frog-face",
    "turtle": "turtle",
    "snake": "snake",
    "fish": "fish tropical-fish blowfish",
    "whale": "whale spouting-whale dolphin",
    "crab": "crab lobster fried-shrimp",
    "bed": "bed",
    "bathtub": "bathtub bath",
    "door": "door",
    "lamp": "light-bulb candle flashlight electric-torch",
    "clock": "alarm-clock mantelpiece-clock watch",
    "phone": "mobile-phone telephone",
    "camera": "camera camera-with-flash video-camera",
    "guitar": "guitar violin trumpet saxophone",
    "umbrella": "umbrella umbrella-with-rain-drops closed-umbrella beach-umbrella",
    "hat": "top-hat womans-hat billed-cap graduation-cap",
    "shoe": "running-shoe high-heeled-shoe mans-shoe athletic-shoe",
    "bag": "handbag briefcase backpack school-backpack luggage",
    "book": "open-book green-book blue-book books",
    "key": "key old-key",
    "cup": "hot-beverage hot-beverage-1 teacup-without-handle beer-mug wine-glass",
    "cake": "birthday-cake birthday-cake-1 shortcake shortcake-1 doughnut doughnut-1",
    "pizza": "pizza pizza-1 hamburger hamburger-1",
    "apple": "red-apple green-apple tangerine peach",
    "banana": "banana pineapple watermelon grapes",
    "mushroom": "mushroom",
    "flower": "sunflower sunflower-1 tulip rose hibiscus cherry-blossom blossom",
    "cactus": "cactus cactus-1",
    "ball": "soccer-ball basketball tennis tennis-1 baseball",
    "balloon": "balloon wrapped-gift wrapped-gift-1",
    "star": "star glowing-star crescent-moon sun-with-face sun",
}
# Pictures that show something else than their name says, or a whole scene in a frame.
EXCLUDED = {
    "streamline-emojis": "turkey ship",
    "fxemoji": "personal-computer desktop-computer sailboat speedboat ship rowboat mount-fuji construction",
    "emojione": "horse mountain snow-capped-mountain mount-fuji",
}
INK = "#3366cc"  # of one-coloured pictures; scenes change hues
SKIN_TONES = ["", "-light-skin-tone", "-medium-skin-tone", "-dark-skin-tone"]


def collect(folder: Path, set_name: str, concepts: dict[str, str]) -> list[dict]:
    """The pictures of one set: concept -> names, looked up with aliases and without dashes ("doveofpeace")."""
    data = json.loads((folder / f"{set_name}.json").read_text(encoding="utf-8"))
    icons, aliases = data["icons"], data.get("aliases", {})
    by_letters = {name.replace("-", ""): name for name in icons}
    excluded = EXCLUDED.get(set_name, "").split()
    found: dict[str, dict] = {}
    for concept, names in concepts.items():
        for name in (name for name in names.split() if name not in excluded):
            for tone in SKIN_TONES if concept == "person" else [""]:
                key = name + tone
                key = (
                    key if key in icons else aliases.get(key, {}).get("parent") or by_letters.get(key.replace("-", ""))
                )
                icon = icons.get(key)
                if icon is None or any(entry["body"] == icon["body"] for entry in found.values()):
                    continue
                size = [icon.get("width", data.get("width", 16)), icon.get("height", data.get("height", 16))]
                body = icon["body"].replace("currentColor", INK)
                view = [icon.get("left", 0), icon.get("top", 0), *size]
                found[key] = {"set": set_name, "concept": concept, "name": key, "view": view, "body": body}
    return list(found.values())


def own_drawings() -> list[dict]:
    entries = []
    for path in sorted((Path(__file__).parent / "drawings").glob("*.svg")):
        body = path.read_text(encoding="utf-8").split(">", 1)[1].rsplit("<", 1)[0].strip()
        concept = path.stem.split("-")[0]
        entries.append({"set": "sds-hf", "concept": concept, "name": path.stem, "view": [0, 0, 64, 64], "body": body})
    return entries


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(__file__).parents[2] / "sds_hf" / "demo" / "artwork.json.gz"
    chosen = {**dict.fromkeys(SETS, NAMES), **ICONS}
    entries = [entry for name, concepts in chosen.items() for entry in collect(folder, name, concepts)] + own_drawings()
    text = "[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries) + "\n]\n"
    out.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    for set_name, count in Counter(entry["set"] for entry in entries).items():
        print(f"{set_name:28s} {count:4d} pictures")
    print(f"{len(entries)} pictures, {out.stat().st_size / 1e6:.2f} MB -> {out}")


if __name__ == "__main__":
    main()
