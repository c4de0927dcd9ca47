"""A look at the data: what the network sees of some images, before and after augmentation.

One row per image: as it is stored, as evaluation sees it, and as training sees it in the first epochs. The same
pictures go to `sheet.png`, for a glance, and to `index.html`, a page without links to anything else. Class names and
ids are other people's words: every one is escaped.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kit.config import AugmentConfig
from kit.data.augment import central_view, training_view
from kit.data.samples import Samples
from kit.data.schema import JOINED
from kit.errors import DataError
from kit.home import fingerprint, make_folder, write_text, writing
from kit.store.decode import Image, printable
from kit.store.pack import Pack

CELL = 144  # side of a picture on the sheet, pixels
GAP = 6
NAMES_WIDTH = 220  # room for class and id beside the pictures, pixels
TEXT_SIZE = 13

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4ae;--line:#3a424c;--paper:#0f1419}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;
max-width:1100px;padding:1rem;box-sizing:border-box}
.soft,small{color:var(--soft)}
.wide{overflow-x:auto}
table{border-collapse:collapse;table-layout:fixed;width:100%;min-width:44rem}
th,td{text-align:left;padding:.2rem .3rem;border-bottom:1px solid var(--line);vertical-align:middle}
thead th:first-child{width:18%}
tbody th{font-weight:600;overflow-wrap:anywhere}
th small{font-weight:400}
img{display:block;width:100%;max-width:100%;aspect-ratio:1;object-fit:contain}
img.small{image-rendering:pixelated}
pre{font-size:.85em;white-space:pre-wrap;overflow-wrap:anywhere}
"""


@dataclass(frozen=True, kw_only=True)
class Views:
    """What is done to an image on its way to the network."""

    augment: AugmentConfig
    image_size: int  # side of the square that the network sees, pixels
    crop_share: float  # share of the shorter side that evaluation sees, in (0, 1]
    seed: int  # of the random views
    num_epochs: int = 5  # random views to show, one per epoch, from epoch 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """The pictures of one image."""

    class_name: str
    image_id: str
    pictures: Sequence[Image]  # stored (H, W, 3), evaluation (S, S, 3), then one (S, S, 3) per epoch


def write_look(
    samples: Samples,
    pack: Pack,
    *,
    title: str,
    views: Views,
    folder: Path,
    num_classes: int = 40,
    per_class: int = 1,
) -> tuple[Path, Path]:
    """Write `sheet.png` and `index.html` to `folder` and return their paths.

    Args:
        samples: the table; training images are shown.
        pack: their pixels.
        title: heading of both.
        views: what the network sees.
        folder: created if need be.
        num_classes: rows are for at most so many classes, spread over all.
        per_class: images of each class, the same ones each time.

    Raises:
        ConfigError: the augmentation cannot be built.
        DataError: none of the training images is in the pack.
    """
    chosen = choose(samples.train, samples.classes, pack, num_classes=num_classes, per_class=per_class)
    if not chosen:
        raise DataError(f"{title}: there is no training image to look at.")
    evaluated = central_view(image_size=views.image_size, crop_share=views.crop_share)
    trained = training_view(views.augment, image_size=views.image_size, seed=views.seed)
    rows = []
    for class_name, image_id in chosen:
        stored = pack.image(pack.row_of[image_id])
        random = [trained([stored], [image_id], epoch)[0] for epoch in range(1, views.num_epochs + 1)]
        pictures = [stored, *evaluated([stored], [image_id], 0), *random]
        rows.append(Row(class_name=printable(class_name), image_id=printable(image_id), pictures=pictures))
    make_folder(folder)
    with writing(folder / "sheet.png", "wb") as file:
        file.write(_png(_sheet(rows, _headings(views), title=title)))
    write_text(folder / "index.html", _page(rows, views, title=title, num_classes=len(samples.classes)))
    return folder / "sheet.png", folder / "index.html"


def choose(
    table: pd.DataFrame, classes: Sequence[str], pack: Pack, *, num_classes: int, per_class: int
) -> list[tuple[str, str]]:
    """Return (class, image_id) of `per_class` images of at most `num_classes` classes, evenly spread over all.

    An image is chosen by a hash of its id, not by its place: files often lie in the order of their making.

    Args:
        table: rows with `image_id` and `label`; several labels are joined as `kit.data.schema` says.
        classes: in order.
        pack: rows that it does not hold are passed over.
        num_classes: at least 1.
        per_class: at least 1.
    """
    ids_of: dict[str, list[str]] = {name: [] for name in classes}
    for image_id, label in zip(table["image_id"], table["label"], strict=True):
        if image_id in pack.row_of:
            for name in [label] if label in ids_of else label.split(JOINED):
                ids_of.get(name, []).append(image_id)
    filled = [name for name in classes if ids_of[name]]
    places = np.linspace(0, len(filled) - 1, min(num_classes, len(filled))).round().astype(int)
    return [
        (filled[place], image_id)
        for place in places
        for image_id in sorted(ids_of[filled[place]], key=fingerprint)[:per_class]
    ]


