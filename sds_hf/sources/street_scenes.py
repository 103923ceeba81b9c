"""Street-scene classes of Open Images that Meletis et al. (ITSC 2019) train with, by MID."""

APART = {
    "/m/0199g": "bicycle",
    "/m/01bjv": "bus",
    "/m/0k4j": "car",
    "/m/04_sv": "motorcycle",
    "/m/07jdr": "train",
    "/m/07r04": "truck",
    "/m/01g317": "person",
    "/m/04yx4": "man",
    "/m/03bt1vf": "woman",
    "/m/01bl7v": "boy",
    "/m/05r655": "girl",
    "/m/015qff": "traffic light",
    "/m/01mqdt": "traffic sign",
    "/m/02pv19": "stop sign",
}
MERGED = {"man": "person", "woman": "person", "boy": "person", "girl": "person", "stop sign": "traffic sign"}
CHOICES = {
    "street-scenes": {mid: MERGED.get(name, name) for mid, name in APART.items()},
    "street-scenes-14": APART,
}
