"""Fetch: the files of a source set, checked, into a data folder that is either complete or absent."""

import json
import os
import re
import shutil
from pathlib import Path

from kit.competition import Competition
from kit.errors import FetchError
from kit.files.archives import unpack
from kit.files.download import download, fault_of
from kit.home import family, filling, fingerprint, make_folder, write_json
from kit.progress import Say
from kit.rules import SourceFile, SourceSet

MARKER = ".fetched.json"


def fetch(competition: Competition, *, source: str | None = None, mirror: str | None = None, say: Say = print) -> Path:
    """Return the folder with the competition's files, fetching, checking and unpacking what is not there yet.

    Args:
        competition: whose files.
        source: name of one of its source sets; default: the competition's default.
        mirror: folder or base URL that serves the same files; default: KIT_MIRROR.
        say: takes one line of progress.

    Raises:
        FetchError: a file cannot be had or is not what its checksum says, or an archive must not be trusted.
        StorageError: the disk is full or not ours.
    """
    name = competition.source_name(source)
    chosen = competition.source(name)
    if chosen.folder:
        return _own_folder(competition, chosen)
    folder = data_folder(competition, name)
    key = _key(competition, chosen)
    if _key_of(folder) == key:
        return folder
    mirror = mirror or os.environ.get("KIT_MIRROR") or None
    if mirror and "://" not in mirror and not Path(mirror).expanduser().is_dir():
        raise FetchError(f"The mirror {mirror} is not a folder. Give a folder, or a URL that starts with http.")
    downloads = family("downloads") / competition.slug / name
    archive, inside = _kaggle_archive(competition, chosen, downloads, mirror, say)
    outside = [file for file in chosen.files if file not in inside]
    files = [(file, _obtain(file, downloads, competition, chosen, mirror, say)) for file in outside]
    _clear_killed(folder)
    with filling(folder) as part:
        if archive:
            say(f"unpacking {archive.name}")
            unpack(archive, part, say=say) if archive.suffix == ".zip" else shutil.copyfile(
                archive, part / archive.name
            )
        files += [(file, _inside(file, part, competition, chosen.kaggle)) for file in inside]
        for file, path in files:
            own = path.parent == part  # it came inside Kaggle's archive, and does not stay where it is
            if file.unpack:
                say(f"unpacking {path.name}")
                unpack(path, part, say=say)
                if own:
                    path.unlink()
            elif not own or file.save_as:
                target = part / (file.save_as or file.name)
                make_folder(target.parent)
                path.rename(target) if own else shutil.copyfile(path, target)
        if materialise := competition.adapter_function("materialise"):
            materialise(part)
        write_json(part / MARKER, {"key": key, "source": name})
    return folder


def data_folder(competition: Competition, source: str) -> Path:
    """Return where the files of a source set lie, once they are there."""
    own = competition.source(source).folder
    return _place(competition, own) if own else family("data") / competition.slug / source


def is_here(competition: Competition, source: str) -> bool:
    """Tell whether the files of a source set are on this machine, complete."""
    if chosen := competition.source(source).folder:
        return _place(competition, chosen).is_dir()
    return (family("data") / competition.slug / source / MARKER).is_file()


def way_to(source: SourceSet) -> str:
    """Return in a word or two how the files of a source set are had; a `note` that says `pip install` is believed."""
    if source.folder:
        return "your folder" if Path(source.folder).expanduser().is_absolute() else "kit scrape"
    if source.kaggle:
        return "Kaggle account"
    if not source.files:  # the adapter makes them
        return "pip package" if source.note.startswith("pip install ") else "nothing needed"
    return "download" if all(file.url for file in source.files) else "--mirror only"


def _place(competition: Competition, folder: str) -> Path:
    return family("collected") / competition.slug / Path(folder).expanduser()


def _own_folder(competition: Competition, source: SourceSet) -> Path:
    """Return a folder of the user's own, which is used in place and never changed."""
    folder = _place(competition, source.folder)
    if not folder.is_dir():
        raise FetchError(
            f"The images of {competition.slug} should lie in {folder}, and that is not a folder. Collect them with "
            f"`kit scrape {competition.slug} --urls FILE`, or correct `folder` in "
            f"{competition.folder}/competition.toml."
        )
    return folder


def _key(competition: Competition, source: SourceSet) -> str:
    adapter = competition.folder / "adapter.py"
    return fingerprint(repr(source), adapter.read_bytes() if adapter.is_file() else b"")


