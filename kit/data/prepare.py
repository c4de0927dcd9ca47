"""Prepare: fetched files become a sample table that is kept, and made again only when something changed."""

import json
from collections.abc import Callable
from pathlib import Path

from kit.competition import Competition
from kit.data.fetch import fetch
from kit.data.samples import Samples, build_samples, fingerprint_of, read_samples_table, write_table
from kit.errors import DataError
from kit.home import family, filling, fingerprint, write_json, write_text

Say = Callable[[str], None]


def prepare(
    competition: Competition,
    *,
    protocol: str | None = None,
    source: str | None = None,
    mirror: str | None = None,
    labels: str | None = None,
    seed: int = 1,
    say: Say = print,
) -> Samples:
    """Return the competition's sample table under one protocol, fetching and labelling what is not done yet.

    Args:
        competition: the question.
        protocol: its id; default: the competition's default.
        source: name of a source set; default: the competition's default.
        mirror: folder or URL that serves the files; default: KIT_MIRROR.
        labels: name of another label rule of the competition.
        seed: of a random split.
        say: takes lines of progress and warnings.

    Raises:
        FetchError, DataError: see `fetch` and `build_samples`.
    """
    name = protocol or competition.default_protocol
    chosen = competition.protocol(name)
    data = fetch(competition, source=source, mirror=mirror, say=say)
    # The data folder is looked at again each time: sizes and times of its files tell whether to read them again.
    key = fingerprint(
        repr(competition.label_rule(labels)),
        repr(competition.official_split),
        competition.test_files,
        repr(competition.classes),
        repr(chosen),
        str(seed) if chosen.split == "random" else "",
        _signature(data),
    )
    folder = family("tables") / competition.slug / key[:20]
    about = folder / "about.json"
    if about.is_file():
        kept = json.loads(about.read_text(encoding="utf-8"))
        table = read_samples_table(folder / "samples.csv")
        if fingerprint_of(table) != kept["fingerprint"]:
            raise DataError(f"{folder / 'samples.csv'} was changed after it was made. Remove {folder} and run again.")
        samples = Samples(
            table=table,
            folder=data,
            classes=competition.classes,
            missing=kept["missing"],
            fingerprint=kept["fingerprint"],
        )
    else:
        say(f"reading labels and files of {competition.slug}")
        samples = build_samples(competition, data, protocol=chosen, source=source, labels=labels, seed=seed)
        with filling(folder) as part:
            write_text(part / "samples.csv", write_table(samples.table))
            write_json(part / "about.json", {"fingerprint": samples.fingerprint, "missing": samples.missing})
    if not is_complete(competition, samples, source=source):
        say(
            f"PARTIAL DATA: {competition.slug} from the source {competition.source_name(source)!r} lacks "
            f"{samples.missing:,} of the images that its lists name. Results are of another protocol "
            f"({name}@{competition.source_name(source)}) and are not comparable with published ones."
        )
    return samples


def is_complete(competition: Competition, samples: Samples, *, source: str | None) -> bool:
    """Every image that the protocol names is there."""
    return competition.source(source).complete and samples.missing == 0


def _signature(data: Path) -> str:
    return fingerprint(
        *(
            f"{path.relative_to(data).as_posix()} {(facts := path.stat()).st_size} {facts.st_mtime_ns}"
            for path in sorted(data.rglob("*"))
            if path.is_file()
        )
    )
