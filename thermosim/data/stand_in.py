"""A stand-in for CIFAR-10 where that is not to be had: Fashion-MNIST on patches of photographs, |patch - image|.

Pixels are 32 x 32 x 3 as of CIFAR, classes ten with as many images each; how hard it is to learn was not compared.
Images are those of Fashion-MNIST with two pixels of border, patches are at random places of the two photographs in
scikit-learn, as in the MNIST-M of Y. Ganin et al., J. Mach. Learn. Res. 17, 59 (2016). Results on it are not results
on CIFAR.
"""

from __future__ import annotations

import numpy as np

from thermosim.data.rows import DataError, Table, sealed
from thermosim.kernels.noise import uniform_array
from thermosim.streams import DATA

__all__ = ["STAND_IN", "on_photos"]

STAND_IN = "fashion-on-photos"
_SIDE, _BORDER = 32, 2
_SEED = 20_170_828  # of the places, whatever the case's seeds are


def on_photos(fashion: Table) -> Table:
    """The images of Fashion-MNIST (N, 784) on photographs (N, 3072). Raises DataError without scikit-learn."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        raise DataError(
            f"data.source = {STAND_IN!r}: takes photographs that come with scikit-learn, which is not installed; "
            "`pip install scikit-learn`."
        ) from None
    photos = np.stack(load_sample_images().images)  # (2, height, width, 3)
    count, (_, height, width, _) = len(fashion.values), photos.shape
    drawn = 1.0 - uniform_array(_SEED, DATA, 0, 0, (3, count))  # in [0, 1)
    which, top, left = np.floor(drawn * np.array([[len(photos)], [height - _SIDE + 1], [width - _SIDE + 1]])).astype(
        int
    )
    values = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    images = np.pad(fashion.values.reshape(count, 28, 28), ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER)))
    for number in range(count):
        rows, columns = slice(top[number], top[number] + _SIDE), slice(left[number], left[number] + _SIDE)
        patch = photos[which[number], rows, columns].astype(np.int16)
        values[number] = np.abs(patch - images[number, :, :, None].astype(np.int16))
    return sealed(values.reshape(count, -1), fashion.labels, 0.0, 255.0, None)
