"""Two sample tables, of then and of now → which files are not the same, by name."""

from collections.abc import Sequence

import pandas as pd

NAMED = 5  # files, in a message


def changed_files(before: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    """Return what differs between two sample tables, a phrase each, naming files.

    Args:
        before: rows as `kit.data.schema` says.
        now: the same, of now.
    """
    old, new = before.set_index("image_id"), now.set_index("image_id")
    both = old.index.intersection(new.index)
    said = []
    for what, ids, table in (
        ("gone", old.index.difference(new.index), old),
        ("new", new.index.difference(old.index), new),
    ):
        if len(ids):
            said.append(f"{len(ids):,} {what}: {_named(table.loc[ids, 'path'])}")
    for column in [name for name in old.columns if name in new.columns and name != "path"]:
        then, there = old.loc[both, column], new.loc[both, column]
        changed = both[((then != there) & ~(then.isna() & there.isna())).to_numpy()]
        if len(changed):
            kind = "other contents" if column == "sha256" else f"another {column}"
            said.append(f"{len(changed):,} with {kind}: {_named(new.loc[changed, 'path'])}")
    if other := sorted({*old.columns} ^ {*new.columns}):
        said.append(f"columns that only one of the tables has: {', '.join(other)}")
    return said or ["the tables agree, and were written by other versions of the kit"]


def _named(paths: Sequence[str] | pd.Series) -> str:
    named = sorted(map(str, paths))
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED:,} more" if len(named) > NAMED else "")
