"""What a score is: frozen settings that `Dataset.map` can call. Models are never part of one."""

import inspect
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast, get_args

import numpy as np
import pyarrow as pa

from sds_hf.clip.checkpoints import DEFAULT_MODEL, model_files
from sds_hf.clip.kinds import DTypeName
from sds_hf.data.labels import LabelSpace
from sds_hf.schema import settings
from sds_hf.scores.base.batches import Column, MapBatch, all_columns, columns_read, common_labels, map_state, placed
from sds_hf.scores.base.presets import field_names, preset
from sds_hf.scores.base.rows import Rows, cells_of, in_parts, read_parts, read_rows

if TYPE_CHECKING:
    from sds_hf.clip.encoder import Encoder

REGISTRY: dict[str, type["Score"]] = {}
ERROR = "sds_hf_error"  # a column that lasts as long as `add_scores`
Values = Sequence[Any]  # numbers, lists or structs, as the column's type asks; None where a row has none
Cost = Literal["light", "forward", "forwards", "dense"]  # no model, one encoder pass, several, a large one
COSTS: tuple[Cost, ...] = get_args(Cost)
IsOpen = Callable[[np.ndarray, np.ndarray], np.ndarray]


@settings
class Score(ABC):
    """One or more columns computed from the image, the mask and the classes of a row.

    A subclass in `sds_hf/scores/` (or anywhere: importing it registers it) names what it writes and needs, and computes
    it for decoded rows; `ds.map(score, batched=True)`, `add_scores` and score tables do the rest.

    Args:
        labels: label space of the masks; `"auto"` takes it from the ClassLabel names of the dataset's `classes`.

    Examples:
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> @settings
        ... class Light(Score):
        ...     name, source = "light", "an example"
        ...     columns, needs = {"light": pa.float32()}, frozenset({"image"})
        ...     def compute(self, rows):
        ...         return {"light": [np.asarray(image).mean() for image in rows.images]}
        ...
        >>> add_scores(candidates, Light()).features["light"]
        Value('float32')
    """

    name: ClassVar[str]  # in recipes and on the command line
    columns: ClassVar[dict[str, pa.DataType]]
    optional_columns: ClassVar[dict[str, pa.DataType]] = {}  # written with some settings only
    needs: ClassVar[frozenset[str]]  # columns read with the default settings
    cost: ClassVar[Cost] = "light"
    version: ClassVar[int] = 1  # raise it whenever the same settings would give other numbers
    source: ClassVar[str]
    citation: ClassVar[str] = ""  # BibTeX of what a card asks its readers to cite
    settings_of: ClassVar[str] = ""  # another score, whose settings in a preset are this one's too
    partial_columns: ClassVar[dict[str, pa.DataType]] = {}  # that only `compute_open` writes
    defining: ClassVar[tuple[str, ...]] = ()  # settings by which numbers mean another thing: no bound fits both
    leads: ClassVar[bool] = False  # whether its encoder pass serves other scores too, so that it goes first
    whole_set: ClassVar[bool] = False  # whether it is fitted to the whole set first, with some settings at least
    reference_sets: ClassVar[tuple[str, ...]] = ()  # names of the sets that its `fit` compares rows with
    later_settings: ClassVar[frozenset[str]] = frozenset()  # no part of the identity at their defaults

    labels: str = "auto"

    def __init_subclass__(cls) -> None:
        if not inspect.isabstract(cls) and "name" in cls.__dict__:
            holder = REGISTRY.setdefault(cls.name, cls)
            if (holder.__module__, holder.__qualname__) != (cls.__module__, cls.__qualname__):
                raise TypeError(f"two scores are called {cls.name!r}: {holder.__module__} and {cls.__module__}")
            REGISTRY[cls.name] = cls

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """The score with the settings of a recipe of the package.

        Args:
            name: `paper`, `authors` and so on, for the recipe `sds-paper`, `sds-authors` and so on of the package.
            **overrides: settings that take precedence.

        Raises:
            ValueError: if there is no such preset, or a setting makes no sense.
        """
        return cls(**{**cls.preset_settings(name), **overrides})

    @classmethod
    def preset_settings(cls, name: str) -> dict[str, Any]:
        """The settings of a preset, see `preset`; none if it says nothing of this score."""
        settings = preset(name)["scores"].get(cls.settings_of or cls.name, {})
        return {key: value for key, value in settings.items() if key in field_names(cls)}

    @property
    def reads(self) -> frozenset[str]:
        """Columns read with these settings."""
        return self.needs

    @property
    def mask_columns(self) -> frozenset[str]:
        """Those of the columns read that hold masks besides `mask`."""
        return frozenset()

    @property
    def writes(self) -> dict[str, pa.DataType]:
        """Columns written with these settings."""
        return self.columns

    @property
    def is_fitted(self) -> bool:
        """Whether rows can be scored."""
        return True

    def models(self) -> dict[str, Any]:
        """What a manifest says of the models that are asked, by name."""
        return {}

    def fit_summary(self) -> dict[str, Any] | None:
        """What a manifest says of the reference set that rows are compared with, if they are."""
        return None

    def notes(self) -> list[str]:
        """What is worth knowing before these settings' numbers are trusted, a sentence each."""
        return []

    @abstractmethod
    def compute(self, rows: Rows) -> dict[str, Values]:
        """Every column's values for rows that could be read; null where a row has none."""

    def compute_open(self, rows: Rows, column: str, is_open: IsOpen) -> tuple[dict[str, Values], dict[str, np.ndarray]]:
        """Compute a column of rows no further than is asked for; a score that can stop early says how.

        `is_open` says of the least and the most that values can be which rows go on; all are arrays (rows,). Returned
        are values by column, and by column which rows have none yet.
        """
        return self.compute(rows), {}

    def work(self, table: pa.Table) -> dict[str, tuple[int, int]]:
        """What was done for the rows of a partial table, and what all would have taken, by what is counted."""
        return {}

    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON: the version, and settings with nothing left to be resolved.

        Raises:
            ValueError: if something cannot be resolved, e.g. a model that cannot be had.
        """
        defaults = {field.name: field.default for field in fields(cast(Any, self)) if field.name in self.later_settings}
        values = {name: v for name, v in self.values().items() if name not in defaults or v != defaults[name]}
        return {"score": self.name, "version": self.version, **values}

    def values(self) -> dict[str, Any]:
        """The settings as given."""
        return asdict(cast(Any, self))

    def __call__(self, batch: Mapping[str, Any] | None = None, *extra: Any, **changes: Any) -> Any:
        """The new columns for a batch of `Dataset.map`, see `score_batch`; or the score with other settings.

        Args:
            batch: what `map` hands over; None for the score with other settings, e.g. `pcs_score(model="demo")`.
            *extra: indices and rank, as `map` adds them.
            **changes: settings.

        Raises:
            SettingsError: if a setting makes no sense.
            TypeError: if both a batch and settings are given, or the batch is no batch.
        """
        if batch is None:
            return replace(cast(Any, self), **changes)
        if changes or (not isinstance(batch, Mapping) and hasattr(batch, "features")):
            raise TypeError(
                f"a score is called by map: dataset.map({self.name}_score, batched=True), or "
                f"add_scores(dataset, score); settings are given before, e.g. {type(self).__name__}(model=...)"
            )
        return score_batch((self,), batch, *extra)

    def __reduce__(self) -> tuple[Any, ...]:
        # `datasets` fingerprints and ships a score by its pickle: what decides the numbers, in a few hundred bytes.
        try:
            identity = json.dumps(self.identity(), sort_keys=True)
            return _rebuild, (type(self), identity, *filter(None, [map_state(identity, columns_read((self,)))]))
        except Exception as error:
            # `datasets` would swallow this with a warning of its own: fail at the call that follows, and never take
            # anything from the cache before.
            object.__setattr__(self, "_unresolved", error)
            return _unresolved, (type(self), self.values(), str(error), uuid.uuid4().hex)


def _unresolved(cls: type[Score], values: Mapping[str, Any], error: str, unique: str) -> Score:
    score = cls(**values)
    object.__setattr__(score, "_unresolved", ValueError(error))
    return score


def _rebuild(cls: type[Score], identity: str, state: str = "") -> Score:
    names = field_names(cls)
    return cls(**{key: value for key, value in json.loads(identity).items() if key in names})


@settings
class ClipScore(Score):
    """A score that asks CLIP.

    Args:
        labels: label space of the masks; `"auto"` takes it from the ClassLabel names of the dataset's `classes`.
        model: a Hub id (with `@revision` if wanted), a local folder, or `"demo"`, the tiny CLIP of this package.
        dtype: `"auto"` is bf16 on CUDA and on CPUs that have it, else fp32.

    Examples:
        >>> import pyarrow as pa
        >>> from sds_hf.scores.base import encoding
        >>> @settings
        ... class Alike(ClipScore):
        ...     name, source = "alike", "an example"
        ...     columns, needs = {"alike": pa.float32()}, frozenset({"image"})
        ...     def compute(self, rows):
        ...         encoder = self.encoder()
        ...         images = encoding.images(rows, encoder, encoding.View())
        ...         return {"alike": (images @ encoding.texts(rows, encoder)[0]).tolist()}
        ...
        >>> add_scores(candidates, Alike(model="demo")).features["alike"]
        Value('float32')
    """

    cost: ClassVar[Cost] = "forward"

    model: str = DEFAULT_MODEL
    dtype: DTypeName = "auto"

    @property
    def asks_clip(self) -> bool:
        """Whether these settings need the model."""
        return True

    @property
    def asks_model(self) -> bool:
        """Whether these settings need any model."""
        return self.asks_clip

    def identity(self) -> dict[str, Any]:
        """See `Score.identity`; the digest stands for weights, tokenizer and preprocessing."""
        from sds_hf.clip.device import current_device, dtype_name, resolve_dtype

        identity = super().identity()
        if self.asks_model:
            identity["dtype"] = dtype_name(resolve_dtype(self.dtype, current_device()))
        else:
            del identity["dtype"]
        if self.asks_clip:
            identity["model_digest"] = model_files(self.model).digest
        else:
            del identity["model"]
        return identity

    def models(self) -> dict[str, Any]:
        """See `Score.models`; no weights are loaded for it."""
        from sds_hf.clip.encoder import vision_settings

        if not self.asks_clip:
            return {}
        checkpoint = model_files(self.model)
        digests = {"weights_sha256": checkpoint.weights_sha256, "digest": checkpoint.digest}
        return {self.model: {**digests, "preprocessing": asdict(vision_settings(checkpoint).preprocessing)}}

    def encoder(self) -> "Encoder":
        """The model on this process's device, loaded once."""
        from sds_hf.clip.device import current_device, resolve_dtype
        from sds_hf.clip.encoder import load

        device = current_device()
        return load(self.model, device, resolve_dtype(self.dtype, device))


