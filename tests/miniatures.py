"""Every competition in miniature: a few images per class under the real names, in the archives that are published."""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from toys import tar_bytes, write_files

from kit.competition import package_folder, read_competition

Files = dict[str, bytes]


def picture(number: int, *, size: tuple[int, int] = (20, 24), suffix: str = ".jpg") -> bytes:
    """Return an image file of 5 x 4 random patches, another one for each `number`; `size` is (height, width)."""
    patches = np.random.default_rng(number).integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    image = cv2.resize(patches, size[::-1], interpolation=cv2.INTER_CUBIC)
    encoded: bytes = cv2.imencode(suffix, image)[1].tobytes()
    return encoded


def pictures(names: Iterable[str], *, start: int = 0) -> Files:
    """Return name -> image file, all of them different."""
    return {name: picture(start + k, suffix=Path(name).suffix) for k, name in enumerate(names)}


def table(*rows: Sequence[object]) -> bytes:
    """Return a CSV file of rows, the header first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def zip_bytes(files: Files) -> bytes:
    """Return a zip archive of `files`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def idx_bytes(values: np.ndarray) -> bytes:
    """Return a gzipped IDX file of uint8 values."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return gzip.compress(header + values.astype(np.uint8).tobytes(), mtime=0)


def sample_of(id_column: str, names: Sequence[str], columns: dict[str, object]) -> bytes:
    """Return a sample submission: ids, and the same values in every row."""
    return table((id_column, *columns), *((name, *columns.values()) for name in names))


def classes_of(slug: str) -> tuple[str, ...]:
    """Return the classes of a competition of the kit."""
    return read_competition(package_folder("competitions") / slug).classes


def dogs_vs_cats_redux() -> Files:
    """Two zips in Kaggle's; test ids are numbers. The subset: two tar archives and no sample."""
    train = pictures(f"train/{name}.{k}.jpg" for name in ("cat", "dog") for k in range(12))
    test = pictures((f"test/{k}.jpg" for k in range(1, 13)), start=100)
    sample = sample_of("id", [str(k) for k in range(1, 13)], {"label": 0.5})
    kaggle = {"sample_submission.csv": sample, "test.zip": zip_bytes(test), "train.zip": zip_bytes(train)}
    return {
        "dogs-vs-cats-redux-kernels-edition.zip": zip_bytes(kaggle),
        "dogs-vs-cats/dogs-vs-cats-train.tar": tar_bytes(train),
        "dogs-vs-cats/dogs-vs-cats-test.tar": tar_bytes(test),
    }


def state_farm() -> Files:
    """Six drivers, two frames each of every class; the images lie open in Kaggle's archive."""
    classes = classes_of("state_farm")
    rows = [
        (f"p{driver:03d}", name, f"img_{100 * driver + 10 * k + copy}.jpg")
        for driver in (2, 12, 14, 15, 16, 21)
        for k, name in enumerate(classes)
        for copy in range(2)
    ]
    test = [f"img_{number}.jpg" for number in (1, 10, 100, 1000, 5)]  # in the sample's order, not the alphabet's
    files = pictures(f"imgs/train/{name}/{image}" for _, name, image in rows)
    files |= pictures((f"imgs/test/{image}" for image in test), start=1000)
    files["driver_imgs_list.csv"] = table(("subject", "classname", "img"), *rows)
    files["sample_submission.csv"] = sample_of("img", test, dict.fromkeys(classes, 0.1))
    return {"state-farm-distracted-driver-detection.zip": zip_bytes(files)}


def fisheries() -> Files:
    """An archive for each part in Kaggle's, that of stage 2 a 7z file; two frames of each class are nearly the same."""
    classes = classes_of("fisheries")
    train: Files = {"train/.DS_Store": b"\0\0\0\1Bud1"}
    for c, name in enumerate(classes):
        train |= pictures((f"train/{name}/img_{100 * c + k:05d}.jpg" for k in range(6)), start=100 * c)
        first, again = (f"train/{name}/img_{100 * c + k:05d}.jpg" for k in (90, 91))
        train[first], train[again] = picture(5000 + c, size=(72, 128)), picture(5000 + c, size=(108, 192))
    first_stage = pictures((f"test_stg1/img_{k:05d}.jpg" for k in (5, 7, 9)), start=2000)
    second_stage = pictures((f"test_stg2/image_{k:05d}.jpg" for k in (1, 2, 3, 4)), start=3000)
    share = {name: 1 / len(classes) for name in classes}
    stage1 = [Path(path).name for path in first_stage]
    kaggle = {
        "train.zip": zip_bytes(train),
        "test_stg1.zip": zip_bytes(first_stage),
        "test_stg2.7z": b"7z\xbc\xaf\x27\x1c" + bytes(26),
        "sample_submission_stg1.csv.zip": zip_bytes({"sample_submission_stg1.csv": sample_of("image", stage1, share)}),
        "sample_submission_stg2.csv.zip": zip_bytes(
            {"sample_submission_stg2.csv": sample_of("image", [*stage1, *second_stage], share)}
        ),
    }
    slug = "the-nature-conservancy-fisheries-monitoring"
    return {f"{slug}.zip": zip_bytes(kaggle), f"{slug}/test_stg2.zip": zip_bytes(second_stage)}