def _headings(views: Views) -> list[str]:
    return ["stored", "evaluation", *(f"training, epoch {epoch}" for epoch in range(1, views.num_epochs + 1))]


def _sheet(rows: Sequence[Row], headings: Sequence[str], *, title: str) -> Image:
    """Return the sheet as (H, W, 3): a line of pictures per row, names to their left."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    step = CELL + GAP
    top = 4 * TEXT_SIZE + GAP
    size = (NAMES_WIDTH + len(headings) * step, top + len(rows) * step)
    sheet = Pillow.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_SIZE)

    def write(text: str, *, x: int, y: int, room: int, fill: str = "black") -> None:
        while text and draw.textlength(text, font=font) > room:
            text = text[: -max(2, len(text) // 10)] + "…" if len(text) > 2 else ""
        draw.text((x, y), text, font=font, fill=fill)

    write(printable(title), x=GAP, y=GAP, room=size[0] - 2 * GAP)
    for column, heading in enumerate(headings):
        write(heading, x=NAMES_WIDTH + column * step, y=top - TEXT_SIZE - GAP, room=CELL, fill="dimgrey")
    for k, row in enumerate(rows):
        y = top + k * step
        write(row.class_name, x=GAP, y=y + GAP, room=NAMES_WIDTH - 2 * GAP)
        write(row.image_id, x=GAP, y=y + GAP + 2 * TEXT_SIZE, room=NAMES_WIDTH - 2 * GAP, fill="dimgrey")
        for column, picture in enumerate(row.pictures):
            fitted = _fitted(picture)
            left = NAMES_WIDTH + column * step + (CELL - fitted.shape[1]) // 2
            sheet.paste(Pillow.fromarray(fitted), (left, y + (CELL - fitted.shape[0]) // 2))
    return np.asarray(sheet)


def _fitted(picture: Image) -> Image:
    """Return the picture with its longer side CELL pixels; single pixels stay visible where it is enlarged."""
    import cv2

    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    fitted: Image = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    return fitted


def _png(picture: Image) -> bytes:
    import cv2

    data: bytes = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()  # OpenCV writes BGR
    return data


def _page(rows: Sequence[Row], views: Views, *, title: str, num_classes: int) -> str:
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("class and image", *_headings(views)))
    settings = {"image_size": views.image_size, "seed": views.seed, **asdict(views.augment)}
    lines = "\n".join(f"{key} = {_as_toml(value)}" for key, value in settings.items())
    shown = len({row.class_name for row in rows})
    body = "\n".join(_page_row(row, views) for row in rows)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>\n<h1>{escape(title)}</h1>\n"
        f'<p class="soft">{shown} of {num_classes} classes. Evaluation sees the middle '
        f"{views.crop_share:.1%} of the shorter side; training sees another view in each epoch. Settings:</p>\n"
        f"<pre>{escape(lines)}</pre>\n"
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n'
        "</main></body></html>\n"
    )


def _as_toml(value: Any) -> str:
    """Return a setting as a recipe has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_as_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _page_row(row: Row, views: Views) -> str:
    cells = "".join(
        f"<td>{_page_picture(picture, alt=f'{row.class_name}, {row.image_id}, {heading}')}</td>"
        for picture, heading in zip(row.pictures, _headings(views), strict=True)
    )
    height, width = row.pictures[0].shape[:2]
    name = f"{escape(row.class_name)}<br><small>{escape(row.image_id)}<br>{width} x {height}</small>"
    return f'<tr><th scope="row">{name}</th>{cells}</tr>'


def _page_picture(picture: Image, *, alt: str) -> str:
    import cv2

    small = max(picture.shape) < CELL
    options: Any = [] if small else [cv2.IMWRITE_JPEG_QUALITY, 90]
    data = cv2.imencode(".png" if small else ".jpg", picture[..., ::-1], options)[1].tobytes()
    text = base64.b64encode(data).decode("ascii")
    kind = "image/png" if small else "image/jpeg"
    style = ' class="small"' if small else ""
    return f'<img{style} src="data:{kind};base64,{text}" alt="{escape(alt, quote=True)}">'
