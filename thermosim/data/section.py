"""The [data] section of a case: its keys, types, ranges and defaults, and which source uses which key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GENERATED", "GENERATED_ROWS", "OWN_KEYS", "PACKAGED", "TOKENS", "DataSection"]

GENERATED = ("gaussian", "mixture", "ring", "teacher", "linear")
TOKENS = ("python-topics", "modular-addition")  # whose rows are tokens
PACKAGED = ("digits", "mnist", "fashion-mnist")
GENERATED_ROWS = 256  # rows of a generated set when the case does not say

# keys that only some sources use; "file" stands for the user's own file
OWN_KEYS: dict[str, tuple[str, ...]] = {
    "dataset": ("file",),
    "targets": ("file",),
    "matrix": ("linear",),
    "noise": ("linear",),
    "fresh": ("linear",),
    "mean": ("gaussian", "linear"),
    "covariance": ("gaussian", "linear"),
    "deviation": ("gaussian", "linear", "mixture", "ring"),
    "centers": ("mixture",),
    "weights": ("mixture",),
    "radius": ("ring",),
    "teacher": ("teacher",),
    "digits": (*PACKAGED, "file"),
    "shrink": (*PACKAGED, "file"),
    "folder": ("mnist", "fashion-mnist"),
    "stride": ("python-topics", "file"),
    "modulus": ("modular-addition",),
}

Numbers = Annotated[Any, Field(json_schema_extra={"type": ["number", "array"]})]
Rows = Annotated[Any, Field(json_schema_extra={"type": "array"})]


class DataSection(BaseModel):
    """What the model learns from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: (
        Literal[
            "gaussian",
            "mixture",
            "ring",
            "teacher",
            "linear",
            "digits",
            "mnist",
            "fashion-mnist",
            "python-topics",
            "modular-addition",
        ]
        | None
    ) = Field(None, description="a generator, a packaged data set, or a source of tokens")
    file: str | None = Field(
        None,
        description="your own file, next to the case: .npy; .npz; .csv, .tsv or .txt; .parquet; .nc; .h5; an IDX "
        "file such as train-images-idx3-ubyte, also .gz; or a folder of IDX files",
    )
    dataset: str | None = Field(
        None, description="name of the dataset in an .npz, .nc or .h5 file; default the only one, in .npz `inputs`"
    )
    targets: Any = Field(
        None,
        description="what a loss is to predict: a column or several of the file (-1 the last), by number or name, a "
        "file of its own, or another array of an .npz, .nc or .h5 file; default the classes, or the last columns",
        json_schema_extra={"type": ["integer", "array", "string"]},
    )
    matrix: Rows = Field(None, description="targets of the linear source are matrix z + noise, a row for each target")
    noise: Numbers = Field(
        None, description="covariance of the noise of these targets: a number, its diagonal, or a matrix; default 0"
    )
    fresh: bool = Field(False, description="whether every minibatch is drawn anew from the linear source, never kept")
    test: Any = Field(
        None,
        description="rows to test a loss with, which no replica learns from: a share of the rows, a number of them (of "
        "a generated source drawn besides), or a file of their own",
        json_schema_extra={"type": ["number", "string"]},
    )
    rows: int | None = Field(
        None, ge=1, le=10**9, description=f"rows of a data set; default all, or {GENERATED_ROWS} generated ones"
    )
    sets: int = Field(1, ge=1, le=10**6, description="number of data sets, drawn independently of each other")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the data, apart from ensemble.seed")
    mean: Numbers = Field(None, description="mean of the Gaussian, or of inputs, a number or a vector; default 0")
    covariance: Numbers = Field(
        None, description="covariance of the Gaussian, or of inputs: a number, its diagonal, or a matrix"
    )
    deviation: Numbers = Field(
        None,
        description="standard deviation: of the Gaussian, a number or a vector; about the centers of a mixture, a "
        "number or one per center; about the ring, a number; default 1, of the ring 0.1",
    )
    centers: Rows = Field(None, description="centers of the mixture, a vector each")
    weights: Rows = Field(None, description="relative weights of the centers; default equal")
    radius: float | None = Field(None, gt=0, allow_inf_nan=False, description="radius of the ring; default 1")
    teacher: dict[str, Any] = Field({}, description="parameters of the model at which the rows are exact samples")
    digits: list[int] | None = Field(
        None, description="keep only these classes of a packaged set, IDX images, or .npz with `targets`"
    )
    shrink: Literal[2, 4, 7] | None = Field(None, description="average squares of this many pixels a side")
    encoding: Literal["real", "standard", "unit", "binary", "spin", "characters"] = Field(
        "real",
        description="real: as it is; standard: each component less its mean, over its deviation; unit: all alike "
        "to [0, 1]; binary: 0 or 1; spin: -1 or 1; characters: of a text, rows are windows of the "
        "numbers of its characters",
    )
    threshold: float = Field(
        0.5, ge=0, lt=1, description="on the unit scale, what lies above it is 1 in the binary and spin encodings"
    )
    stride: int | None = Field(
        None,
        ge=1,
        description="characters from the start of one window of a text to the next; default: each is predicted once",
    )
    modulus: int | None = Field(
        None, ge=2, le=4096, description="p of the rows a, b, =, a + b mod p of modular addition"
    )
    folder: str | None = Field(
        None, description="where scripts/get_data put its files; default $THERMOSIM_DATA, or thermosim in the data home"
    )