def digit_recognizer() -> Files:
    """Two CSV files of pixels; ImageId counts the rows of the second."""
    random = np.random.default_rng(7)
    train = random.integers(0, 256, size=(40, 784)).tolist()
    test = random.integers(0, 256, size=(12, 784)).tolist()
    names = [f"pixel{k}" for k in range(784)]
    files = {
        "train.csv": table(("label", *names), *((k % 10, *row) for k, row in enumerate(train))),
        "test.csv": table(names, *test),
        "sample_submission.csv": sample_of("ImageId", [str(k) for k in range(1, 13)], {"Label": 0}),
    }
    return {"digit-recognizer.zip": zip_bytes(files)}


def aerial_cactus() -> Files:
    """Two zips and two tables, in Kaggle's archive and beside each other; ids carry their suffix."""
    train = [f"{k:032x}.jpg" for k in range(16)]
    test = [f"{k:032x}.jpg" for k in range(1000, 1005)]
    files = {
        "train.zip": zip_bytes(pictures(f"train/{name}" for name in train)),
        "test.zip": zip_bytes(pictures((f"test/{name}" for name in test), start=1000)),
        "train.csv": table(("id", "has_cactus"), *((name, int(k % 4 > 0)) for k, name in enumerate(train))),
        "sample_submission.csv": sample_of("id", test, {"has_cactus": 0.5}),
    }
    repacked = {f"aerial-cactus/{name}": content for name, content in files.items()}
    return {"aerial-cactus-identification.zip": zip_bytes(files), **repacked}


def plant_pathology_2020() -> Files:
    """Training and test images in one folder, a column of 0 and 1 for each class."""
    classes = classes_of("plant_pathology_2020")
    train, test = [f"Train_{k}" for k in range(16)], [f"Test_{k}" for k in range(12)]
    one_hot = [[int(c == k % 4) for c in range(4)] for k in range(16)]
    files = pictures(f"images/{name}.jpg" for name in (*train, *test))
    files["train.csv"] = table(
        ("image_id", *classes), *((name, *row) for name, row in zip(train, one_hot, strict=True))
    )
    files["test.csv"] = table(("image_id",), *((name,) for name in test))
    files["sample_submission.csv"] = sample_of("image_id", test, dict.fromkeys(classes, 0.25))
    return {"plant-pathology-2020-fgvc7.zip": zip_bytes(files)}


def dog_breed() -> Files:
    """Ids without a suffix; a column for each of 120 breeds, in alphabetical order."""
    classes = classes_of("dog_breed")
    train, test = [f"{k:032x}" for k in range(2 * len(classes))], [f"{k:032x}" for k in range(5000, 5006)]
    files = pictures(f"train/{name}.jpg" for name in train)
    files |= pictures((f"test/{name}.jpg" for name in test), start=5000)
    files["labels.csv"] = table(("id", "breed"), *((name, classes[k % 120]) for k, name in enumerate(train)))
    files["sample_submission.csv"] = sample_of("id", test, dict.fromkeys(sorted(classes), 1 / 120))
    return {"dog-breed-identification.zip": zip_bytes(files)}


def pets() -> Files:
    """The publisher's two archives, with an image that no list names; and the subset, with images that it lacks."""
    breeds = classes_of("pets")
    ids = {side: [f"{name}_{k}" for name in breeds for k in ks] for side, ks in (("trainval", (1, 2)), ("test", (3,)))}
    images = {
        side: pictures((f"images/{name}.jpg" for name in own), start=1000 * (side == "test"))
        for side, own in ids.items()
    }
    number = {name: k + 1 for k, name in enumerate(breeds)}
    lists = {
        f"{side}.txt": "".join(f"{name} {number[name.rsplit('_', 1)[0]]} 1 1\n" for name in own).encode()
        for side, own in ids.items()
    }
    whole = {**images["trainval"], **images["test"], **pictures(["images/Abyssinian_9.jpg"], start=9000)}
    annotations = {f"annotations/{name}": content for name, content in lists.items()}
    lacking = dict(list(images["test"].items())[1:])
    return {
        "pets/images.tar.gz": tar_bytes({**whole, "images/Abyssinian_1.mat": b"MATLAB"}, mode="w:gz"),
        "pets/annotations.tar.gz": tar_bytes({**annotations, "annotations/README": b"see list.txt"}, mode="w:gz"),
        "oxford-pets/pets-trainval.tar": tar_bytes(images["trainval"]),
        "oxford-pets/pets-test.tar": tar_bytes(lacking),
        **{f"oxford-pets/{name}": content for name, content in lists.items()},
    }


