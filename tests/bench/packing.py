"""The figures of packing: its rate beside OpenCV's bare decode, and the memory that many images take.

    python -m tests.bench.packing [--images 1000000] [--rounds 5]

The rate needs KIT_TEST_DATA, a folder with data/oxford-pets. Packs and images are temporary, below TMPDIR: a million
images of 64 px are 12 GB of pixels there. Rates are per second of processor time, user and system, on one core, so
that other work on the machine disturbs little; the wall-clock rate of all cores is beside them.
"""

import argparse
import itertools
import os
import platform
import resource
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kit.store.pack import pack_files

DISTINCT = 2000  # generated files; the others are hard links to them, of which a file system takes 65,000 a file


class Names(Sequence[str]):
    """N names made when they are asked for: the memory that is measured is the pack's own."""

    def __init__(self, num_names: int, pattern: str) -> None:
        self.numbers, self.pattern = range(num_names), pattern

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self.name(number) for number in self.numbers[at]]
        return self.name(self.numbers[at])

    def __iter__(self) -> Iterator[str]:
        return map(self.name, self.numbers)

    def name(self, number: int) -> str:
        """Return name `number`."""
        return self.pattern.format(number // 10_000, number)


def main(arguments: list[str]) -> None:
    """Measure and print, one figure a line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.packing")
    parser.add_argument("--images", type=int, default=1_000_000, help="generated images of 64 px")
    parser.add_argument("--rounds", type=int, default=5, help="of bare decoding and packing, by turns")
    options = parser.parse_args(arguments)
    print(f"python -m tests.bench.packing --images {options.images} --rounds {options.rounds}")
    print(hardware())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KIT_HOME"] = str(Path(folder) / "home")
        measure_memory(Path(folder) / "images", num_images=options.images)  # first: peak memory is the process's
        if data := os.environ.get("KIT_TEST_DATA"):
            pets = Path(folder) / "pets"
            for name in ("pets-test.tar", "pets-trainval.tar"):
                with tarfile.open(Path(data) / "data" / "oxford-pets" / name) as tar:
                    tar.extractall(pets, filter="data")
            measure_rate(pets, what="pets, shorter side 256 px", rounds=options.rounds)
            for side, num_images in ((375, 1000), (768, 400)):
                enlarged = Path(folder) / f"pets-{side}"
                enlarge(pets, enlarged, side=side, num_images=num_images)
                measure_rate(enlarged, what=f"pets enlarged to {side} px, quality 90", rounds=options.rounds)
        else:
            print("rate: KIT_TEST_DATA is not set, left out", file=sys.stderr)


def hardware() -> str:
    """Return one line on the machine and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {gib:.0f} GiB; Python {platform.python_version()}, OpenCV {cv2.__version__}"


def measure_memory(folder: Path, *, num_images: int) -> None:
    """Pack many small images, half of them JPEG and half PNG, and print the peak of resident memory."""
    paths = Names(num_images, "{0:04d}/{1:08d}")
    make_small_images(folder, paths)
    before = peak_mib()
    start = time.perf_counter()
    ids = Names(num_images, "train/{0:04d}/{1:08d}")
    pack = pack_files(folder, image_ids=ids, paths=paths, content_keys=paths, store_size=64, say=to_stderr)
    seconds = time.perf_counter() - start
    assert len(pack) == num_images
    gib = (pack.folder / "pixels.u8").stat().st_size / 2**30
    print(
        f"memory: {num_images:,} images of 64 px, {gib:.1f} GiB of pixels, packed with a peak of {peak_mib():,.0f} MiB "
        f"resident ({before:,.0f} before), {num_images / seconds:,.0f} images/s on all cores"
    )
    shutil.rmtree(pack.folder)
    shutil.rmtree(folder)


def make_small_images(folder: Path, paths: Names) -> None:
    """Write DISTINCT images and as many hard links as it takes."""
    rng = np.random.default_rng(0)
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if number < DISTINCT:
            small = cv2.resize(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
            (folder / path).write_bytes(cv2.imencode(".jpg" if number % 2 else ".png", small)[1].tobytes())
        else:
            os.link(folder / paths[number % DISTINCT], folder / path)


def enlarge(folder: Path, target: Path, *, side: int, num_images: int) -> None:
    """Write some of the images as large as photographs usually are; the originals of these are not at hand."""
    target.mkdir()
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))[:num_images]):
        image = cv2.imread(str(path))
        scale = side / min(image.shape[:2])
        larger = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(target / f"{number:05d}.jpg"), larger, [cv2.IMWRITE_JPEG_QUALITY, 90])


def measure_rate(folder: Path, *, what: str, rounds: int) -> None:
    """Decode the images with OpenCV alone, then pack them, by turns on one core; then pack them on all cores."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    files = [(folder / name).read_bytes() for name in names]
    cores = os.sched_getaffinity(0)
    cv2.setNumThreads(0)

    def bare() -> None:
        for data in files:
            cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)

    def bare_from_disk() -> None:
        for name in names:
            cv2.imread(str(folder / name), cv2.IMREAD_COLOR_RGB)

    def packing() -> None:
        pack_files(folder, image_ids=names, paths=names, content_keys=names, store_size=256, say=lambda line: None)

    rates: dict[str, list[float]] = {"bare decode": [], "imread": [], "packing": []}
    os.sched_setaffinity(0, [min(cores)])
    for _, (work, found) in itertools.product(
        range(rounds), zip((bare, bare_from_disk, packing), rates.values(), strict=True)
    ):
        shutil.rmtree(Path(os.environ["KIT_HOME"]), ignore_errors=True)
        start = time.process_time()
        work()
        found.append(len(names) / (time.process_time() - start))
    os.sched_setaffinity(0, cores)
    for name, found in rates.items():
        print(
            f"rate: {name} of {len(names):,} {what}, {statistics.median(found):,.0f} images per second of one core "
            f"(median of {rounds}, {min(found):,.0f} to {max(found):,.0f})"
        )
    packed = statistics.median(rates["packing"])
    print(f"ratio: packing is {packed / statistics.median(rates['bare decode']):.2f} of bare decode", end=", ")
    print(f"{packed / statistics.median(rates['imread']):.2f} of imread, which reads the file too")
    shutil.rmtree(Path(os.environ["KIT_HOME"]))
    start = time.perf_counter()
    packing()
    print(
        f"rate: packing on {len(cores)} cores, {len(names) / (time.perf_counter() - start):,.0f} images/s by the clock"
    )


def peak_mib() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def to_stderr(line: str) -> None:
    """Print progress beside the figures."""
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
