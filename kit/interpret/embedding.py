"""The embedding map: images as points, near each other where the network finds them alike.

The features before the classifier, their first principal components, then t-SNE (van der Maaten and Hinton 2008) as
scikit-learn has it. Neighbours in the map mean something, distances between far groups and their sizes do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kit.errors import DataError
from kit.train.heads import classifiers
from kit.train.model import Network, normalise

BATCH = 32  # images at once
COMPONENTS = 50  # that t-SNE is given, as its authors do
FEWEST = 5  # images


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingMap:
    """Images as points in the plane."""

    image_ids: tuple[str, ...]  # (N,)
    points: NDArray[np.float32]  # (N, 2), no unit
    actual: tuple[str, ...]  # (N,) classes
    predicted: tuple[str, ...]  # (N,) classes
    explained: float  # share of the features' variance in the components that t-SNE was given, in [0, 1]


def penultimate_features(network: Network, views: NDArray[np.uint8], *, device: torch.device) -> NDArray[np.float32]:
    """Return (N, F) float32: what the classifier is given for each view (N, S, S, 3); maps are averaged over places."""
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.eval()
    kept: list[Tensor] = []

    def keep(_: nn.Module, given: Any) -> None:
        kept.append(given[0].detach().float().cpu())

    handle = classifiers(module)[0].register_forward_pre_hook(keep)
    found = []
    try:
        with torch.inference_mode():
            for start in range(0, len(views), BATCH):
                kept.clear()
                module(normalise(torch.from_numpy(views[start : start + BATCH]).to(device), network.input))
                features = kept[-1]
                found.append(features.flatten(2).mean(dim=2) if features.ndim > 2 else features)
    finally:
        handle.remove()
    return torch.cat(found).numpy()


def embedding_map(
    features: NDArray[np.float32],
    *,
    image_ids: Sequence[str],
    actual: Sequence[str],
    predicted: Sequence[str],
    seed: int = 0,
) -> EmbeddingMap:
    """Return a map of images by their features; the same seed gives the same map on the same machine.

    Args:
        features: (N, F).
        image_ids: N ids.
        actual: N class names.
        predicted: N class names.
        seed: of the components and of t-SNE.

    Raises:
        DataError: fewer than FEWEST images, or all with the same features.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < FEWEST:
        raise DataError(f"A map of {len(features)} images shows nothing: at least {FEWEST} are needed.")
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    if not np.isfinite(centred).all() or float(centred.var(axis=0).sum()) <= 1e-12:
        raise DataError(
            f"The network gives all {len(features)} images the same features, or numbers that are none, so there is no "
            "map of them: it was hardly trained, or its training ran away."
        )
    number = min(COMPONENTS, *features.shape, len(features) - 1)
    components = PCA(n_components=number, svd_solver="randomized", random_state=seed).fit(centred)
    reduced = components.transform(centred)
    perplexity = min(30.0, (len(features) - 1) / 3)  # neighbours that count, of whom there must be enough
    points = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return EmbeddingMap(
        image_ids=tuple(image_ids),
        points=np.asarray(points, dtype=np.float32),
        actual=tuple(actual),
        predicted=tuple(predicted),
        explained=float(components.explained_variance_ratio_.sum()),
    )