def _key_of(folder: Path) -> str | None:
    """Return what the folder was filled for, or None where it is not whole."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker.get("key") if isinstance(marker, dict) else None


def _clear_killed(folder: Path) -> None:
    """Remove what processes that live no more have left of earlier attempts at `folder`."""
    for left in folder.parent.glob(f"{folder.name}.*.part") if folder.parent.is_dir() else ():
        number = re.search(r"\.(\d+)\.part$", left.name)
        if number and not _is_alive(int(number[1])):
            shutil.rmtree(left, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _in_mirror(file: SourceFile, competition: Competition, mirror: str | None) -> Path | None:
    """Return where a mirror folder has `file`, or None."""
    if not mirror or "://" in mirror:
        return None
    places = (Path(mirror).expanduser() / place for place in _places(file, competition))
    return next((place for place in places if place.is_file()), None)


def _not_in_mirror(places: list[str], mirror: str | None) -> str:
    """Return a sentence on where a mirror folder was looked into without success; empty where none was given."""
    if not mirror or "://" in mirror:
        return ""
    return f" The mirror {mirror} does not have it: looked for {', '.join(places)}."


def _other_sources(competition: Competition, chosen: SourceSet, mirror: str | None) -> str:
    """Return a sentence on the competition's other source sets and how each is had; empty where there are none."""
    others = []
    for name, source in competition.sources.items():
        if source is chosen:
            continue
        there = source.files and all(_in_mirror(file, competition, mirror) for file in source.files)
        way = "all of it is in this mirror" if there else way_to(source)
        others.append(f"{name} ({way}{'' if source.complete else '; not all images'})")
    return f" Its other sources: {', '.join(others)}; choose with --source." if others else ""


def _places(file: SourceFile, competition: Competition) -> list[str]:
    return list(dict.fromkeys(p for p in (file.path, f"{competition.slug}/{file.name}", file.name) if p))


def _obtain(
    file: SourceFile, downloads: Path, competition: Competition, source: SourceSet, mirror: str | None, say: Say
) -> Path:
    """Return a checked copy of `file`: a mirror folder's own, an earlier download's, or a new download."""
    if place := _in_mirror(file, competition, mirror):
        return _verified(place, file, competition, "Put the right file into the mirror.")
    target = downloads / file.name
    if target.is_file():
        try:
            return _verified(target, file, competition, "It has been removed; run the command again.")
        except FetchError:
            target.unlink()
            raise
    urls = [f"{mirror.rstrip('/')}/{file.path or file.name}"] if mirror and "://" in mirror else []
    urls += [file.url] if file.url else []
    looked = _not_in_mirror(_places(file, competition), mirror)
    others = _other_sources(competition, source, mirror)
    if not urls:
        raise FetchError(
            f"{competition.slug} needs the file {file.name}, which has no public address.{looked} Give a folder that "
            f"has it as {file.path or file.name}: --mirror DIR, or set KIT_MIRROR.{others}"
        )
    faults = []
    for url in urls:
        try:
            say(f"fetching {url}")
            download(url, target, num_bytes=file.num_bytes, sha256=file.sha256, md5=file.md5, say=say)
            return target
        except FetchError as error:
            faults.append(str(error))
    raise FetchError(
        f"{competition.slug} needs the file {file.name}, which could not be fetched.{looked} {' '.join(faults)} "
        f"Put the file into a folder and give it with --mirror DIR (or KIT_MIRROR=DIR), there as "
        f"{' or '.join(_places(file, competition))}. If the publisher has changed the file, its size and checksum in "
        f"competition.toml must be changed knowingly.{others}"
    )


def _kaggle_archive(
    competition: Competition, source: SourceSet, downloads: Path, mirror: str | None, say: Say
) -> tuple[Path | None, list[SourceFile]]:
    """Return what Kaggle gives for the source set, and those of its files that come inside it.

    The archive is a mirror folder's own, an earlier download's or a new one; None where the source set needs none, or
    a mirror folder has all of its files already.
    """
    if not source.kaggle:
        return None, []
    inside = [file for file in source.files if not file.url and not _in_mirror(file, competition, mirror)]
    archives = [f"{competition.slug}/{source.kaggle}.zip", f"{source.kaggle}.zip"]
    if mirror and "://" not in mirror:
        for place in archives:
            if (archive := Path(mirror).expanduser() / place).is_file():
                return archive, inside
        if source.files and not inside:
            return None, []
    from kit.kaggle.downloads import download_competition

    try:
        return download_competition(source.kaggle, downloads, say=say), inside
    except FetchError as error:
        lacking = f", and it lacks {', '.join(file.name for file in inside)}" if inside else ""
        looked = _not_in_mirror(archives, mirror).removesuffix(".")
        looked = f"{looked}{lacking}." if looked else ""
        raise FetchError(f"{error}{looked}{_other_sources(competition, source, mirror)}") from error


def _inside(file: SourceFile, part: Path, competition: Competition, kaggle: str) -> Path:
    """Return a file that came inside Kaggle's archive."""
    path = part / file.name
    if not path.is_file():
        raise FetchError(
            f"{competition.slug} needs the file {file.name}, which is not in what Kaggle gives for {kaggle!r}. Give a "
            f"folder that has it as {' or '.join(_places(file, competition))}: --mirror DIR, or set KIT_MIRROR."
        )
    return _verified(path, file, competition, "`kit cache --clear downloads` removes what Kaggle gave.")


def _verified(path: Path, file: SourceFile, competition: Competition, way_out: str) -> Path:
    """Return `path` if size and checksum are those of `file`."""
    if fault := fault_of(path, num_bytes=file.num_bytes, sha256=file.sha256, md5=file.md5):
        raise FetchError(
            f"{path} is not the file that {competition.slug} names: {fault}. {way_out} If the publisher has changed "
            "the file, its size and checksum in competition.toml must be changed knowingly."
        )
    return path
