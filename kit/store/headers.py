"""Headers: what the first bytes of a file say it is, how many pixels it claims, and whether its end is there.

Nothing is decoded here. JPEG and PNG, nearly all images there are, are looked at by hand in microseconds, because
OpenCV gives half a picture for half a file; every other kind is Pillow's to judge (`kit.store.decode`).
"""

import struct
import zlib
from dataclasses import dataclass, replace

from kit.errors import DataError

JPEG, PNG = "JPEG", "PNG"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIC"}
MAGIC = {
    b"\xff\xd8": JPEG,
    PNG_SIGNATURE: PNG,
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\x01\0": "ICO",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"P1": "PNM",
    b"P2": "PNM",
    b"P3": "PNM",
    b"P4": "PNM",
    b"P5": "PNM",
    b"P6": "PNM",
}
NO_IMAGE = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript program",
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"version https://git-lfs": "a Git LFS pointer, whose file was not fetched",
    b"8BPS": "a Photoshop document",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What JPEG or PNG bytes say of themselves; a file that ends too early has none, it is an error."""

    height: int
    width: int
    plain: bool  # OpenCV's pixels are the reference's: 8 bits, grey or RGB, no alpha
    upright: bool = True  # EXIF does not turn it; False also where that is not plain to see


def kind_of(data: bytes) -> str:
    """Return the image format that the first bytes belong to, e.g. "JPEG" or "HEIC", or "" for none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:12], "")
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "")


def described(data: bytes) -> str:
    """Return what bytes that are no image seem to be, e.g. "an HTML page"."""
    for magic, what in NO_IMAGE.items():
        if data.startswith(magic):
            return what
    if not data.strip(b"\0"):
        return "nothing but zero bytes"
    if data[128:132] == b"DICM":
        return "a DICOM file"
    if data[4:8] == b"ftyp":
        return "a video, or a picture in a video's container"
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page: the download may have met a log-in or an error page"
    if b"<svg" in start:
        return "an SVG drawing"
    if start.startswith(b"<?xml"):
        return "an XML document"
    try:
        letters = data[:1024].decode("utf-8", "strict" if len(data) <= 1024 else "ignore")
    except UnicodeDecodeError:
        return "of no known format"
    ignored = len(data[:1024]) - len(letters.encode())  # a character that is cut in two has at most 3 bytes left
    is_text = ignored < 4 and all(letter.isprintable() or letter.isspace() for letter in letters)
    return "text" if is_text else "of no known format"


def jpeg_header(data: bytes, *, name: str) -> Header:
    """Walk the segments of a JPEG up to its pixels and look for its end.

    An embedded thumbnail has an end marker of its own; it lies before the pixels and is not mistaken for the file's.
    Bytes behind the end are no fault: cameras put second pictures and films there.

    Raises:
        DataError: truncated, or damaged.
    """
    size, at = len(data), 2
    frame: Header | None = None
    upright = True
    while True:
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] == b"\xff":
            at += 1  # fill bytes
        if data[at : at + 2] == b"\xff\xd9":
            raise DataError(f"{name} is a damaged JPEG: it ends without any pixels.")
        if at + 4 > size:
            raise _truncated(name, JPEG, data)
        if data[at] != 0xFF:
            raise DataError(f"{name} is a damaged JPEG: no marker at byte {at:,}, where a segment should begin.")
        marker = data[at + 1]
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # these have no length
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            raise DataError(f"{name} is a damaged JPEG: a segment of {length} bytes at byte {at:,}.")
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if at + 10 > size:
                raise _truncated(name, JPEG, data)
            bits, height, width, channels = struct.unpack(">BHHB", data[at + 4 : at + 10])
            # Baseline, extended and progressive, Huffman coded; CMYK, 12 bits and arithmetic coding are Pillow's.
            frame = Header(
                height=height, width=width, plain=bits == 8 and channels in (1, 3) and marker in (0xC0, 0xC1, 0xC2)
            )
        elif marker == 0xE1:
            upright = upright and not _may_turn(data[at + 4 : at + 2 + length])
        at += 2 + length
    if not data.endswith(b"\xff\xd9") and data.find(b"\xff\xd9", at) < 0:
        raise _truncated(name, JPEG, data)
    if frame is None or not frame.height or not frame.width:
        raise DataError(f"{name} is a damaged JPEG: it does not say how many pixels it has.")
    if frame.plain and data.find(b"tiff:Orientation", 0, at) >= 0:
        return Header(height=frame.height, width=frame.width, plain=False)  # XMP: OpenCV does not turn by it
    return frame if upright else replace(frame, upright=False)


def png_header(data: bytes, *, name: str) -> Header:
    """Walk the chunks of a PNG and check each one's CRC.

    Raises:
        DataError: truncated, or damaged.
    """
    size, at = len(data), len(PNG_SIGNATURE)
    frame: Header | None = None
    plain, pixels_seen = True, False
    view = memoryview(data)
    while True:
        if at + 12 > size:
            raise _truncated(name, PNG, data)
        length, tag = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > size:
            raise _truncated(name, PNG, data)
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise DataError(f"{name} is a damaged PNG: the checksum of its {tag.decode('latin-1')!r} chunk is wrong.")
        if tag == b"IEND":
            break
        if tag == b"IHDR" and length == 13:
            width, height, bits, colour = struct.unpack(">IIBB", data[at + 8 : at + 18])
            if bits not in PNG_BITS.get(colour, ()):
                raise DataError(f"{name} is a damaged PNG: {bits} bits of colour type {colour}, which there is not.")
            # Grey, RGB or palette of at most 8 bits a channel.
            frame = Header(height=height, width=width, plain=bits <= 8 and colour in (0, 2, 3))
        elif tag in (b"tRNS", b"eXIf") or (tag == b"iTXt" and b"tiff:Orientation" in data[at:end]):
            plain = False
        elif tag == b"IDAT" and not pixels_seen and length >= 2:
            pixels_seen = True
            if data[at + 8] & 15 != 8 or int.from_bytes(data[at + 8 : at + 10], "big") % 31:  # see RFC 1950
                raise DataError(f"{name} is a damaged PNG: its pixels are not compressed as a PNG's are.")
        at = end
    if frame is None or not frame.height or not frame.width:
        raise DataError(f"{name} is a damaged PNG: it does not say how many pixels it has.")
    return frame if plain else Header(height=frame.height, width=frame.width, plain=False)


def _may_turn(exif: bytes) -> bool:
    """Tell whether anything in an EXIF segment may be an orientation other than 1, the upright one.

    Nothing is parsed: readers of EXIF differ in what they forgive. Where the two bytes of the tag are anywhere but in
    the one entry that says "upright", e.g. by chance in a thumbnail, the answer is yes, which costs time only.
    """
    entries = ((b"\x12\x01", b"\x12\x01\x03\0\x01\0\0\0\x01\0"), (b"\x01\x12", b"\x01\x12\0\x03\0\0\0\x01\0\x01"))
    return any(exif.count(tag) != exif.count(upright) for tag, upright in entries)


def _truncated(name: str, kind: str, data: bytes) -> DataError:
    return DataError(f"{name} is truncated: this {kind} of {len(data):,} bytes ends before its pixels do.")
