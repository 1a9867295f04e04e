"""How alike two sets of activations on the same probe inputs are: activations in, Dataset out.

Each number is the cosine <A, B>/(|A||B|), in Frobenius' inner product, of two matrices of probes by probes:

    gram_cosine                 A_ij = K_ij = h(x_i).h(x_j)
    unbiased_cka                A_ij = K_ij - k_i/(n - 2) - k_j/(n - 2) + k/((n - 1)(n - 2)) for i != j, A_ii = 0,
                                k_i = sum_j K_ij and k = sum_i k_i without the diagonal
    mutual_nearest_neighbours   A_ij = 1 where j is one of the k largest cosines of h(x_i) and h(x_j), j != i, else 0

The Gram cosine is 1 where h_A(x)'h_A(y) = c h_B(x)'h_B(y) for all probes: perfect alignment. In the second line
<A, B>/(n (n - 3)) is the unbiased estimator of HSIC (Song, Eq. 5), so that independent data average to 0, where the
biased CKA has about d/(n + d) for d units. Nearest neighbours of independent data overlap by k/(n - 1).

None depends on rotations and scales of the units; only CKA does not depend on their mean.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for perfect alignment; L. Song et al., J. Mach. Learn.
Res. 13, 1393 (2012), Eq. 5; S. Kornblith et al., ICML (2019), arXiv:1905.00414, for linear CKA; G. J. Szekely and M. L.
Rizzo, Ann. Stat. 42, 2382 (2014), for A of the second line; M. Huh et al., arXiv:2405.07987 (2024), for neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from thermosim.analysis.estimates import LEVEL, put
from thermosim.analysis.skewed_means import put_skewed_mean

__all__ = [
    "Null",
    "alignment",
    "check_pairs",
    "crossed_error",
    "estimators",
    "gram_cosine",
    "mean_of_orders",
    "mutual_nearest_neighbours",
    "null_of_orders",
    "permutation_null",
    "unbiased_cka",
    "unbiased_hsic",
]

FEWEST_PROBES = 4  # n (n - 3) divides the unbiased HSIC
_ROUNDING = 1e-12  # relative


class Null(NamedTuple):
    """What a statistic is where probes of the two sets have nothing to do with each other."""

    mean: np.ndarray
    deviation: np.ndarray  # NaN for a single permutation
    p_value: np.ndarray  # of a statistic as large as that of the data


def gram_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """<K1, K2>/(|K1||K2|) of activations (..., probes, units): (...), leading dims broadcast.

    Raises ValueError for fewer than 4 probes, other probes in a than in b, activations that are constant or not finite.
    """
    a, b = _checked(a, b)
    return _product(_gram(a), _gram(b))


def unbiased_hsic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """HSIC of linear kernels, without bias, of activations (..., probes, units): (...). Errors as in `gram_cosine`."""
    a, b = _checked(a, b)
    return _product(_centred_gram(a), _centred_gram(b)) / (a.shape[-2] * (a.shape[-2] - 3))


def unbiased_cka(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """HSIC(a, b)/sqrt(HSIC(a, a) HSIC(b, b)) of activations (..., probes, units): (...), negative by chance.

    Raises ValueError as `gram_cosine` does, and for activations that are constant but for one probe: HSIC(a, a) is 0.
    """
    a, b = _checked(a, b)
    return _product(_unbiased(a), _unbiased(b))


def mutual_nearest_neighbours(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """The share of the k nearest neighbours that a and b (..., probes, units) have in common, over all probes: (...).

    Near is a large inner product of activations of length 1 (of length 0 where no unit is active). Probes that are
    equally near, as with few active units, share the places that are left, so that chance stays k/(n - 1); a with
    itself is then below 1. Raises ValueError as `gram_cosine` does, and unless 1 <= k <= probes - 2.
    """
    a, b = _checked(a, b)
    return _product(_neighbours(a, k), _neighbours(b, k))


def permutation_null(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    a: np.ndarray,
    b: np.ndarray,
    permutations: int,
    seed: int,
) -> Null:
    """The statistic of a and b where probes of b are permuted: each field has the shape of statistic(a, b).

    One permutation serves all leading dims, since replicas share their probes. p = (count + 1)/(permutations + 1), with
    the count of statistics as large as that of the data: P(p <= u) <= u where probes are exchangeable under the null.
    The permutations are those of the seed, the first ones of more. Raises ValueError without a permutation.

    Source: B. Phipson and G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 9, 39 (2010).
    """
    return null_of_orders(lambda order: statistic(a, np.take(b, order, axis=-2)), np.shape(b)[-2], permutations, seed)


def alignment(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray] | None = None,
    *,
    pairs: Literal["same", "different"] = "same",
    neighbours: int | None = 10,
    permutations: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Alignment of every layer of `first` with every one of `second` (or of `first`): dims layer, other_layer.

    first, second: activations (replicas, probes, units) by the name of the layer, all on the same probes; units may
    differ. pairs: "same" compares replica r with replica r, as for two layers of a network; "different" compares every
    replica of `first` with every one of `second`, two ensembles independent of each other. neighbours: k, or None to
    leave them out.

    gram_cosine, unbiased_cka and mutual_nearest_neighbours are means over replicas or their pairs; X_error is for other
    replicas at the same probes, so it does not tell what other probes would give. X_null and X_null_deviation are mean
    and deviation of that mean where probes of `second` are permuted, X_p_value its p-value (`permutation_null`), one
    for each pair of layers, with no correction for their number. Attributes: `estimator` of each; probes, permutations,
    pairs, replicas and other_replicas of all. Errors are NaN for one replica. Raises ValueError as the estimators do.

    Near 1 the numbers of replicas are skewed, so intervals of the same replicas are those of `skewed_means`: they need
    ten replicas. Errors of different ones: (MS_1 + MS_2 - MS_12)/(R1 R2), mean squares of a table of R1 by R2 pairs
    along its sides and of what is left, with degrees of freedom by F. E. Satterthwaite, Biometrics Bull. 2, 110 (1946).
    These cover more than 95 in 100 where the rest is most of it, as in a table of 3 by 3.
    """
    both = _layers(first), _layers(first if second is None else second)
    check_pairs(*both, second is None, pairs)
    result = xr.Dataset(coords={"layer": list(both[0]), "other_layer": list(both[1])})
    for name, (matrix, words) in estimators(neighbours).items():
        left, right = (np.stack([matrix(values) for values in layers.values()]) for layers in both)
        _put_estimate(result, name, words, left, right, pairs == "same")
        result[name].attrs["estimator"] = words
        null = null_of_orders(mean_of_orders(left, right, pairs == "same"), left.shape[-1], permutations, seed)
        for suffix, value in zip(("null", "null_deviation", "p_value"), null):
            result[f"{name}_{suffix}"] = _table(value).assign_attrs(
                units="1", long_name=f"{suffix} by permuted probes: {words}", condition="probes exchangeable"
            )
    (replicas, probes, _), (others, *_) = (next(iter(layers.values())).shape for layers in both)
    about = {"probes": probes, "replicas": replicas, "other_replicas": others, "pairs": pairs}
    return result.assign_attrs(about | {"permutations": permutations})


