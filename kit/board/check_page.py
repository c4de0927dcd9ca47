"""The check page: what was found about a data set, with the pictures that it is about, and proposed fixes beside it.

One self-contained HTML file. Ids, class names and messages are other people's words: every value is escaped.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from kit.errors import DataError
from kit.home import family, write_text
from kit.quality.findings import SEVERITIES, Finding, proposed_fixes
from kit.quality.fixes import Fix, fixes_text
from kit.store.decode import read_image, reduced

THUMBNAIL = 112  # pixels of the shorter side
MAX_ASPECT = 3  # longer pictures are cut in the middle
MAX_PICTURES = 24
MAX_PAIRS = 24
MAX_ROWS = 40  # of a proposal that is shown; the file has all
_TITLES = {"stop": "Must be mended before training", "warn": "Look at these", "note": "Good to know"}
_LEADS = {
    "stop": "Scores would be wrong, or training would fail.",
    "warn": "Training goes on; the record lists them.",
    "note": "Dealt with already, or harmless.",
}

Thumbnail = Callable[[str], str]


def write_check_page(
    slug: str,
    findings: Sequence[Finding],
    table: pd.DataFrame,
    *,
    data: Path,
    fixes: Path,
    suspicious: pd.DataFrame | None = None,
    proposed: Sequence[Fix] = (),
    folder: Path | None = None,
) -> tuple[Path, Path]:
    """Write `<slug>-check.html` and `<slug>-fixes-proposed.csv` and return their paths.

    Args:
        slug: of the competition.
        findings: of `check_quality`.
        table: the sample table: image_id, path, label, split.
        data: folder that `path` is relative to.
        fixes: where the competition's fixes.csv is, or is to be made; named on the page.
        suspicious: of `suspicious_labels`.
        proposed: rows for fixes.csv besides those of the findings.
        folder: where to write; default: the board's.
    """
    folder = folder or family("board")
    page, proposal = folder / f"{slug}-check.html", folder / f"{slug}-fixes-proposed.csv"
    have = proposed_fixes(findings)
    known = {fix.image_id for fix in have}
    rows = [*have, *(fix for fix in proposed if fix.image_id not in known)]
    write_text(proposal, fixes_text(rows))
    write_text(
        page, check_page(slug, findings, table, data=data, fixes=fixes, suspicious=suspicious, proposal=proposal.name)
    )
    return page, proposal


def check_page(
    slug: str,
    findings: Sequence[Finding],
    table: pd.DataFrame,
    *,
    data: Path,
    fixes: Path,
    suspicious: pd.DataFrame | None,
    proposal: str,
) -> str:
    """Return the page's HTML; arguments as in `write_check_page`, `proposal` is the name of the file beside it."""
    row_of: Mapping[Any, Mapping[Any, Any]] = table.set_index("image_id")[["path", "label", "split"]].to_dict("index")
    drawn: dict[str, str] = {}

    def thumbnail(image_id: str) -> str:
        if image_id not in drawn:
            drawn[image_id] = _figure(image_id, row_of.get(image_id), data)
        return drawn[image_id]

    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES}
    sides = ", ".join(f"{count:,} {side}" for side, count in table["split"].value_counts().items())
    body = [
        f"<h1>Data check: {escape(slug)}</h1>",
        f'<p class="soft">{len(table):,} images: {escape(sides)}. Found: {counts["stop"]} to mend, '
        f"{counts['warn']} to look at, {counts['note']} to know.</p>",
    ]
    if not findings and suspicious is None:
        body.append("<p>Nothing was found.</p>")
    for severity in SEVERITIES:
        of_it = [finding for finding in findings if finding.severity == severity]
        if of_it:
            body.append(f"<h2>{_TITLES[severity]}</h2><p class='soft'>{_LEADS[severity]}</p>")
            body += [_section(finding, thumbnail) for finding in of_it]
    if suspicious is not None:
        body.append(_suspicious(suspicious, thumbnail))
    body.append(
        f'<h2>What to do with this</h2><p>All proposed rows are in <a href="{escape(proposal, quote=True)}">'
        f"{escape(proposal)}</a>. Take over the ones you agree with into <code>{escape(str(fixes))}</code>; where the "
        "action is empty, decide: <code>drop</code> leaves the image out, <code>relabel</code> gives it the label in "
        "the row, <code>keep</code> says that it is fine. The image files themselves stay as they are.</p>"
    )
    return _document(f"Data check: {slug}", "\n".join(body))


