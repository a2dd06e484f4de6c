"""Learn fixtures/descriptors/slim_vgg16.npz: a slim VGG-16 from the photographs of scikit-image.

    pip install scikit-image scikit-learn
    python tools/make_descriptor.py

No labels and no back-propagation: each convolution's filters are found from what the layer before
makes of the photographs. k-means on the sphere (Coates and Ng, "Learning Feature Representations
with K-means", 2012) finds what its neighbourhoods look like; those directions are made orthogonal,
since filters of equal length at right angles let no frequency of a picture prevail. A filter's bias
leaves the stronger half of its responses, and one factor a layer makes their mean `MEAN`.

The keys are those of vgg16_weights.npz, and so are the pictures it wants: RGB levels less their
mean.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_matrix

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "fixtures" / "descriptors" / "slim_vgg16.npz"
PHOTOS = (
    "astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png "
    "grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png "
    "retina.jpg rocket.jpg"
)
BLOCKS = ((24, 24), (48, 48), (72, 72, 72), (96, 96, 96), (96, 96, 96))
LEVELS = np.array([123.68, 116.779, 103.939], np.float32)
MEAN = 60.0
ACTIVE = 0.5
PATCHES = 20_000
ROUNDS = 8

Array = NDArray[np.float32]


def photographs() -> list[Array]:
    """Photographs 1×H×W×3 as the net sees them, each at two sizes."""
    import skimage
    from sklearn.datasets import load_sample_images

    folder = Path(skimage.__file__).parent / "data"
    pictures = [Image.open(folder / name).convert("RGB") for name in PHOTOS.split(" ")]
    pictures += [Image.fromarray(each) for each in load_sample_images().images]
    arrays = []
    for picture in pictures:
        for longest in (256, 144):
            factor = longest / max(picture.size)
            width, height = (max(1, round(side * factor)) for side in picture.size)
            small = picture.resize((width, height), Image.Resampling.LANCZOS)
            arrays.append(np.asarray(small, np.float32)[None] - LEVELS)
    return arrays


def windows(x: Array) -> Array:
    """All 3×3 neighbourhoods of 1×H×W×C, zeros around: (H·W)×9C, in the order H, W, C."""
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.ascontiguousarray(views.transpose(0, 1, 3, 4, 2)).reshape(-1, 9 * x.shape[-1])


def sampled(maps: list[Array], random: np.random.Generator) -> Array:
    """Neighbourhoods from all photographs alike, away from the edges."""
    share = -(-PATCHES // len(maps))
    parts = []
    for x in maps:
        rows = random.integers(1, max(2, x.shape[1] - 1), share)
        columns = random.integers(1, max(2, x.shape[2] - 1), share)
        padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
        grid = [padded[rows + i, columns + j] for i in range(3) for j in range(3)]
        parts.append(np.concatenate(grid, axis=1))
    return np.concatenate(parts)


def centroids(patches: Array, count: int, random: np.random.Generator) -> Array:
    """Spherical k-means: directions of length 1, count×features."""
    norms = np.linalg.norm(patches, axis=1)
    selected = patches[norms > np.quantile(norms, 0.2)]
    found = random.standard_normal((count, patches.shape[1])).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    for _ in range(ROUNDS):
        scores = selected @ found.T
        best = scores.argmax(axis=1)
        weight = scores[np.arange(len(selected)), best]
        chosen = csr_matrix((weight, (best, np.arange(len(selected)))), (count, len(selected)))
        summed = (chosen @ selected).astype(np.float32)
        empty = np.linalg.norm(summed, axis=1) < 1e-6
        summed[empty] = selected[random.integers(len(selected), size=int(empty.sum()))]
        found = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    return found


def learned(patches: Array, count: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Filters features×count and biases."""
    mean = patches.mean(axis=0)
    centred = patches - mean
    found = centroids(centred, count, random)
    # The orthonormal vectors that are nearest to the centroids.
    left, _, right = np.linalg.svd(found, full_matrices=False)
    filters = (left @ right).T
    responses = centred @ filters
    thresholds = np.quantile(responses, 1 - ACTIVE, axis=0)
    scale = MEAN / np.maximum(responses - thresholds, 0).mean()
    return filters * scale, (-mean @ filters - thresholds) * scale


def main() -> None:
    random = np.random.default_rng(1)
    maps, weights = photographs(), {}
    for block, widths in enumerate(BLOCKS, start=1):
        for number, width in enumerate(widths, start=1):
            planes = maps[0].shape[-1]
            filters, bias = learned(sampled(maps, random), width, random)
            name = f"conv{block}_{number}"
            weights[f"{name}_W"] = filters.reshape(3, 3, planes, width).astype(np.float16)
            weights[f"{name}_b"] = bias.astype(np.float32)
            weight = weights[f"{name}_W"].astype(np.float32).reshape(9 * planes, width)
            maps = [
                np.maximum(windows(x) @ weight + bias, 0).reshape(*x.shape[:3], width).astype("f")
                for x in maps
            ]
            print(name, width, "mean", round(float(np.mean([x.mean() for x in maps])), 2))
        maps = [
            x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
            .reshape(1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1)
            .max(axis=(2, 4))
            for x in maps
        ]
    np.savez_compressed(TARGET, **weights)  # type: ignore[arg-type]
    print(TARGET, TARGET.stat().st_size)


if __name__ == "__main__":
    main()