def estimators(k: int | None) -> dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]]:
    """Of every estimate the matrix of probes by probes whose inner products it is, and its name in words."""
    found: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
        "gram_cosine": (_gram, "Gram cosine <K1,K2>/(|K1||K2|)"),
        "unbiased_cka": (_unbiased, "linear CKA from the unbiased HSIC of Song et al. 2012, Eq. 5"),
    }
    if k is not None:
        words = f"mutual {k} nearest neighbours, mean overlap/k, of Huh et al. 2024"
        found["mutual_nearest_neighbours"] = (lambda a: _neighbours(a, k), words)
    return found


def _put_estimate(result: xr.Dataset, name: str, words: str, left: np.ndarray, right: np.ndarray, same: bool) -> None:
    """Add the mean over replicas, or over their pairs, of matrices (layers, replicas, probes, probes)."""
    condition = "replicas independent, at these probes"
    if same:
        values = np.stack([_product(one[None], right) for one in left])
        put_skewed_mean(result, name, _table(values, "replica"), "1", words, condition)
        return
    flat = [matrices.reshape(*matrices.shape[:2], -1) for matrices in (left, right)]
    values = np.tensordot(flat[0], flat[1], (2, 2)).transpose(0, 2, 1, 3)
    mean, (error, freedom) = _table(values.mean((2, 3))), crossed_error(values)
    width = _table(special.stdtrit(freedom, 0.5 * (1.0 + LEVEL)) * error)
    put(result, name, mean, _table(error), "1", words, condition, bounds=(mean - width, mean + width))