def score_batch(
    scores: Sequence[Score],
    batch: Mapping[str, Any],
    *extra: Any,
    labels: LabelSpace | None = None,
    with_errors: bool = False,
) -> Any:
    """Compute scores for a batch of `map`, decoding each row once.

    Args:
        scores: all of one label space.
        batch: what `map` hands over, batched or a single row.
        *extra: indices and rank, as `map` adds them; the rank chooses the GPU.
        labels: label space, if it is known better than from the batch.
        with_errors: whether to add a column `ERROR` that says what is wrong with rows, in place of a warning.

    Returns:
        The new columns only; where `map` hands over tables, these with them.
    """
    from sds_hf.clip.device import limit_threads_in_worker, use_rank

    for score in scores:
        if unresolved := getattr(score, "_unresolved", None):
            raise unresolved
    limit_threads_in_worker()
    mapped = MapBatch(batch, columns_read(scores))
    if not mapped.single:  # a single row's last argument may be its index
        use_rank(extra)
    labels = labels or mapped.labels(common_labels(scores))
    columns, errors = score_cells(scores, mapped.cells, labels)
    if with_errors:
        columns[ERROR] = Column([errors.get(position) for position in range(mapped.rows)], pa.string())
    else:
        mapped.report(errors, json.dumps(scores[0].identity(), sort_keys=True) if errors else "")
    return mapped.output(columns)


