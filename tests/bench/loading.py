"""Images per second of one core, from files on disk to augmented batches of 224 pixels: the kit beside other loaders.

    KIT_TEST_DATA=... python -m tests.bench.loading [images]

KIT_TEST_DATA is a folder with data/oxford-pets/. Every loader takes the same JPEG files in the same run, in this
process, with one thread; rounds are interleaved, and the table gives medians. Seconds are those of the processor, so
that what else the machine does hardly matters. All crop, mirror, and change brightness and contrast. The kit, timm and
torchvision give uint8, and leave normalising to the device; fast.ai gives floats, as its default transforms do.
fast.ai is no dependency of the kit: it takes part where it is installed.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read once, by the imports below
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import statistics
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
import numpy as np
import torch

from kit.config import AugmentConfig
from kit.data.augment import training_view
from kit.data.loader import load_batches
from kit.store.pack import Pack, pack_files

SIZE, STORE_SIZE, BATCH = 224, 256, 64
ROUNDS = 5
ONE_MORE = AugmentConfig(transforms=({"name": "CoarseDropout", "num_holes_range": [1, 3], "p": 0.5},))
TURNED_AND_WARPED = AugmentConfig(rotate_degrees=10, warp=0.2)
SMALLEST, ASPECT, LIGHT = AugmentConfig().smallest_crop, AugmentConfig().widest_aspect, AugmentConfig().brightness

Epoch = Callable[[], int]  # goes through all images once and returns how many they were


def main(num_images: int) -> None:
    """Measure, and print one Markdown table."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    warnings.simplefilter("ignore")  # of other people's libraries
    data = os.environ.get("KIT_TEST_DATA")
    if not data:
        sys.exit("KIT_TEST_DATA names no folder with data/oxford-pets/")
    with tempfile.TemporaryDirectory() as home:
        os.environ["KIT_HOME"] = home
        files = unpacked(Path(data) / "data" / "oxford-pets" / "pets-trainval.tar", Path(home), num_images)
        packs, seconds = {}, {}
        for storage in ("raw", "jpeg"):
            begun = time.process_time()
            packs[storage] = packed(files, storage=storage)
            seconds[storage] = (time.process_time() - begun) / len(files)
        loaders = loaders_of(files, packs)
        rates: dict[str, list[float]] = {name: [] for name in loaders}
        for number in range(ROUNDS + 1):
            for name, epoch in loaders.items():
                begun = time.process_time()
                done = epoch()
                if number:  # the first round imports and fills caches
                    rates[name].append(done / (time.process_time() - begun))
    ours = statistics.median(next(iter(rates.values())))
    print(f"`python -m tests.bench.loading {num_images}` on one core of {processor()}; {ROUNDS} rounds of {len(files)}")
    print(
        f"images; packing, once, takes {seconds['raw'] * 1e3:.1f} ms per image (jpeg: {seconds['jpeg'] * 1e3:.1f}).\n"
    )
    print("| loader | images per second and core, median | lowest to highest | the kit is faster by |")
    print("| --- | --- | --- | --- |")
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:,.0f} | {min(values):,.0f} to {max(values):,.0f} | {ours / middle:.1f} |")
    if "fast.ai" not in " ".join(rates):
        print("| fast.ai | not installed | | |")


def unpacked(archive: Path, folder: Path, num_images: int) -> list[Path]:
    """Write the first `num_images` JPEG files of an archive to `folder` and return their paths."""
    files = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".jpg") and len(files) < num_images:
                tar.extract(member, folder, filter="data")
                files.append(folder / member.name)
    return files


def packed(files: list[Path], *, storage: str) -> Pack:
    """Return the kit's store of these files."""
    names = [path.name for path in files]
    return pack_files(
        files[0].parent,
        image_ids=names,
        paths=names,
        content_keys=names,
        store_size=STORE_SIZE,
        storage=storage,  # type: ignore[arg-type]
        say=lambda line: None,
    )


