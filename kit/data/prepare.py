"""Prepare: fetched files become a sample table that is kept, and made again only when something changed."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pandas as pd

from kit.competition import Competition
from kit.data.labels import files_below
from kit.data.samples import Samples, build_samples
from kit.data.schema import SCHEMA_VERSION, fingerprint_of, read_samples_table, write_table
from kit.errors import DataError
from kit.files.fetch import fetch
from kit.home import family, filling, fingerprint, write_json, write_text
from kit.progress import Say
from kit.quality.fixes import fixes_path, read_fixes
from kit.quality.inspect import read_facts, write_facts


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
    fixes = read_fixes(fixes_path(competition), classes=competition.classes, several=competition.task == "multi-label")
    # The data folder is looked at again each time: sizes and times of its files tell whether to read them again.
    key = fingerprint(
        str(SCHEMA_VERSION),
        repr(competition.label_rule(labels)),
        repr(competition.official_split),
        repr(competition.folds.near_duplicates),
        competition.test_files,
        competition.task,
        repr(competition.classes),
        repr(chosen),
        str(seed) if chosen.split == "random" else "",
        fixes.fingerprint,
        competition.adapter_fingerprint,
        _signature(data),
    )
    tables = family("tables") / competition.slug
    folder = tables / key[:20]
    if (folder / "about.json").is_file():
        samples = replace(_read(folder, data=data, classes=competition.classes), fixes=fixes)
    else:
        say(f"reading labels and files of {competition.slug}")
        facts = tables / f"facts-{competition.source_name(source)}.csv"
        known = _known_facts(facts)
        samples = build_samples(
            competition,
            data,
            protocol=chosen,
            source=source,
            labels=labels,
            seed=seed,
            fixes=fixes,
            known_facts=known,
            say=say,
        )
        if known is not None:  # what another protocol looked at, and this one did not, stays known
            known = known[~known["path"].isin(samples.facts["path"])]
        write_facts(facts, samples.facts if known is None else pd.concat([samples.facts, known], ignore_index=True))
        _write(folder, samples)
    if fixes.rows:
        say(f"{len(fixes.rows)} rows of {fixes_path(competition)} are applied")
    if not is_complete(competition, samples, source=source):
        named = competition.source_name(source)
        lacking = f"{samples.missing:,} of the images that its lists name" if samples.missing else "images"
        say(
            f"PARTIAL DATA: {competition.slug} from the source {named!r} lacks {lacking}. Results are of another "
            f"protocol ({name}@{named}) and are not comparable with published ones."
        )
    return samples


def is_complete(competition: Competition, samples: Samples, *, source: str | None) -> bool:
    """Every image that the protocol names is there."""
    return competition.source(source).complete and samples.missing == 0


def _known_facts(path: Path) -> pd.DataFrame | None:
    try:
        return read_facts(path) if path.is_file() else None
    except DataError:  # only a memory: the files are read again
        return None


def _write(folder: Path, samples: Samples) -> None:
    with filling(folder) as part:
        write_text(part / "samples.csv", write_table(samples.table))
        write_facts(part / "facts.csv", samples.facts)
        write_text(part / "duplicates.csv", write_table(samples.duplicates))
        about = {"fingerprint": samples.fingerprint, "missing": samples.missing}
        write_json(part / "about.json", about)


def _read(folder: Path, *, data: Path, classes: tuple[str, ...]) -> Samples:
    kept = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    table = read_samples_table(folder / "samples.csv")
    if fingerprint_of(table) != kept["fingerprint"]:
        raise DataError(f"{folder / 'samples.csv'} was changed after it was made. Remove {folder} and run again.")
    return Samples(
        table=table,
        folder=data,
        classes=classes,
        missing=kept["missing"],
        fingerprint=kept["fingerprint"],
        facts=read_facts(folder / "facts.csv"),
        duplicates=pd.read_csv(folder / "duplicates.csv", dtype={"a": "str", "b": "str", "kind": "str"}),
    )


def _signature(data: Path) -> str:
    digest = sha256()
    for name, entry in files_below(data):
        facts = entry.stat()
        digest.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
