"""Inference: a network's probabilities of many images, and the precision in which a device computes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from kit.data.augment import central_view
from kit.data.loader import load_batches
from kit.store.pack import Pack
from kit.train.loss import probabilities_of
from kit.train.model import Network, normalise

EVALUATION_BATCH = 128


def mixed_precision(device: torch.device) -> tuple[Callable[[], AbstractContextManager[Any]], torch.amp.GradScaler]:
    """Return the autocast context and the loss scaler for `device`.

    A CPU stays with float32: bf16 is emulated on most, 10 to 30 times slower. A GPU takes bf16 where its
    hardware has it, else float16 with a scaled loss.
    """
    if device.type != "cuda":
        return nullcontext, torch.amp.GradScaler("cpu", enabled=False)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.bfloat16 if has_bf16 else torch.float16
    return (
        lambda: torch.autocast("cuda", dtype=dtype),
        torch.amp.GradScaler("cuda", enabled=not has_bf16),
    )


def predict_probabilities(
    network: Network,
    pack: Pack,
    table: pd.DataFrame,
    *,
    image_size: int,
    test_crop: float,
    several: bool,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return (N, C) float32 class probabilities of the rows of `table`, in its order; rows sum to 1 unless `several`.

    Args:
        network: trained.
        pack: holds the images.
        table: rows with `image_id`.
        image_size: side of the square the network sees, pixels.
        test_crop: share of the shorter side that is seen; 0 = the network's own.
        several: an image may have any number of labels.
        device: where to compute.
    """
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.eval()
    view = central_view(image_size=image_size, crop_share=test_crop or network.input.crop_pct)
    precision, _ = mixed_precision(device)
    found = []
    batches = load_batches(
        pack,
        image_ids=table["image_id"].tolist(),
        positions=np.arange(len(table)),
        batch_size=EVALUATION_BATCH,
        view=view,
    )
    with torch.inference_mode():
        for batch in batches:
            images = normalise(torch.from_numpy(batch.images).to(device), network.input)
            with precision():
                logits = module(images)
            found.append(probabilities_of(logits, several=several).cpu())  # (B, C)
    return torch.cat(found).numpy()