def loaders_of(files: list[Path], packs: dict[str, Pack]) -> dict[str, Epoch]:
    """Return name -> one epoch of that loader; the kit's first."""
    loaders = {
        "kit, raw store": kit_epoch(packs["raw"], AugmentConfig()),
        "kit, raw store, with 10 degrees of rotation": kit_epoch(packs["raw"], AugmentConfig(rotate_degrees=10)),
        "kit, raw store, with 10 degrees and a warp of 0.2": kit_epoch(packs["raw"], TURNED_AND_WARPED),
        "kit, raw store, with CoarseDropout": kit_epoch(packs["raw"], ONE_MORE),
        "kit, jpeg store": kit_epoch(packs["jpeg"], AugmentConfig()),
        f"timm {version('timm')}, its own loader (PIL)": timm_epoch(files),
        f"torchvision {version('torchvision')} v2, PIL": torchvision_epoch(files, tensors=False),
        f"torchvision {version('torchvision')} v2, decode_image": torchvision_epoch(files, tensors=True),
    }
    try:
        name = f"fast.ai {version('fastai')}, aug_transforms"
    except PackageNotFoundError:
        return loaders
    return {**loaders, name: fastai_epoch(files)}


def kit_epoch(pack: Pack, augment: AugmentConfig) -> Epoch:
    """Return an epoch of the kit, in its one thread."""
    view = training_view(augment, image_size=SIZE, seed=1)
    ids = list(pack.row_of)

    def epoch() -> int:
        batches = load_batches(
            pack, image_ids=ids, positions=np.arange(len(ids)), batch_size=BATCH, view=view, num_workers=0
        )
        return sum(len(batch.images) for batch in batches)

    return epoch


class Files(torch.utils.data.Dataset):
    """Images through `read`, then `transform`: what the loaders of timm and torchvision take."""

    def __init__(self, files: list[Path], read: Callable) -> None:
        self.files, self.read, self.transform = files, read, None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple:
        return self.transform(self.read(self.files[index])), 0


def read_pil(path: Path) -> object:
    """Open an image as timm's reader and torchvision's datasets do."""
    from PIL import Image

    with path.open("rb") as file:
        return Image.open(file).convert("RGB")


def timm_epoch(files: list[Path]) -> Epoch:
    """Return an epoch of timm's loader, up to its uint8 batches: what follows is its prefetcher, on the device."""
    from timm.data import create_loader

    loader = create_loader(
        Files(files, read_pil),
        input_size=(3, SIZE, SIZE),
        batch_size=BATCH,
        is_training=True,
        scale=(SMALLEST, 1.0),
        ratio=(1 / ASPECT, ASPECT),
        hflip=0.5,
        color_jitter=(LIGHT, LIGHT, 0.0),
        interpolation="bilinear",
        num_workers=0,
        persistent_workers=False,
        device=torch.device("cpu"),
    ).loader
    return lambda: sum(len(images) for images, _ in loader)


def torchvision_epoch(files: list[Path], *, tensors: bool) -> Epoch:
    """Return an epoch of torchvision's transforms v2 in torch's loader, on PIL images or on tensors."""
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(SIZE, scale=(SMALLEST, 1.0), ratio=(1 / ASPECT, ASPECT), antialias=True)
    steps = [crop, v2.RandomHorizontalFlip(), v2.ColorJitter(brightness=LIGHT, contrast=LIGHT)]
    dataset = Files(files, (lambda path: decode_image(str(path), ImageReadMode.RGB)) if tensors else read_pil)
    dataset.transform = v2.Compose(steps if tensors else [*steps, v2.PILToTensor()])
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)
    return lambda: sum(len(images) for images, _ in loader)


def fastai_epoch(files: list[Path]) -> Epoch:
    """Return an epoch of fast.ai's DataLoaders with its default transforms, on the CPU."""
    from fastai.vision.all import ImageDataLoaders, RandomResizedCrop, aug_transforms

    loaders = ImageDataLoaders.from_name_func(
        files[0].parent,
        files,
        lambda name: name.rpartition("_")[0],
        valid_pct=0.01,
        item_tfms=RandomResizedCrop(SIZE, min_scale=SMALLEST),
        batch_tfms=aug_transforms(),
        bs=BATCH,
        num_workers=0,
        device=torch.device("cpu"),
    )
    return lambda: sum(len(images) for images, _ in loaders.train)


def processor() -> str:
    """Return the processor's name and its number of cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{name} ({os.cpu_count()} cores)"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
