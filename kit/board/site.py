"""The site: an index, a page per competition, a page per run and per sweep, made from records and published results.

    board/index.html                 the competitions
    board/<slug>.html                one competition
    board/<slug>/<run>.html          one run of it; report-<run>.html its report, sweep-<name>.html a sweep
    board/assets/                    style and script
    board/.made/<slug>.json          what the competition's pages were made from: the last file of each competition

A competition whose records, published results, sweeps and reports are as they were is left as it is, so that the end
of a run makes one competition's pages and the index. Every file is replaced whole.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from kit.board.baselines import Baselines
from kit.board.claims import Claim, claims_of
from kit.board.compare import load_published
from kit.board.competition_page import competition_page
from kit.board.gather import Gathered, LeftOut, RecordFile, board_folders, gather, read_records
from kit.board.index import IndexRow, index_page, index_row
from kit.board.markup import SCRIPT, file_name, script_text, style_text
from kit.board.records import run_folder
from kit.board.run_page import run_page
from kit.board.shelf import Shelf, Sweep
from kit.competition import Competition, competition_folders, package_folder, read_competition
from kit.errors import KitError
from kit.home import explained, family, filling, fingerprint, make_folder, write_text
from kit.judge.test_ledger import Chain, check_chain
from kit.progress import Counter, Say, silent

# What other people's numbers and tables may raise that nobody thought of when a record was checked.
UNFORESEEN = (ValueError, TypeError, KeyError, OverflowError)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What was written."""

    index: Path
    pages: Mapping[str, Path]  # competition -> its page
    made: tuple[str, ...]  # competitions whose pages were made anew
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """One competition that the site is to have."""

    slug: str
    baselines_id: str
    competition: Competition | None
    files: Sequence[RecordFile]


def write_site(
    *,
    folders: Sequence[Path] | None = None,
    competitions: Mapping[str, Path] | None = None,
    folder: Path | None = None,
    say: Say = silent,
) -> Site:
    """Write the site of all competitions that the kit knows, or has records of.

    Args:
        folders: where records are; default: the runs of this machine and the published ones.
        competitions: slug -> folder of those that are shown without a record, too; default: all.
        folder: where to write; default: the board's.
        say: takes lines of progress.
    """
    found = gather(board_folders() if folders is None else folders)
    left_out = list(found.left_out)
    known: dict[str, Competition] = {}
    for slug, place in (competition_folders() if competitions is None else competitions).items():
        try:
            known[slug] = read_competition(place)
        except KitError as error:
            left_out.append(LeftOut(path=str(place), why=str(error)))
    wanted = [_wanted(slug, found, known.get(slug)) for slug in sorted({*known, *found.files})]
    # Records of other machines name other ledgers than this machine's.
    own = [file for files in found.files.values() for file in files if file.path.is_relative_to(family("runs"))]
    chain = check_chain({file.run_id: file.test_use for file in own})
    with Counter("making the board", unit="pages", say=say) as counter:
        return _write(wanted, left_out, chain=chain, folder=folder or family("board"), counter=counter)


def _wanted(slug: str, found: Gathered, competition: Competition | None) -> _Wanted:
    files = found.files.get(slug, ())
    return _Wanted(
        slug=slug,
        baselines_id=competition.baselines_id if competition else "",
        competition=competition,
        files=files,
    )


