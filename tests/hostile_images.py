"""Odd and hostile image files, made here, each with what must come of it: these pixels, or an error in these words."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

HEIGHT, WIDTH = 24, 32
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # and one byte: 0 is no colour transform, 1 YCbCr, 2 YCCK


@dataclass(frozen=True, kw_only=True)
class HostileImage:
    """A file and what must come of it: exactly one of `pixels` and `refused`."""

    name: str
    data: bytes
    pixels: NDArray[np.uint8] | None = None  # (H, W, 3), RGB
    tolerance: int = 0  # of any value; lossy formats need some
    refused: str = ""  # words of the error
    noisy: bool = False  # a library prints a line of its own, which cannot be kept from it


def picture() -> NDArray[np.uint8]:
    """Return (HEIGHT, WIDTH, 3): smooth, and no two corners alike, so that no turn or flip goes unseen."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 5 * across, 30 + 8 * down, 200 - 3 * (across + down)], axis=2).clip(0, 255).astype(np.uint8)


def hostile_images() -> list[HostileImage]:
    """Return all of them, each with its own name."""
    return [*sound_jpegs(), *broken_jpegs(), *sound_pngs(), *broken_pngs(), *other_formats(), *no_images()]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the bytes of a file as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(tag: bytes, content: bytes) -> bytes:
    """Return one PNG chunk."""
    return struct.pack(">I", len(content)) + tag + content + struct.pack(">I", zlib.crc32(tag + content))


def png(
    pixels: bytes, *, height: int, width: int, bits: int, colour: int, before: bytes = b"", end: bool = True
) -> bytes:
    """Return a PNG of rows that carry their filter byte; `before` are chunks that stand before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + before + body + (chunk(b"IEND", b"") if end else b"")


def unfiltered(rows: NDArray[Any]) -> bytes:
    """Return PNG rows, each behind filter byte 0."""
    return b"".join(b"\0" + row.tobytes() for row in rows)


def on_white(colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `colours` (H, W, 3) seen over white through `alpha` (H, W)."""
    share = alpha[..., None] / 255
    return np.round(colours * share + 255 * (1 - share)).astype(np.uint8)


def turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return what a file that stores `image` shows, by the EXIF standard's table."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }[orientation](image)