def mean_of_orders(left: np.ndarray, right: np.ndarray, same: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The mean of `_put_estimate` as a function of the order of the second set's probes: (layers, other layers)."""
    if not same:  # a mean over all pairs is the product of mean matrices
        left, right = (matrices.mean(1, keepdims=True) for matrices in (left, right))
    flat = left.reshape(len(left), -1) / left.shape[1]
    return lambda order: np.asarray(flat @ right[..., order[:, None], order].reshape(len(right), -1).T)


def crossed_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of the mean of tables (..., R1, R2) of two kinds of replicas, and its degrees of freedom."""
    rows, columns = values.shape[-2:]
    if min(rows, columns) < 2:
        return np.full(values.shape[:-2], np.nan), np.full(values.shape[:-2], np.nan)
    mean = values.mean((-2, -1), keepdims=True)
    of_row, of_column = values.mean(-1, keepdims=True) - mean, values.mean(-2, keepdims=True) - mean
    rest = ((values - mean - of_row - of_column) ** 2).sum((-2, -1)) / ((rows - 1) * (columns - 1))
    first = columns * (of_row**2).sum((-2, -1)) / (rows - 1)
    second = rows * (of_column**2).sum((-2, -1)) / (columns - 1)
    total = np.maximum(first + second - rest, rest)  # by chance it is less, which variances of replicas cannot make
    below = first**2 / (rows - 1) + second**2 / (columns - 1) + rest**2 / ((rows - 1) * (columns - 1))
    freedom = np.divide(total**2, below, out=np.full_like(total, np.inf), where=below > 0.0)
    return np.sqrt(total / (rows * columns)), freedom


def null_of_orders(statistic: Callable[[np.ndarray], np.ndarray], probes: int, permutations: int, seed: int) -> Null:
    """Of a statistic of the order (probes,) of the second set's probes."""
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import BOOTSTRAP, PERMUTATION

    if permutations < 1:
        raise ValueError(f"permutations = {permutations} make no null: one is needed, 200 are usual")
    orders = np.argsort(uniform_array(seed, BOOTSTRAP, PERMUTATION, 0, (probes, permutations)), axis=0).T
    observed = np.asarray(statistic(np.arange(probes)), float)
    values = np.stack([np.asarray(statistic(order), float) for order in orders])
    # a statistic that is the same up to rounding, as overlaps of neighbours are, counts as large
    level = observed - _ROUNDING * np.maximum(np.abs(observed), np.abs(values).max(0))
    deviation = values.std(0, ddof=1) if permutations > 1 else np.full_like(observed, np.nan)
    return Null(values.mean(0), deviation, ((values >= level).sum(0) + 1) / (permutations + 1))


def _table(values: np.ndarray, *dims: str) -> xr.DataArray:
    return xr.DataArray(values, dims=("layer", "other_layer", *dims))


def _layers(layers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Activations as float64. Raises ValueError unless they are (replicas, probes, units) of the same replicas."""
    found = {str(name): np.asarray(values, float) for name, values in layers.items()}
    if {values.ndim for values in found.values()} != {3} or len({len(values) for values in found.values()}) > 1:
        shapes = {name: values.shape for name, values in found.items()}
        raise ValueError(f"layers {shapes} are not activations (replicas, probes, units) of the same replicas")
    return found


def check_pairs(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], alone: bool, pairs: str) -> None:
    """Raise ValueError unless the activations can be compared."""
    one, other = next(iter(first.values())), next(iter(second.values()))
    if pairs not in ("same", "different"):
        raise ValueError(f'pairs = {pairs!r}: they are "same" or "different" replicas')
    if pairs == "different" and alone:
        raise ValueError("different replicas are of two independent ensembles: give one half first, the other second")
    if pairs == "same" and len(one) != len(other):
        raise ValueError(f'{len(one)} and {len(other)} replicas do not pair: say pairs="different"')
    for values in (*first.values(), *second.values()):
        _checked(one[:1], values)


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises ValueError unless they can be compared."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if min(a.ndim, b.ndim) < 2 or a.shape[-2] != b.shape[-2]:
        raise ValueError(f"activations {a.shape} and {b.shape} are not (..., probes, units) of the same probes")
    if a.shape[-2] < FEWEST_PROBES:
        raise ValueError(f"{a.shape[-2]} probes are too few: alignment needs {FEWEST_PROBES}")
    for values in (a, b):
        if not np.isfinite(values).all():
            raise ValueError("activations are not finite: leave out replicas that diverged")
        if (np.ptp(values, axis=-2).max(-1) <= _ROUNDING * np.abs(values).max((-2, -1))).any():
            raise ValueError("activations are the same for every probe: leave out the layer, or replicas that died")
    return a, b


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...ij,...ij->...", a, b))


def _unit(matrices: np.ndarray) -> np.ndarray:
    return np.asarray(matrices / np.linalg.norm(matrices, axis=(-2, -1), keepdims=True))


def _gram(a: np.ndarray) -> np.ndarray:
    return _unit(a @ a.swapaxes(-2, -1))


def _centred_gram(a: np.ndarray) -> np.ndarray:
    """A of the second line of the top of this file: rows of sum 0 and no diagonal, (..., n, n)."""
    a = a - a.mean(-2, keepdims=True)  # changes nothing but rounding
    n, gram = a.shape[-2], a @ a.swapaxes(-2, -1)
    off = 1.0 - np.eye(n)
    rows = (gram * off).sum(-1, keepdims=True)
    means = (rows + rows.swapaxes(-2, -1)) / (n - 2) - rows.sum(-2, keepdims=True) / ((n - 1) * (n - 2))
    return np.asarray((gram - means) * off)


def _unbiased(a: np.ndarray) -> np.ndarray:
    centred = _centred_gram(a)
    size = np.square(a - a.mean(-2, keepdims=True)).sum((-2, -1))
    if (np.linalg.norm(centred, axis=(-2, -1)) <= _ROUNDING * size).any():
        raise ValueError("activations are the same for all probes but one: CKA needs two probes that differ")
    return _unit(centred)


def _neighbours(a: np.ndarray, k: int) -> np.ndarray:
    """Whether j is one of the k nearest of i, over sqrt(n k), (..., n, n); shares of what is left where j are tied."""
    n = a.shape[-2]
    if not 1 <= k <= n - 2:
        raise ValueError(f"k = {k} nearest neighbours of {n} probes: k must be from 1 to {n - 2}")
    length = np.linalg.norm(a, axis=-1, keepdims=True)
    a = np.divide(a, length, out=np.zeros_like(a), where=length > 0.0)
    cosines = np.where(np.eye(n, dtype=bool), -np.inf, a @ a.swapaxes(-2, -1))
    beyond = cosines - np.sort(cosines, axis=-1)[..., n - k, None]
    nearer, tied = beyond > _ROUNDING, np.abs(beyond) <= _ROUNDING
    left = k - nearer.sum(-1, keepdims=True)
    return np.asarray((nearer + tied * left / tied.sum(-1, keepdims=True)) / np.sqrt(n * k))