def _write(
    wanted: Sequence[_Wanted], left_out: Sequence[LeftOut], *, chain: Chain, folder: Path, counter: Counter
) -> Site:
    rows, made = [], []
    published = cache(_published)  # several competitions may stand on one data set
    common = fingerprint(_code(), _all_baselines())
    sweeps = _sweeps()
    with _alone(folder):
        write_text(folder / "assets" / "site.css", style_text())
        write_text(folder / "assets" / SCRIPT, script_text())
        for one in wanted:
            extras = _Extras(
                sweeps=sweeps.get(one.slug, ()),
                reports=_reports(file.run_id for file in one.files),
                chain=replace(chain, looks=tuple(chain.of(one.slug))),
            )
            inputs = fingerprint(common, _inputs(one, extras))
            row = _made_before(folder, one.slug, inputs)
            if row is None:
                row = _make(one, extras, published, folder=folder, counter=counter)
                # In ASCII: a name may hold half a character pair, of which no UTF-8 can be written.
                write_text(_marker(folder, one.slug), json.dumps({"inputs": inputs, "row": asdict(row)}))
                made.append(one.slug)
            rows.append(row)
        write_text(folder / "index.html", index_page(rows, left_out, ledger_fault=chain.fault))
    return Site(
        index=folder / "index.html",
        pages={row.slug: folder / row.page for row in rows},
        made=tuple(made),
        left_out=(*left_out, *(LeftOut(path=path, why=why) for row in rows for path, why in row.left_out)),
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write the site: two runs may end together."""
    make_folder(folder)
    with explained(folder), (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(one: _Wanted, extras: "_Extras", published_of: "_PublishedOf", *, folder: Path, counter: Counter) -> IndexRow:
    """Make a competition's pages; a record that takes its page down is left out of them."""
    records, left_out = read_records(one.files)
    baselines_id = one.baselines_id or (records[-1].baselines if records else one.slug)
    published, fault = published_of(baselines_id)
    shelf = Shelf(
        slug=one.slug,
        title=one.competition.title if one.competition else records[-1].title if records else one.slug,
        baselines_id=baselines_id,
        records=records,
        published=published,
        fault=fault,
        claims=_claims(one.competition, published),
        sweeps=[
            Sweep(name=sweep.name, title=sweep.verdict, page=f"{file_name(one.slug)}/{sweep.file}")
            for sweep in extras.sweeps
        ],
        left_out=left_out,
        chain=extras.chain,
    )
    try:
        return _write_pages(shelf, extras, folder=folder, counter=counter)
    except UNFORESEEN:
        return _write_pages(_without_faulty(shelf, one.files), extras, folder=folder, counter=counter)


def _without_faulty(shelf: Shelf, files: Sequence[RecordFile]) -> Shelf:
    """Return a competition without the records of which, each taken alone, no page can be made: left out and named."""
    path_of = {file.run_id: str(file.path) for file in files}
    shown, left_out = [], list(shelf.left_out)
    for record in shelf.records:
        alone = replace(shelf, records=[record])
        try:
            run_page(alone, record), competition_page(alone), index_row(alone)
        except UNFORESEEN as error:
            why = f"no page can be made of it ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            left_out.append(LeftOut(path=path_of[record.run_id], why=why))
        else:
            shown.append(record)
    return replace(shelf, records=shown, left_out=left_out)


def _write_pages(shelf: Shelf, extras: "_Extras", *, folder: Path, counter: Counter) -> IndexRow:
    """Write a competition's pages: of its runs and sweeps in one folder that is replaced whole, then its own."""
    with filling(folder / shelf.folder) as part:
        for sweep in extras.sweeps:
            shutil.copyfile(sweep.page, part / sweep.file)
        for record in shelf.records:
            report = f"report-{file_name(record.run_id)}.html" if record.run_id in extras.reports else ""
            if report:
                shutil.copyfile(_report(record.run_id), part / report)
            # Not synchronised with the disk one by one: thousands of files, all made again from the records.
            page = run_page(shelf, record, report=report)
            (part / f"{file_name(record.run_id)}.html").write_text(page, encoding="utf-8")
            counter.add()
    write_text(folder / shelf.page, competition_page(shelf))
    counter.add()
    return index_row(shelf)


_PublishedOf = Callable[[str], tuple[Baselines | None, str]]


def _published(baselines_id: str) -> tuple[Baselines | None, str]:
    try:
        return load_published(baselines_id), ""
    except KitError as error:
        return None, str(error)


def _claims(competition: Competition | None, published: Baselines | None) -> Sequence[Claim]:
    return claims_of(competition, published) if competition and published else ()


@dataclass(frozen=True, kw_only=True)
class _SweepFile:
    name: str
    verdict: str
    page: Path
    stamp: tuple[int, int]

    @property
    def file(self) -> str:
        return f"sweep-{file_name(self.name)}.html"


@dataclass(frozen=True, kw_only=True)
class _Extras:
    """What stands beside a competition's records."""

    sweeps: Sequence[_SweepFile]
    reports: Mapping[str, tuple[int, int]]  # run id -> size and time of the file
    chain: Chain  # the looks at this competition


def _sweeps() -> dict[str, list[_SweepFile]]:
    """Return competition -> its sweeps that have a result, by name; what cannot be read has no page here."""
    found: dict[str, list[_SweepFile]] = {}
    for path in sorted(family("studies").glob("*/study-result.json")):
        page = path.with_name("page.html")
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            slug, name = result["slug"], result["name"]
            verdict = (result.get("comparison") or {}).get("verdict", "not compared with the untuned recipe")
            sweep = _SweepFile(name=str(name), verdict=str(verdict), page=page, stamp=_stamp(page))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found.setdefault(str(slug), []).append(sweep)
    return found


def _reports(runs: Iterable[str]) -> dict[str, tuple[int, int]]:
    # A run id that is no plain file name comes from no run of this machine.
    plain = [run_id for run_id in runs if file_name(run_id) == run_id]
    return {run_id: _stamp(path) for run_id in plain if (path := _report(run_id)).is_file()}


def _report(run_id: str) -> Path:
    return run_folder(run_id) / "report.html"


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _inputs(one: _Wanted, extras: _Extras) -> str:
    """Return a fingerprint of all that a competition's pages depend on, besides code and published results."""
    about = (one.competition.folder / "competition.toml").read_bytes() if one.competition else b""
    runs = json.dumps(sorted((file.run_id, file.digest) for file in one.files))
    beside = (repr(extras.sweeps), repr(sorted(extras.reports.items())), extras.chain.fault)
    return fingerprint(json.dumps(one.slug), about, runs, *beside, *(look.hash for look in extras.chain.looks))


def _marker(folder: Path, slug: str) -> Path:
    return folder / ".made" / f"{file_name(slug)}.json"


def _made_before(folder: Path, slug: str, inputs: str) -> IndexRow | None:
    """Return a competition's line in the index where its pages are there, made from the same inputs."""
    try:
        made = json.loads(_marker(folder, slug).read_text(encoding="utf-8"))
        row = IndexRow(**made["row"]) if made["inputs"] == inputs else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = row is not None and (folder / row.page).is_file() and (folder / file_name(slug)).is_dir()
    return row if whole else None


@cache
def _code() -> str:
    """Return a fingerprint of the kit's files that decide how a page looks and what it says."""
    package = Path(__file__).parents[1]
    files = [*package.glob("*.py"), *package.glob("board/*"), *package.glob("judge/*.py")]
    return fingerprint(*(file.read_bytes() for file in sorted(files) if file.is_file()))


def _all_baselines() -> str:
    folder = package_folder("leaderboard") / "baselines"
    return fingerprint(*(file.read_bytes() for file in sorted(folder.glob("*.yaml"))))