def sound_jpegs() -> Iterator[HostileImage]:
    rgb, image = picture(), Image.fromarray(picture())
    grey = np.repeat(np.asarray(image.convert("L"))[..., None], 3, axis=2)
    fine: dict[str, Any] = {"quality": 95, "subsampling": 0}
    plain = encoded(image, "JPEG", **fine)

    def jpeg(name: str, data: bytes, pixels: NDArray[np.uint8] = rgb, tolerance: int = 8) -> HostileImage:
        return HostileImage(name=f"{name}.jpg", data=data, pixels=pixels, tolerance=tolerance)

    yield jpeg("plain", plain)
    yield jpeg("grey", encoded(image.convert("L"), "JPEG", quality=95), grey)
    yield jpeg("progressive", encoded(image, "JPEG", progressive=True, **fine))
    yield jpeg("restart markers", encoded(image, "JPEG", restart_marker_blocks=1, **fine))
    yield jpeg("chroma at a quarter", encoded(image, "JPEG", quality=95, subsampling=2), tolerance=16)
    yield jpeg("garbage behind its end", plain + b"garbage" * 100)
    yield jpeg("another JPEG behind its end", plain + encoded(Image.new("RGB", (9, 9)), "JPEG"))
    yield jpeg("zero bytes behind its end", plain + bytes(5000))
    yield jpeg("fill bytes before a marker", plain[:2] + b"\xff\xff\xff" + plain[2:])
    yield jpeg("a long comment", plain[:2] + b"\xff\xfe\xff\xff" + bytes(65_533) + plain[2:])
    yield jpeg("stored as RGB", encoded(image, "JPEG", keep_rgb=True, **fine))
    # Without a JFIF header, Adobe's "no transform" says that the three channels are RGB.
    as_rgb = encoded(Image.merge("YCbCr", image.split()), "JPEG", **fine)  # Pillow stores Y, Cb, Cr as they are
    yield jpeg("Adobe without transform", as_rgb[:2] + ADOBE + b"\0" + as_rgb[20:])
    cmyk = image.convert("CMYK")
    yield jpeg("CMYK, inverted as Adobe does", encoded(cmyk, "JPEG", **fine), tolerance=12)
    ycck = encoded(cmyk, "JPEG", quality=100)
    yield jpeg(
        "CMYK of one colour",
        encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG"),
        np.full((8, 8, 3), (0, 255, 255), dtype=np.uint8),
        3,
    )
    yield jpeg("CMYK progressive", encoded(cmyk, "JPEG", progressive=True, **fine), tolerance=12)
    assert ycck[:2] == plain[:2]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield jpeg("a colour profile", encoded(image, "JPEG", icc_profile=profile, **fine))
    yield jpeg("a colour profile that is garbage", encoded(image, "JPEG", icc_profile=b"garbage" * 50, **fine))
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        data = encoded(image, "JPEG", exif=exif, **fine)
        yield jpeg(f"EXIF orientation {orientation}", data, turned(rgb, orientation))
    exif = Image.Exif()
    exif[0x112] = 9
    yield jpeg("EXIF orientation 9, which there is not", encoded(image, "JPEG", exif=exif, **fine))
    yield jpeg("EXIF that is garbage", encoded(image, "JPEG", exif=b"Exif\0\0garbage garbage", **fine))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield jpeg("orientation in XMP", encoded(image, "JPEG", xmp=xmp, **fine), turned(rgb, 6))
    yield jpeg("a whole thumbnail", with_thumbnail(plain))
    yield jpeg(
        "two pictures in one, MPO", encoded(image, "MPO", save_all=True, append_images=[image.rotate(90)], **fine)
    )
    yield jpeg(
        "one pixel",
        encoded(Image.new("RGB", (1, 1), (9, 99, 199)), "JPEG", **fine),
        np.array([[[9, 99, 199]]], dtype=np.uint8),
        3,
    )
    yield jpeg(
        "as thin as can be",
        encoded(Image.new("L", (1, 65_500), 77), "JPEG"),
        np.full((65_500, 1, 3), 77, dtype=np.uint8),
        1,
    )
    # Nothing in the file says that something is missing: libjpeg fills the rest with grey, and so it is stored.
    half = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    yield HostileImage(
        name="cut, and an end put there.jpg", data=cut(encoded(Image.fromarray(half), "JPEG"), 0.6) + b"\xff\xd9"
    )


def with_thumbnail(plain: bytes) -> bytes:
    """Return a JPEG whose first segment holds a whole small JPEG, end marker and all."""
    small = b"Exif\0\0" + encoded(Image.new("RGB", (16, 16), "red"), "JPEG")
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + plain[2:]


def cut(data: bytes, share: float) -> bytes:
    """Return the first part of `data`."""
    return data[: int(len(data) * share)]


def broken_jpegs() -> Iterator[HostileImage]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    plain = encoded(noise, "JPEG", quality=90)
    progressive = encoded(noise, "JPEG", quality=90, progressive=True)

    def bad(name: str, data: bytes, words: str) -> HostileImage:
        return HostileImage(name=f"{name}.jpg", data=data, refused=words)

    for share in (0.02, 0.1, 0.5, 0.9):
        yield bad(f"cut at {share:.0%}", cut(plain, share), "is truncated: this JPEG of")
    yield bad("two bytes long", plain[:2], "is truncated: this JPEG of 2 bytes")
    yield bad("cut by two bytes", plain[:-2], "is truncated")
    yield bad("progressive, cut", cut(progressive, 0.5), "is truncated")
    yield bad("a thumbnail, cut", cut(with_thumbnail(plain), 0.8), "is truncated")
    yield bad("cut, and filled with zero bytes", cut(plain, 0.5) + bytes(len(plain) // 2), "is truncated")
    yield bad("an end without pixels", plain[:20] + b"\xff\xd9", "is a damaged JPEG: it ends without any pixels")
    yield bad(
        "a segment of no length", plain[:20] + b"\xff\xe0\x00\x00" + plain[20:], "a segment of 0 bytes at byte 20"
    )
    yield bad("no marker where one must be", plain[:20] + b"text" + plain[20:], "no marker at byte 20")
    at = plain.index(b"\xff\xc0")
    empty = plain[: at + 5] + b"\0\0\0\0" + plain[at + 9 :]
    yield bad("no rows and no columns", empty, "it does not say how many pixels it has")
    huge = plain[: at + 5] + b"\xff\xff\xff\xff" + plain[at + 9 :]
    yield bad("65,535 x 65,535 pixels", huge, "too many pixels: it claims 65,535 x 65,535, 4,295 megapixels")
    twelve = plain[: at + 4] + b"\x0c" + plain[at + 5 :]
    yield bad("12 bits a channel", twelve, "damaged JPEG")
    five = plain[: at + 9] + b"\x05" + plain[at + 10 :]
    yield bad("five channels", five, "damaged JPEG")
    tables = plain.index(b"\xff\xdb")
    yield bad("no quantisation tables", plain[:tables] + plain[plain.index(b"\xff\xc0") :], "damaged JPEG")


def sound_pngs() -> Iterator[HostileImage]:
    rgb, image = picture(), Image.fromarray(picture())
    level = rgb[..., 0]
    grey = np.repeat(level[..., None], 3, axis=2)
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH)
    size: dict[str, Any] = {"height": HEIGHT, "width": WIDTH}

    def file(name: str, data: bytes, pixels: NDArray[np.uint8] = rgb, tolerance: int = 0) -> HostileImage:
        return HostileImage(name=name if "." in name else f"{name}.png", data=data, pixels=pixels, tolerance=tolerance)

    yield file("PNG named.jpg", encoded(image, "PNG"))
    transparent = Image.fromarray(np.dstack([rgb, alpha]))
    yield file("PNG with alpha named.jpg", encoded(transparent, "PNG"), on_white(rgb, alpha), 1)
    yield file("alpha", encoded(transparent, "PNG"), on_white(rgb, alpha), 1)
    yield file(
        "grey with alpha", encoded(Image.fromarray(np.dstack([level, alpha]), "LA"), "PNG"), on_white(grey, alpha), 1
    )
    yield file("grey", encoded(Image.fromarray(level), "PNG"), grey)
    wide = level.astype(np.uint16) * 256 + 255  # the higher byte is what we want, rounding would give one more
    yield file("16-bit grey", encoded(Image.fromarray(wide), "PNG"), grey)
    wide_rgb = (rgb.astype(">u2") * 256 + 255).astype(">u2")
    yield file("16-bit RGB", png(unfiltered(wide_rgb), bits=16, colour=2, **size), rgb)
    wide_alpha = np.dstack([wide_rgb, alpha.astype(">u2") * 257]).astype(">u2")
    yield file("16-bit RGB with alpha", png(unfiltered(wide_alpha), bits=16, colour=6, **size), on_white(rgb, alpha), 1)
    bits = level > 100
    black_white = np.repeat((bits * 255).astype(np.uint8)[..., None], 3, axis=2)
    yield file("1-bit", encoded(Image.fromarray(bits), "PNG"), black_white)
    two = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    yield file(
        "2-bit grey",
        png(b"\0" + bytes([0b00011011]), height=1, width=4, bits=2, colour=0),
        np.repeat(two[..., None] * 85, 3, axis=2),
    )
    palette = Image.new("P", (WIDTH, HEIGHT), 1)
    palette.putpalette([255, 0, 0, 0, 128, 255])
    blue = np.full_like(rgb, (0, 128, 255))
    yield file("palette", encoded(palette, "PNG"), blue)
    yield file("palette, all transparent", encoded(palette, "PNG", transparency=b"\xff\x00"), np.full_like(rgb, 255))
    yield file(
        "palette, half transparent",
        encoded(palette, "PNG", transparency=b"\xff\x80"),
        on_white(blue, np.full_like(level, 128)),
        1,
    )
    one_colour = chunk(b"tRNS", struct.pack(">HHH", *rgb[0, 0]))
    seen = rgb.copy()
    seen[(rgb == rgb[0, 0]).all(axis=2)] = 255
    assert (seen != rgb).any()
    yield file(
        "RGB with one transparent colour", png(unfiltered(rgb), bits=8, colour=2, before=one_colour, **size), seen
    )
    one_level = chunk(b"tRNS", struct.pack(">H", level[0, 0]))
    yield file(
        "grey with one transparent level",
        png(unfiltered(level), bits=8, colour=0, before=one_level, **size),
        np.where(grey == grey[0, 0], np.uint8(255), grey),
    )
    wide_level = chunk(b"tRNS", struct.pack(">H", wide[0, 0]))
    yield file(
        "16-bit grey with one transparent level",
        png(unfiltered(wide.astype(">u2")), bits=16, colour=0, before=wide_level, **size),
        np.where(grey == grey[0, 0], np.uint8(255), grey),
    )
    yield file("interlaced", INTERLACED, np.array([[[10] * 3, [20] * 3]], dtype=np.uint8))
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[0x112] = orientation
        yield file(f"EXIF orientation {orientation}", encoded(image, "PNG", exif=exif), turned(rgb, orientation))
    yield file("animated", encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)]))
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    yield file("a gamma", png(unfiltered(rgb), bits=8, colour=2, before=gamma, **size))
    yield file("bytes behind its end", encoded(image, "PNG") + b"garbage")
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9))
    yield file("50 MB of text in 50 kB", png(unfiltered(rgb), bits=8, colour=2, before=bomb, **size))
    yield file("more pixels than it says", png(unfiltered(rgb) + bytes(10_000_000), bits=8, colour=2, **size))
    yield file(
        "one pixel", encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"), np.array([[[1, 2, 3]]], dtype=np.uint8)
    )
    yield file(
        "one row",
        encoded(Image.new("RGB", (20_000, 1), (1, 2, 3)), "PNG"),
        np.full((1, 20_000, 3), (1, 2, 3), dtype=np.uint8),
    )


# Two grey pixels, interlaced by Adam7: the first stands in pass 1, the second in pass 6.
INTERLACED = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 1))
    + chunk(b"IDAT", zlib.compress(b"\0\x0a\0\x14"))
    + chunk(b"IEND", b"")
)


def broken_pngs() -> Iterator[HostileImage]:
    rgb = picture()
    size: dict[str, Any] = {"height": HEIGHT, "width": WIDTH, "bits": 8, "colour": 2}
    whole = png(unfiltered(rgb), **size)

    def bad(name: str, data: bytes, words: str) -> HostileImage:
        return HostileImage(name=f"{name}.png", data=data, refused=words)

    yield bad("signature only", whole[:8], "is truncated: this PNG of 8 bytes")
    yield bad("cut in its header", whole[:20], "is truncated")
    yield bad("cut in its pixels", whole[: len(whole) // 2], "is truncated")
    yield bad("no IEND", png(unfiltered(rgb), end=False, **size), "is truncated")
    flipped = bytearray(whole)
    flipped[60] ^= 1
    yield bad("one bit flipped", bytes(flipped), "the checksum of its 'IDAT' chunk is wrong")
    yield bad(
        "30,000 x 30,000 pixels",
        png(b"\0", height=30_000, width=30_000, bits=8, colour=2),
        "too many pixels: it claims 30,000 x 30,000, 900 megapixels; at most 179 are decoded",
    )
    yield bad(
        "2 billion pixels wide", png(b"\0", height=2**31 - 1, width=2**31 - 1, bits=8, colour=2), "too many pixels"
    )
    yield bad(
        "no pixels at all", png(b"\0", height=0, width=0, bits=8, colour=2), "does not say how many pixels it has"
    )
    yield HostileImage(
        name="fewer pixels than it says.png",
        data=png(unfiltered(rgb[:9]), **size),
        refused="or are too few",
        noisy=True,
    )
    yield bad("3 bits a channel", png(unfiltered(rgb), height=HEIGHT, width=WIDTH, bits=3, colour=2), "damaged PNG")
    yield bad(
        "pixels that are no zlib stream",
        whole[:33] + chunk(b"IDAT", b"not zlib" * 20) + chunk(b"IEND", b""),
        "damaged PNG",
    )


def other_formats() -> Iterator[HostileImage]:
    rgb, image = picture(), Image.fromarray(picture())
    level = rgb[..., 0]
    grey = np.repeat(level[..., None], 3, axis=2)
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH)
    transparent = Image.fromarray(np.dstack([rgb, alpha]))
    other = Image.new("RGB", (WIDTH, HEIGHT), "black")

    def file(name: str, data: bytes, pixels: NDArray[np.uint8] = rgb, tolerance: int = 0) -> HostileImage:
        return HostileImage(name=name, data=data, pixels=pixels, tolerance=tolerance)

    def bad(name: str, data: bytes, words: str) -> HostileImage:
        return HostileImage(name=name, data=data, refused=words)

    gif = encoded(image.quantize(256), "GIF")
    yield file("GIF named.jpg", gif, tolerance=12)
    yield file("animated.gif", encoded(image.quantize(256), "GIF", save_all=True, append_images=[other]), tolerance=12)
    flat = Image.new("P", (WIDTH, HEIGHT), 1)
    flat.putpalette([255, 0, 0, 0, 128, 255])
    yield file("transparent.gif", encoded(flat, "GIF", transparency=1), np.full_like(rgb, 255))
    yield bad("cut.gif", cut(gif, 0.9), "is truncated")
    yield file("24 bits.bmp", encoded(image, "BMP"))
    yield file(
        "grey.bmp", encoded(image.convert("L"), "BMP"), np.repeat(np.asarray(image.convert("L"))[..., None], 3, 2)
    )
    yield file(
        "1 bit.bmp",
        encoded(Image.fromarray(level > 100), "BMP"),
        np.repeat(((level > 100) * 255).astype(np.uint8)[..., None], 3, 2),
    )
    yield bad("cut.bmp", cut(encoded(image, "BMP"), 0.5), "is truncated")
    yield bad(
        "huge.bmp",
        encoded(image, "BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + encoded(image, "BMP")[26:],
        "too many pixels",
    )
    yield file("pages.tif", encoded(image, "TIFF", save_all=True, append_images=[other]))
    yield file("deflated.tif", encoded(image, "TIFF", compression="tiff_deflate"))
    wide = level.astype(np.uint16) * 256 + 255
    yield file("16-bit grey.tif", encoded(Image.fromarray(wide), "TIFF"), grey)
    yield file("16-bit grey, big-endian.tif", encoded(Image.fromarray(wide.astype(">u2")), "TIFF"), grey)
    yield file("CMYK.tif", encoded(image.convert("CMYK"), "TIFF"), tolerance=1)
    exif = Image.Exif()
    exif[0x112] = 6
    yield file("orientation 6.tif", encoded(image, "TIFF", exif=exif), turned(rgb, 6))
    yield bad(
        "float.tif", encoded(Image.fromarray(level.astype(np.float32)), "TIFF"), "mode 'F', which are not supported"
    )
    yield bad(
        "32-bit.tif", encoded(Image.fromarray(level.astype(np.int32)), "TIFF"), "mode 'I', which are not supported"
    )
    yield bad("LAB.tif", encoded(image.convert("LAB"), "TIFF"), "mode 'LAB', which are not supported")
    yield bad("cut.tif", cut(encoded(image, "TIFF"), 0.5), "TIFF")
    yield file("lossless.webp", encoded(image, "WEBP", lossless=True))
    yield file("lossy.webp", encoded(image, "WEBP", quality=95), tolerance=16)
    yield file("alpha.webp", encoded(transparent, "WEBP", lossless=True, exact=True), on_white(rgb, alpha), 1)
    yield file("animated.webp", encoded(image, "WEBP", lossless=True, save_all=True, append_images=[other]))
    yield bad("cut.webp", cut(encoded(image, "WEBP", lossless=True), 0.5), "is truncated: this WebP of")
    yield file("grey.pgm", encoded(Image.fromarray(level), "PPM"), grey)
    yield file(
        "text of numbers.ppm", b"P3\n2 1\n255\n255 0 0 0 0 255\n", np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    )
    yield bad("cut.ppm", cut(encoded(image, "PPM"), 0.5), "is truncated")
    yield file("icon.ico", encoded(image.resize((16, 16)), "ICO", sizes=[(16, 16)]), np.asarray(image.resize((16, 16))))
    yield file("wavelets.jp2", encoded(image, "JPEG2000"), tolerance=1)
    yield bad("cut.jp2", cut(encoded(image, "JPEG2000"), 0.5), "JPEG 2000")
    yield file("film frame.avif", encoded(image, "AVIF", quality=95), tolerance=16)
    yield bad("cut.avif", cut(encoded(image, "AVIF"), 0.7), "AVIF")
    yield bad(
        "phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "is a HEIC picture, which is not supported"
    )


def no_images() -> Iterator[HostileImage]:
    noise = np.random.default_rng(3).integers(128, 256, 500, dtype=np.uint8).tobytes()
    for name, data, words in [
        ("nothing.jpg", b"", "is empty: it has 0 bytes"),
        ("log-in page.jpg", b"<!DOCTYPE html><html><body>Please log in</body></html>", "54 bytes are an HTML page"),
        ("page behind a mark.jpg", b"\xef\xbb\xbf\r\n <HTML>", "are an HTML page"),
        ("drawing.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "are an SVG drawing"),
        ("feed.jpg", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "are an XML document"),
        ("paper.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "are a PDF document"),
        (
            "program.jpg",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
            "are a PostScript program",
        ),
        ("archive.jpg", b"PK\x03\x04" + bytes(30), "are a zip archive"),
        ("squeezed.jpg", b"\x1f\x8b\x08" + bytes(30), "are a gzip archive"),
        (
            "pointer.jpg",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "are a Git LFS pointer",
        ),
        ("note.jpg", b"404: Not Found", "14 bytes are text"),
        ("answer.jpg", b'{"error": "rate limit"}', "are text"),
        ("noise.jpg", noise, "are of no known format"),
        ("zero bytes.jpg", bytes(5000), "are nothing but zero bytes"),
        ("scan.jpg", bytes(128) + b"DICM" + noise, "are a DICOM file"),
        ("film.jpg", b"\0\0\0\x18ftypisom" + bytes(100), "a video, or a picture in a video's container"),
        ("layers.jpg", b"8BPS\0\x01" + bytes(100), "are a Photoshop document"),
        ("one byte.jpg", b"\xff", "1 bytes are of no known format"),
        ("start of a JPEG, then text.jpg", b"\xff\xd8 and no more of it", "are of no known format"),
        ("start of a GIF.gif", b"GIF89a", "GIF"),
        ("start of a bitmap.bmp", b"BM", "BMP"),
        ("start of a TIFF.tif", b"II*\0", "TIFF"),
    ]:
        yield HostileImage(name=name, data=data, refused=words)
