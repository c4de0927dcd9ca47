"""Received: whether what a server sent may be kept, and is an image, judged by headers and bytes, never by its name."""

import io
import re
from dataclasses import dataclass
from email.message import Message
from typing import Any

from kit.errors import DataError
from kit.scrape.addresses import RefusedError
from kit.scrape.web import USER_AGENT
from kit.store.decode import decode_image
from kit.store.headers import described, kind_of

# Kinds that are collected, with the suffixes under which `data.labels` finds them again.
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "WebP": ".webp"}
OPT_OUTS = ("noindex", "noimageindex", "noai", "noimageai", "none")
_LINK_LICENCE = re.compile(r'<([^<>]{1,500})>\s*;[^,]{0,200}?\brel\s*=\s*"?[^",;]{0,80}\blicense\b', re.IGNORECASE)
_XMP_LICENCE = re.compile(
    rb'xmpRights:WebStatement\s*=\s*"([^"]{1,500})"|<xmpRights:WebStatement>([^<]{1,500})<'
    rb'|<cc:license\s+rdf:resource\s*=\s*"([^"]{1,500})"'
)
_EXIF_COPYRIGHT = 0x8298
_XMP_REACH = 1 << 19  # bytes in which the XMP packet is looked for; it stands near the start


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an image's own bytes say of it."""

    format: str  # "jpeg", "png", "gif", "bmp", "tiff", "webp"
    suffix: str  # of a file name, e.g. ".jpg"
    width: int
    height: int
    licence: str = ""  # the EXIF copyright or the XMP licence, where there is one


def refuse_opt_out(headers: Message) -> None:
    """Raise `RefusedError` where the publisher has opted out by a header.

    Read are `X-Robots-Tag` with noindex, noimageindex, noai, noimageai or none, for all or for this kit by
    name, and `TDM-Reservation: 1` (the text and data mining reservation protocol).
    """
    for header in headers.get_all("X-Robots-Tag") or []:
        agent, separator, rules = str(header).rpartition(":")
        if separator and agent.strip().lower() not in (USER_AGENT, "*", "unavailable_after"):
            continue  # "otherbot: noindex" is another program's rule
        for rule in (rules if separator else str(header)).split(","):
            if rule.strip().lower() in OPT_OUTS:
                raise RefusedError("opted out (X-Robots-Tag)", opt_out=rule.strip().lower())
    if str(headers.get("TDM-Reservation", "")).strip() == "1":
        raise RefusedError("opted out (TDM-Reservation)", opt_out="tdm-reservation")


def licence_in(headers: Message) -> str:
    """Return the address of the licence that a `Link: <...>; rel=license` header gives, or an empty string."""
    for header in headers.get_all("Link") or []:
        if found := _LINK_LICENCE.search(str(header)[:4096]):
            return _one_line(found[1])
    return ""


def facts_of(data: bytes, *, max_pixels: int) -> Facts:
    """Check that `data` is a whole image and return what is known of it.

    The format comes from the first bytes, the size from the header before anything is decoded (a file of some kilobytes
    can promise gigabytes of pixels), and at last the pixels are decoded as `data.decode` does it everywhere.

    Raises:
        RefusedError: not an image, of a format that is not read, cut off, damaged, or with too many pixels.
    """
    if not data:
        raise RefusedError("empty answer")
    kind = kind_of(data)
    if not kind:
        raise RefusedError(f"not an image: {described(data).partition(':')[0]}")
    if kind not in SUFFIXES:
        raise RefusedError(f"format not collected ({kind})")
    header = _opened(data, kind)
    width, height = header.size
    if width * height > max_pixels:
        raise RefusedError(f"too many pixels ({width:,} x {height:,})")
    try:
        pixels = decode_image(data, name="the answer")
    except DataError as error:
        raise RefusedError("cut off" if "truncated" in str(error) else "damaged image") from None
    height, width = pixels.shape[:2]  # upright, whatever the EXIF orientation
    licence = _licence_inside(data, header)
    return Facts(format=kind.lower(), suffix=SUFFIXES[kind], width=width, height=height, licence=licence)


def _opened(data: bytes, kind: str) -> Any:
    """Return Pillow's view of the header. `Image.open` would warn of large images; here the limit is the caller's."""
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    readers: dict[str, Any] = {
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }
    try:
        return readers[kind](io.BytesIO(data), "")
    except Exception:  # Pillow's readers raise of everything on hostile bytes: SyntaxError, struct.error, MemoryError
        raise RefusedError("damaged image") from None


def _licence_inside(data: bytes, header: Any) -> str:
    if found := _XMP_LICENCE.search(data[:_XMP_REACH]):
        return _one_line(next(group for group in found.groups() if group).decode("utf-8", errors="replace"))
    try:
        text = header.getexif().get(_EXIF_COPYRIGHT, "")
    except Exception:  # damaged EXIF raises of everything, and is no fault of the pixels
        return ""
    return _one_line(text) if isinstance(text, str) else ""


def _one_line(text: str) -> str:
    """Return foreign text fit for a CSV cell: one line, not a spreadsheet's formula, at most 200 characters."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split()).lstrip("=+-@ ")[:200]