def mnist_sample() -> Files:
    """fast.ai's archive: folders, and a table that calls a three 0."""
    names = [
        f"{side}/{digit}/{k}{digit}.png"
        for side, many in (("train", 6), ("valid", 3))
        for digit in "37"
        for k in range(many)
    ]
    files = {f"mnist_sample/{name}": content for name, content in pictures(names).items()}
    rows = ((name, int("/7/" in name)) for name in names)
    archive = tar_bytes({**files, "mnist_sample/labels.csv": table(("name", "label"), *rows)}, mode="w:gz")
    return {"mnist_sample/mnist_sample.tgz": archive, "mnist-sample/mnist_sample.tgz": archive}


def idx_files() -> Files:
    """Return four IDX files as MNIST's publisher names them: 40 training images, 20 test images, ten classes."""
    random = np.random.default_rng(5)
    files = {}
    for prefix, many in (("train", 40), ("t10k", 20)):
        images = random.integers(0, 256, size=(many, 28, 28), dtype=np.uint8)
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx_bytes(images)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx_bytes(np.arange(many, dtype=np.uint8) % 10)
    return files


def mnist() -> Files:
    """Four IDX files."""
    return {f"mnist/{name}": content for name, content in idx_files().items()}


def fashion_mnist() -> Files:
    """Four IDX files, of the publisher and of a package that installs them elsewhere."""
    return {
        f"{place}/{name}": content
        for name, content in idx_files().items()
        for place in ("fashion_mnist", "fashion-mnist")
    }


ELPV_MODULE = '''
import cv2
import numpy as np


def load_dataset():
    """60 cells of 10 modules, mono and poly by turns, with all four defect probabilities."""
    random = np.random.default_rng(3)
    patches = random.integers(0, 256, size=(60, 5, 5), dtype=np.uint8)
    images = np.stack([cv2.resize(one, (300, 300), interpolation=cv2.INTER_CUBIC) for one in patches])
    defects = np.array([0, 1 / 3, 2 / 3, 1] * 15)
    kinds = np.repeat(["mono", "poly"] * 5, 6)
    return images, defects, kinds
'''


def elpv() -> Files:
    """A package in place of elpv-dataset; its folder is to be put before others on sys.path."""
    return {"elpv_dataset/__init__.py": b"", "elpv_dataset/utils.py": ELPV_MODULE.encode()}


def digits() -> Files:
    """Nothing: scikit-learn carries them."""
    return {}


def titanic() -> Files:
    """Two tables and a sample in Kaggle's archive; of the mirror's files the two tables. Made-up passengers."""
    columns = ("PassengerId", "Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Ticket", "Fare", "Cabin", "Embarked")
    people = []
    for k in range(1, 37):
        name, sex = (f"Doe, Mrs. No. {k}", "female") if k % 2 else (f"Doe, Mr. No. {k}", "male")
        age, cabin = "" if k % 5 == 4 else 20 + k, "" if k % 4 else "C85"
        people.append((k, 1 + k % 3, name, sex, age, k % 3, 0, f"T {k}", 7.25 + k, cabin, "SCQ"[k % 3]))
    train, test = people[:24], people[24:]
    files = {
        "train.csv": table((columns[0], "Survived", *columns[1:]), *((p[0], p[0] % 2, *p[1:]) for p in train)),
        "test.csv": table(columns, *test),
        "gender_submission.csv": table(("PassengerId", "Survived"), *((p[0], p[0] % 2) for p in test)),
    }
    tables = {f"kaggle-csv/titanic/{name}": files[name] for name in ("train.csv", "test.csv")}
    return {"titanic.zip": zip_bytes(files), **tables}


def google_images() -> Files:
    """What its user has collected: a folder per class, and what is known of each image."""
    names = [f"images/{name}/{k:04d}.jpg" for name in ("black", "grizzly", "teddy") for k in range(4)]
    return {**pictures(names), "manifest.csv": table(("path",), *((name,) for name in names))}


MINIATURES: dict[str, Callable[[], Files]] = {
    function.__name__: function
    for function in (
        aerial_cactus,
        digit_recognizer,
        digits,
        dog_breed,
        dogs_vs_cats_redux,
        elpv,
        fashion_mnist,
        fisheries,
        google_images,
        mnist,
        mnist_sample,
        pets,
        plant_pathology_2020,
        state_farm,
        titanic,
    )
}


def make_miniature(slug: str, root: Path) -> Path:
    """Write the miniature of the competition `slug` as the mirror folder `root` and return it."""
    root.mkdir(parents=True, exist_ok=True)
    return write_files(root, MINIATURES[slug]())