def _section(finding: Finding, thumbnail: Thumbnail) -> str:
    parts = [
        f'<section class="{finding.severity}"><h3>{escape(finding.kind.replace("-", " "))}</h3>',
        f"<p>{escape(finding.message)}</p>",
    ]
    if pairs := finding.details.get("pairs"):
        shown = [
            f'<li class="pair">{thumbnail(a)}{thumbnail(b)}<p class="soft">{escape(kind)}</p></li>'
            for a, b, kind in pairs[:MAX_PAIRS]
        ]
        parts.append(f'<ul class="pairs">{"".join(shown)}</ul>{_more(len(pairs) - MAX_PAIRS, "pairs")}')
    elif finding.image_ids:
        shown = [f"<li>{thumbnail(image_id)}</li>" for image_id in finding.image_ids[:MAX_PICTURES]]
        parts.append(f'<ul class="pictures">{"".join(shown)}</ul>')
        parts.append(_more(len(finding.image_ids) - MAX_PICTURES, "images"))
    if probes := finding.details.get("probes"):
        parts.append(_probes(probes))
    parts.append(_proposal(finding.proposed))
    return "\n".join([*parts, "</section>"])


def _probes(probes: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(", ".join(probe["facts"]).replace("_", " "))}</th>'
        f'<td class="n">{probe["score"]:.3f}</td><td class="n">{probe["low"]:.3f}</td>'
        f'<td class="n">{probe["chance"]:.3f}</td><td class="n">{probe["num_images"]:,}</td></tr>'
        for probe in probes
    )
    return (
        '<div class="wide"><table><thead><tr><th scope="col">Fact</th><th scope="col">Score</th>'
        '<th scope="col">99.9 % lower bound</th><th scope="col">Chance</th><th scope="col">Images</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _suspicious(suspicious: pd.DataFrame, thumbnail: Thumbnail) -> str:
    items = [
        f'<li>{thumbnail(row["image_id"])}<p class="soft">{row["rank"]}: rather '
        f"<strong>{escape(row['suggested'])}</strong>?<br>"
        f"label&#8217;s probability {row['probability_of_label']:.2f}</p></li>"
        for row in suspicious.head(2 * MAX_PICTURES).to_dict("records")
    ]
    return (
        f"<h2>Suspicious labels</h2><p>{len(suspicious):,} labels are contradicted by networks that never saw the "
        f'image, the most doubtful first.</p><ul class="pictures">{"".join(items)}</ul>'
        f"{_more(len(suspicious) - len(items), 'images')}"
    )


def _proposal(rows: Sequence[Fix]) -> str:
    if not rows:
        return ""
    # One image may be proposed for several reasons; its row is shown once.
    unique = list({fix.image_id: fix for fix in reversed(rows)}.values())[::-1]
    return (
        f"<details><summary>Proposed rows for fixes.csv ({len(unique):,})</summary>"
        f"<pre>{escape(fixes_text(unique[:MAX_ROWS]))}</pre>{_more(len(unique) - MAX_ROWS, 'rows')}</details>"
    )


def _more(count: int, what: str) -> str:
    return f'<p class="soft">and {count:,} more {what}</p>' if count > 0 else ""


def _figure(image_id: str, row: Mapping[Any, Any] | None, data: Path) -> str:
    source = _data_uri(data / row["path"]) if row is not None and row["path"] else None
    picture = (
        f'<img alt="" loading="lazy" src="{source}">' if source else '<span class="no-picture">cannot be read</span>'
    )
    about = " · ".join(part for part in (row["split"], row["label"]) if part) if row is not None else "not in the table"
    # A long id breaks behind its slashes and underscores, not within a number.
    name = escape(image_id).replace("/", "/<wbr>").replace("_", "_<wbr>")
    return f"<figure>{picture}<figcaption>{name}<br><small>{escape(about)}</small></figcaption></figure>"


def _data_uri(path: Path) -> str | None:
    """Return a picture as a small JPEG inside a URI, or None where it cannot be read."""
    import cv2

    try:
        image = reduced(read_image(path), THUMBNAIL)
    except DataError:
        return None
    height, width = image.shape[:2]
    longest = MAX_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    image = image[top : top + longest, left : left + longest]
    written, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])  # OpenCV writes BGR
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}" if written else None


def _document(title: str, body: str) -> str:
    here = Path(__file__).parent
    style = "".join((here / name).read_text(encoding="utf-8") for name in ("board.css", "check.css"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )
