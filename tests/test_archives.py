"""Archives: hostile ones, each refused in its own words and without a trace; good ones, unpacked to their files."""

import bz2
import gzip
import io
import itertools
import lzma
import os
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from toys import tar_bytes, write_files

from kit.errors import FetchError, KitError, StorageError
from kit.files.archives import Limits, unpack

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
NOISE = random.Random(1).randbytes(50_000)
MIB = 1 << 20
counter = itertools.count()


def zip_bytes(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED, mode: int = 0o100644) -> bytes:
    """Return a zip of (name, content) pairs; names may be hostile, and may repeat."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as bundle:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type, info.external_attr = name, method, mode << 16
            bundle.NameToInfo.clear()  # or it would warn of a name that repeats
            bundle.writestr(info, content)
    return buffer.getvalue()


def tar_of(
    *members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w", tar_format: int = tarfile.GNU_FORMAT
) -> bytes:
    """Return a tar of (name, content) pairs and bare headers; names may be hostile, and may repeat."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tar_format) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                header = tarfile.TarInfo(member[0])
                header.size = len(member[1])
                tar.addfile(header, io.BytesIO(member[1]))
    return buffer.getvalue()


def header(kind: bytes, *, name: str = "sly", target: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size
    return made


def patched(archive: bytes, old: bytes, new: bytes, *, count: int = -1) -> bytes:
    """Return the archive with some bytes replaced; they must be in it."""
    assert old in archive and len(old) == len(new)
    return archive.replace(old, new, count)


def lying_zip(declared: int, content: bytes = b"0123456789" * 100) -> bytes:
    """Return a deflated zip that declares another size than it has; its checksum is that of the true content."""
    archive = zip_bytes(("sly", content), method=zipfile.ZIP_DEFLATED)
    return patched(archive, struct.pack("<L", len(content)), struct.pack("<L", declared))


def lying_zip_with_fitting_checksum() -> bytes:
    """Return a zip that declares 10 bytes and their checksum, and unpacks to 1,000."""
    content = b"0123456789" * 100
    return patched(lying_zip(10), struct.pack("<L", zlib.crc32(content)), struct.pack("<L", zlib.crc32(content[:10])))


def overlapping_zip() -> bytes:
    """Return a zip whose list names the same bytes for two members, as a zip that is made to swell does."""
    archive = zip_bytes(("one", NOISE), ("two", b""))
    second = archive.index(b"PK\x03\x04", 4)
    entry = archive.rindex(b"PK\x01\x02")
    assert archive[entry + 42 : entry + 46] == struct.pack("<L", second)
    fake = bytearray(archive)
    fake[entry + 42 : entry + 46] = struct.pack("<L", 1000)
    return bytes(fake)


def negative_tar() -> bytes:
    """Return a tar whose first header has a negative size, which would lead its reader round in circles."""
    archive = bytearray(tar_of(("sly", b""), ("b", b"x")))
    archive[124:136] = b"\xff" * 10 + b"\xfc\x00"  # base 256: -1024
    checksum = sum(archive[:148]) + 8 * ord(" ") + sum(archive[156:512])
    archive[148:156] = b"%06o\0 " % checksum
    return bytes(archive)


def hungry_tar() -> bytes:
    """Return a small tar.gz whose name alone would take 64 MiB of memory."""
    long = header(tarfile.GNUTYPE_LONGNAME, name="././@LongLink", size=64 * MIB)
    return gzip.compress(long.tobuf(tarfile.GNU_FORMAT) + b"a" * (64 * MIB) + tar_of(("a", b"")), 1)


TAR = tar_bytes({"images/a.png": b"one", "images/b.png": b"two"})
TGZ = tar_bytes({"a.bin": NOISE}, mode="w:gz")
TXZ = tar_bytes({"a.bin": NOISE}, mode="w:xz")
ZIP = zip_bytes(("images/a.png", b"one"), ("b.bin", CONTENT))

# what it is -> (archive, words of the refusal that belong to it alone)
HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "zip: absolute path": (zip_bytes(("fine", b""), ("/tmp-sly/x", b"x")), "'/tmp-sly/x' has an absolute path"),
    "tar: absolute path": (tar_of(("fine", b""), ("/tmp-sly/x", b"x")), "'/tmp-sly/x' has an absolute path"),
    "zip: above": (zip_bytes(("fine", b""), ("a/../../sly", b"x")), r"'a/../../sly' leaves its folder by '..'"),
    "tar: above": (tar_of(("fine", b""), ("../sly", b"x")), r"'../sly' leaves its folder by '..'"),
    "zip: backslash": (zip_bytes(("..\\sly", b"x")), "has a backslash in its name"),
    "tar: backslash": (tar_of(("a\\b", b"x")), "has a backslash in its name"),
    "zip: drive letter": (zip_bytes(("C:/sly", b"x")), "has a path with a drive letter"),
    "tar: drive letter": (tar_of(("c:sly", b"x")), "has a path with a drive letter"),
    "zip: link": (zip_bytes(("sly", b"/etc/passwd"), mode=0o120777), "'sly' is a link"),
    "zip: device": (zip_bytes(("sly", b""), mode=stat.S_IFCHR | 0o666), "'sly' is a device"),
    "zip: pipe": (zip_bytes(("sly", b""), mode=stat.S_IFIFO | 0o666), "'sly' is a pipe"),
    "zip: socket": (zip_bytes(("sly", b""), mode=stat.S_IFSOCK | 0o666), "'sly' is a socket"),
    "tar: link out": (tar_of(header(tarfile.SYMTYPE, target="../../outside")), "'sly' is a link"),
    "tar: link in": (tar_of(("a", b"x"), header(tarfile.SYMTYPE, target="a")), "'sly' is a link"),
    "tar: hard link": (tar_of(header(tarfile.LNKTYPE, target="/etc/passwd")), "'sly' is a link"),
    "tar: file through a link": (tar_of(header(tarfile.SYMTYPE, target="/tmp"), ("sly/x", b"x")), "'sly' is a link"),
    "tar: device": (tar_of(header(tarfile.CHRTYPE)), "'sly' is a device"),
    "tar: block device": (tar_of(header(tarfile.BLKTYPE)), "'sly' is a device"),
    "tar: pipe": (tar_of(header(tarfile.FIFOTYPE)), "'sly' is a pipe"),
    "tar: unknown kind": (tar_of(header(b"Z")), "is neither a plain file nor a folder"),
    "tar: sparse": (tar_of(header(tarfile.GNUTYPE_SPARSE)), "'sly' is a file with holes"),
    "zip: twice": (zip_bytes(("a", b"1"), ("a", b"2")), "'a' stands in it twice"),
    "tar: twice": (tar_of(("d/a", b"1"), ("./d//a", b"2")), "'./d//a' stands in it twice"),
    "zip: capitals": (zip_bytes(("A.png", b"1"), ("a.PNG", b"2")), "'a.PNG' cannot stand beside 'A.png'"),
    "tar: capitals of a folder": (tar_of(("D/a", b"1"), ("d/b", b"2")), "'d/b' cannot stand beside 'D'"),
    "zip: composed letters": (zip_bytes(("\xe4", b"1"), ("a\u0308", b"2")), "cannot stand beside '\xe4'"),
    "tar: sharp s": (tar_of(("Stra\xdfe", b"1"), ("STRASSE", b"2")), "cannot stand beside 'Stra\xdfe'"),
    "zip: file, then folder": (zip_bytes(("a", b"1"), ("a/b", b"2")), "'a/b' makes 'a' a file and a folder at once"),
    "tar: folder, then file": (tar_of(("a/b", b"1"), ("a", b"2")), "'a' makes 'a' a file and a folder at once"),
    "tar: file, then empty folder": (tar_of(("a", b"1"), header(tarfile.DIRTYPE, name="a")), "a file and a folder"),
    "zip: control character": (zip_bytes(("a\nb", b"x")), r"'a\nb' has a control character in its name"),
    "zip: NUL": (patched(zip_bytes(("a~b", b"x")), b"a~b", b"a\0b"), r"'a\x00b' has a control character"),
    "tar: escape sequence": (tar_of(("a\x1b[2J", b"x")), "has a control character in its name"),
    "tar: not UTF-8": (tar_of(("caf\udce9", b"x")), "has a name that is not UTF-8"),
    "zip: long name": (zip_bytes(("a" * 256, b"x")), "has too long a name"),
    "tar: many parts": (tar_of(("a/" * 500 + "b", b"x")), "has too long a name"),
    "tar: no name": (tar_of((".", b"x")), "'.' is a file without a name"),
    "zip: encrypted": (
        patched(zip_bytes(("sly", b"x")), b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0"),
        "'sly' is encrypted",
    ),
    "zip: more than declared": (lying_zip(10), "'sly' declares 10 bytes and holds more"),
    "zip: more, with a fitting checksum": (lying_zip_with_fitting_checksum(), "Bad CRC-32 for file \'sly\'"),
    "zip: less than declared": (lying_zip(2000), "'sly' declares 2,000 bytes and holds 1,000"),
    "zip: overlapping": (overlapping_zip(), "'two' overlaps with another"),
    "zip: wrong byte": (patched(ZIP, CONTENT[:512], CONTENT[1:513], count=1), "Bad CRC-32 for file 'b.bin'"),
    "zip: other name in its place": (patched(zip_bytes(("aaa", b"")), b"aaa", b"bbb", count=1), "differ"),
    "zip: compression unknown": (
        patched(zip_bytes(("a", b"x"), method=8), b"\x08\0\0\0!\0", b"\x63\0\0\0!\0"), "compression"
    ),
    "zip: cut": (ZIP[:4000], "the list of its members, which stands at its end, is missing"),
    "zip: empty": (zip_bytes(), "is an archive without a file in it"),
    "tar: only folders": (tar_of(header(tarfile.DIRTYPE, name="d")), "is an archive without a file in it"),
    "tar: cut inside a member": (tar_bytes({"a.bin": CONTENT})[:4000], "unexpected end of data"),
    "tar: cut at the border of a member": (TAR[:1024], "it ends at byte 1,024 without the mark of its end"),
    "tar: cut inside a header": (TAR[:1100], "it ends at byte 1,100 without the mark of its end"),
    "tar: damaged header": (TAR[:1024] + b"#" + TAR[1025:], "there is no header at byte 1,024"),
    "tar: a second one behind": (TAR + TAR, "a second archive stands behind its end"),
    "tar: negative size": (negative_tar(), "'sly' declares -1,024 bytes"),
    "tar: hungry header": (hungry_tar, "a header asks for 67,108,864 bytes"),
    "tgz: cut": (TGZ[:30_000], "Compressed file ended"),
    "tgz: cut in its checksum": (TGZ[:-6], "Compressed file ended"),
    "tgz: wrong checksum": (TGZ[:-8] + b"\0\0\0\0" + TGZ[-4:], "CRC check failed"),
    "txz: cut": (TXZ[:30_000], "Compressed file ended"),
    "txz: wrong byte": (TXZ[:20_000] + bytes([TXZ[20_000] ^ 1]) + TXZ[20_001:], "Corrupt input data"),
    "gz: no tar in a tgz": (gzip.compress(b"no tar"), "is compressed, and what it holds is no tar"),
    "web page": (b"\n<!DOCTYPE html><html>Please log in</html>", "is a web page, not an archive"),
    "message in JSON": (b'{"code": 403, "message": "no"}', "is a message in JSON, not an archive"),
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    "text": (b"hello", "is neither a zip nor a tar archive, nor a compressed file"),
    "empty": (b"", "is empty: it has no byte in it"),
}  # fmt: skip


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.lstat().st_size) for path in folder.rglob("*"))


@pytest.mark.parametrize("merged", [False, True], ids=["new folder", "filled folder"])
@pytest.mark.parametrize(("archive", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_in_its_own_words_and_leaves_no_trace(tmp_path, archive, words, merged):
    write_files(tmp_path, {"all.tgz": archive() if callable(archive) else archive, "outside": b"untouched"})
    if merged:
        write_files(tmp_path / "data", {"mine.txt": b"mine"})
    before = listing(tmp_path)
    with pytest.raises(FetchError) as caught:
        unpack(tmp_path / "all.tgz", tmp_path / "data")
    assert words in str(caught.value)
    assert f"{tmp_path}/all.tgz" in str(caught.value) and "--mirror DIR" in str(caught.value)
    assert listing(tmp_path) == before
    assert not Path("/tmp-sly").exists()


SMALL = Limits(members=3, member_bytes=1000, total_bytes=1500)
BEYOND = {
    "members": ([("a", b""), ("b", b""), ("c", b""), ("d", b"")], "'d' is one too many: at most 3"),
    "bytes of a member": ([("a", NOISE[:1001])], "'a' holds more than 1,000 bytes"),
    "bytes together": ([("a", NOISE[:800]), ("b", NOISE[:701])], "'b' brings what was unpacked over 1,500 bytes"),
}
PACKERS = {
    "zip": lambda members: zip_bytes(*members, method=zipfile.ZIP_DEFLATED),
    "tar": lambda members: tar_of(*members),
    "tgz": lambda members: tar_of(*members, mode="w:gz"),
}


@pytest.mark.parametrize(("members", "words"), BEYOND.values(), ids=BEYOND)
@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_what_goes_beyond_a_limit_is_refused_and_what_just_keeps_it_is_not(tmp_path, pack, members, words):
    write_files(tmp_path, {"all": pack(members)})
    with pytest.raises(FetchError) as caught:
        unpack(tmp_path / "all", tmp_path / "data", limits=SMALL)
    assert words in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["all"]
    within = [(name, content[:-1]) for name, content in members[:3]]
    write_files(tmp_path, {"all": pack(within)})
    unpack(tmp_path / "all", tmp_path / "data", limits=SMALL)
    assert {p.name: p.read_bytes() for p in (tmp_path / "data").iterdir()} == dict(within)


ZEROS = bytes(20 * MIB)
BOMBS = {
    "zip": ("all.zip", zip_bytes(("sly", ZEROS), method=zipfile.ZIP_DEFLATED)),
    "zip, bz2": ("all.zip", zip_bytes(("sly", ZEROS), method=zipfile.ZIP_BZIP2)),
    "zip, lzma": ("all.zip", zip_bytes(("sly", ZEROS), method=zipfile.ZIP_LZMA)),
    "zip that says it is small": ("all.zip", lying_zip(10, ZEROS)),
    "tgz": ("all.tgz", tar_of(("sly", ZEROS), mode="w:gz")),
    "tar.bz2": ("all.tbz", tar_of(("sly", ZEROS), mode="w:bz2")),
    "gz": ("all.gz", gzip.compress(ZEROS)),
    "xz": ("all.xz", lzma.compress(ZEROS, preset=0)),
    "tgz that swells behind its end": ("all.tgz", gzip.compress(TAR + ZEROS)),
}


@pytest.mark.parametrize(("name", "archive"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_stopped_while_it_swells(tmp_path, name, archive):
    write_files(tmp_path, {name: archive})
    with pytest.raises(FetchError, match=r"is refused as a bomb|declares 10 bytes and holds more"):
        unpack(tmp_path / name, tmp_path / "data", limits=Limits(small_bytes=10 * MIB, ratio=500))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_does_not_fit_on_the_disk_is_refused_before_it_fills_it(tmp_path):
    whole_disk = (1 << 32) - 2  # the most that a zip without extension can declare, 4 GB a member
    members = [(f"{number}", b"0123456789" * 100) for number in range(20_000)]
    archive = patched(zip_bytes(*members, method=8), struct.pack("<L", 1000), struct.pack("<L", whole_disk))
    write_files(tmp_path, {"all.zip": archive})
    with pytest.raises(StorageError, match=r"all\.zip needs 85,\d{3}\.\d\d GB or more, and the disk has"):
        unpack(tmp_path / "all.zip", tmp_path / "data")
    huge = tar_of(header(tarfile.REGTYPE, size=1 << 60))
    write_files(tmp_path, {"all.tar": huge})
    with pytest.raises(StorageError, match=r"all\.tar needs 1,152,921,504\.61 GB or more"):
        unpack(tmp_path / "all.tar", tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.tar", "all.zip"]


# Good archives.

letters = st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"), exclude_characters="/\\:")
part = st.text(letters, min_size=1, max_size=20).filter(lambda text: text not in (".", ".."))
paths = st.lists(part, min_size=1, max_size=4).map("/".join)


def on_no_disk_the_same(files: dict[str, bytes]) -> bool:
    """No two names that some disk may take for one, and no file that is also a folder."""
    import unicodedata

    def key(name: str) -> str:
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())

    spelt: dict[str, str] = {}
    for name in files:
        pieces = name.split("/")
        for count in range(1, len(pieces) + 1):
            above = "/".join(pieces[:count])
            if spelt.setdefault(key(above), above) != above or (count < len(pieces) and above in files):
                return False
    return True


def pack_as(kind: str, files: dict[str, bytes]) -> bytes:
    members = list(files.items())
    if kind.startswith("zip"):
        method = {"stored": 0, "deflated": 8, "bz2": 12, "lzma": 14}[kind.split()[1]]
        return zip_bytes(*members, method=method)
    mode, tar_format = kind.split()
    return tar_of(*members, mode=mode, tar_format={"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}[tar_format])


KINDS = ["zip stored", "zip deflated", "zip bz2", "zip lzma", "w gnu", "w pax", "w:gz gnu", "w:bz2 pax", "w:xz gnu"]


@pytest.mark.parametrize("kind", KINDS)
@given(files=st.dictionaries(paths, st.binary(max_size=2000), min_size=1, max_size=8).filter(on_no_disk_the_same))
@example(files={"deep/" * 20 + "a.png": b"", "b": NOISE, ("long" * 60 + "/") * 3 + "x": b"1"})
def test_a_good_archive_becomes_exactly_its_files(tmp_path, kind, files):
    folder = tmp_path / str(next(counter))
    write_files(folder, {"all.bin": pack_as(kind, files)})
    unpack(folder / "all.bin", folder / "data")
    found = {p.relative_to(folder / "data").as_posix(): p for p in (folder / "data").rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == files
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.values()} == {0o644}
    assert sorted(p.name for p in folder.iterdir()) == ["all.bin", "data"]


@given(
    archive=st.sampled_from([TAR, TGZ, TXZ, ZIP]),
    edits=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 600),
)
def test_a_damaged_archive_is_unpacked_or_refused_and_never_a_crash(tmp_path, archive, edits, cut):
    folder = tmp_path / str(next(counter))
    damaged = bytearray(archive)
    for place, byte in edits:
        damaged[place % len(damaged)] = byte
    write_files(folder, {"all.bin": bytes(damaged[: len(damaged) - cut])})
    try:
        unpack(folder / "all.bin", folder / "data")
    except KitError:
        assert [p.name for p in folder.iterdir()] == ["all.bin"]


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("train-idx3-ubyte.gz", gzip.compress),
        ("train-idx3-ubyte.xz", lzma.compress),
        ("train-idx3-ubyte.BZ2", bz2.compress),
    ],
)
def test_a_single_compressed_file_becomes_the_file_of_its_name(tmp_path, name, packed):
    write_files(tmp_path, {name: packed(CONTENT)})
    unpack(tmp_path / name, tmp_path / "data")
    assert {p.name: p.read_bytes() for p in (tmp_path / "data").iterdir()} == {"train-idx3-ubyte": CONTENT}


def test_an_archive_inside_an_archive_stays_packed(tmp_path):
    write_files(tmp_path, {"all.zip": zip_bytes(("train.zip", ZIP), ("inner.tar", TAR))})
    unpack(tmp_path / "all.zip", tmp_path / "data")
    assert {p.name: p.read_bytes() for p in (tmp_path / "data").iterdir()} == {"train.zip": ZIP, "inner.tar": TAR}


def test_modes_and_owners_are_not_taken_over(tmp_path):
    program = header(tarfile.REGTYPE)
    program.mode, program.uid, program.uname = 0o6777, 12345, "somebody"
    write_files(tmp_path, {"all.tar": tar_of(program), "all.zip": zip_bytes(("sly2", b""), mode=0o104777)})
    for name in ("all.tar", "all.zip"):
        unpack(tmp_path / name, tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644 and path.stat().st_uid == os.getuid()


def test_junk_that_an_old_tar_left_in_its_last_record_does_no_harm(tmp_path):
    write_files(tmp_path, {"all.tar": TAR[:-2000] + NOISE[:2000]})
    unpack(tmp_path / "all.tar", tmp_path / "data")
    assert (tmp_path / "data/images/a.png").read_bytes() == b"one"


def test_a_second_archive_joins_the_first_and_may_repeat_its_files(tmp_path):
    write_files(tmp_path, {"1.tar": TAR, "2.zip": zip_bytes(("images/b.png", b"two"), ("images/c.png", b"three"))})
    for name in ("1.tar", "2.zip"):
        unpack(tmp_path / name, tmp_path / "data")
    found = {p.name: p.read_bytes() for p in (tmp_path / "data/images").iterdir()}
    assert found == {"a.png": b"one", "b.png": b"two", "c.png": b"three"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.tar", "2.zip", "data"]


@pytest.mark.parametrize("name", ["images/b.png", "images/B.png", "Images/c.png", "images/b.png/c", "images"])
def test_an_archive_that_would_change_what_another_has_brought_is_refused_whole(tmp_path, name):
    write_files(tmp_path, {"1.tar": TAR, "2.zip": zip_bytes(("a new folder/first.png", b""), (name, b"other"))})
    unpack(tmp_path / "1.tar", tmp_path / "data")
    before = listing(tmp_path)
    with pytest.raises(FetchError, match=r"2\.zip: its member .* would take the place of .*/data/images"):
        unpack(tmp_path / "2.zip", tmp_path / "data")
    assert listing(tmp_path) == before


def test_a_move_that_fails_halfway_is_taken_back(tmp_path, monkeypatch):
    write_files(tmp_path, {"all.zip": zip_bytes(("a", b"1"), ("b", b"2")), "data/mine": b""})
    before = listing(tmp_path)
    rename = Path.rename

    def fail_at_b(path: Path, target: Path) -> Path:
        if target.name == "b":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_at_b)
    with pytest.raises(StorageError, match="The disk is full"):
        unpack(tmp_path / "all.zip", tmp_path / "data")
    assert listing(tmp_path) == before


@pytest.mark.real
def test_real_archives_become_as_many_files_as_they_say(test_data, tmp_path):
    for name, num_files in {"aerial-cactus/test.zip": 4000, "dogs-vs-cats/dogs-vs-cats-test.tar": 499}.items():
        unpack(test_data / "data" / name, tmp_path / "data" / name)
        assert sum(path.is_file() for path in (tmp_path / "data" / name).rglob("*")) == num_files
    unpack(test_data / "data/mnist/t10k-images-idx3-ubyte.gz", tmp_path / "mnist")
    assert (tmp_path / "mnist/t10k-images-idx3-ubyte").stat().st_size == 16 + 10_000 * 28 * 28