def score_cells(
    scores: Sequence[Score], cells: Mapping[str, Sequence[Any]], labels: LabelSpace
) -> tuple[dict[str, Column], dict[int, str]]:
    """The columns for raw cells, null for rows that could not be scored, and what is wrong with these, by position."""
    columns = {name: Column([], dtype) for name, dtype in all_columns(scores).items()}
    errors: dict[int, str] = {}
    for part in read_parts(cells):
        part_columns, part_errors = score_rows(scores, read_cells(scores, cells_of(cells, part), labels))
        errors |= {part.start + position: error for position, error in part_errors.items()}
        for name, column in columns.items():
            column += part_columns[name]
    return columns, errors


def read_cells(scores: Sequence[Score], cells: Mapping[str, Sequence[Any]], labels: LabelSpace) -> Rows:
    """Decode what the scores need of raw cells; see `read_rows`."""
    masks = {name for score in scores for name in score.mask_columns}
    return read_rows(cells, {need for score in scores for need in score.reads}, labels, masks)


def score_rows(scores: Sequence[Score], rows: Rows) -> tuple[dict[str, Column], dict[int, str]]:
    """Compute scores for what `read_cells` returns; see `score_cells`."""

    def compute(part: Rows) -> dict[str, list[Any]]:
        return {name: list(values) for score in in_turn(scores) for name, values in score.compute(part).items()}

    computed, too_large = in_parts(compute, rows, all_columns(scores), repr(scores)) if len(rows) else ({}, {})
    return placed(rows, computed, too_large, all_columns(scores))


def in_turn(scores: Sequence[Score]) -> list[Score]:
    """Scores in the order they are computed in: the largest passes first, which leave others what they need."""
    return sorted(scores, key=lambda score: (score.leads, COSTS.index(score.cost)), reverse=True)
