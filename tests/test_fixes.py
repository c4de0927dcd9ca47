"""Fixes: what read_fixes accepts and refuses, what apply_fixes changes, and that nothing is ever lost."""

from pathlib import Path

import pandas as pd
import pytest
from toys import competition

from kit.errors import DataError
from kit.quality.fixes import COLUMNS, Fix, Fixes, add_fixes, apply_fixes, fixes_path, fixes_text, read_fixes

CLASSES = ("cat", "dog")
HEADER = ",".join(COLUMNS)
TABLE = pd.DataFrame({"image_id": ["a", "b", "c"], "label": ["cat", "dog", "cat"]})
DROP = Fix(image_id="a", action="drop", who="Eve", when="2026-01-31", why="a drawing")


def written(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "fixes.csv"
    path.write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return path


def test_a_missing_file_means_no_fixes_and_no_fingerprint(tmp_path: Path):
    assert read_fixes(tmp_path / "fixes.csv", classes=CLASSES) == Fixes()
    assert Fixes().fingerprint == ""


def test_drop_removes_the_row_relabel_changes_the_label_keep_changes_nothing(tmp_path: Path):
    path = written(tmp_path, "a,drop,,,,a drawing", "b,relabel,cat,Eve,2026-01-31,whiskers", "c,keep,,,,fine")
    fixes = read_fixes(path, classes=CLASSES)
    fixed = apply_fixes(TABLE, fixes)
    assert fixed.to_dict("list") == {"image_id": ["b", "c"], "label": ["cat", "cat"]}
    assert list(TABLE["label"]) == ["cat", "dog", "cat"]  # what came in stays as it was
    assert (fixes.dropped, fixes.relabelled, fixes.kept) == ({"a"}, {"b": "cat"}, {"c"})


def test_relabel_sets_the_targets_to_one_hot():
    soft = TABLE.assign(target_cat=[0.9, 0.2, 1.0], target_dog=[0.1, 0.8, 0.0])
    fixed = apply_fixes(soft, Fixes(rows=(Fix(image_id="b", action="relabel", label="cat", why="whiskers"),)))
    assert fixed["target_cat"].tolist() == [0.9, 1.0, 1.0]
    assert fixed["target_dog"].tolist() == [0.1, 0.0, 0.0]


def test_relabel_may_give_several_classes_only_where_an_image_may_have_several(tmp_path: Path):
    path = written(tmp_path, "b,relabel,cat + dog,,,both are there")
    fixed = apply_fixes(
        TABLE.assign(target_cat=[1.0, 0.0, 1.0], target_dog=[0.0, 1.0, 0.0]),
        read_fixes(path, classes=CLASSES, several=True),
    )
    assert fixed.loc[1, ["label", "target_cat", "target_dog"]].tolist() == ["cat + dog", 1.0, 1.0]
    with pytest.raises(DataError, match="row 2: the label 'cat \\+ dog' is not a class"):
        read_fixes(path, classes=CLASSES)


def test_an_image_that_may_have_several_classes_may_be_given_none(tmp_path: Path):
    path = written(tmp_path, "b,relabel,,,,an empty field")
    table = TABLE.assign(target_cat=[1.0, 0.0, 1.0], target_dog=[0.0, 1.0, 0.0])
    fixed = apply_fixes(table, read_fixes(path, classes=CLASSES, several=True))
    assert fixed.loc[1, ["label", "target_cat", "target_dog"]].tolist() == ["", 0.0, 0.0]
    assert fixed.drop(index=1).equals(table.drop(index=1))


def test_a_class_whose_name_holds_a_plus_is_one_class():
    soft = TABLE.assign(**{"target_cat": [1.0, 0.0, 1.0], "target_dog": [0.0, 1.0, 0.0], "target_cat + dog": 0.0})
    fixed = apply_fixes(soft, Fixes(rows=(Fix(image_id="b", action="relabel", label="cat + dog", why="one animal"),)))
    assert fixed.iloc[1, 1:].tolist() == ["cat + dog", 0.0, 0.0, 1.0]


def test_fixes_of_images_that_another_protocol_has_are_passed_over():
    gone = Fix(image_id="test/1", action="drop", why="a drawing")
    assert apply_fixes(TABLE, Fixes(rows=(DROP, gone)), elsewhere={"test/1"})["image_id"].tolist() == ["b", "c"]
    with pytest.raises(DataError, match=r"1 of 2 fixes name an image that is not in the data, first \['test/1'\]"):
        apply_fixes(TABLE, Fixes(rows=(DROP, gone)), elsewhere={"test/2"})
    kept = Fix(image_id="test/1", action="keep", why="fine")
    assert apply_fixes(TABLE, Fixes(rows=(kept,))).equals(TABLE)


def test_without_fixes_the_table_comes_back_the_same_and_is_another_one():
    fixed = apply_fixes(TABLE, Fixes())
    assert fixed.equals(TABLE)
    fixed["label"] = "dog"
    assert TABLE["label"].tolist() == ["cat", "dog", "cat"]


def test_only_what_changes_the_data_is_in_the_fingerprint_and_order_is_not():
    keep = Fix(image_id="c", action="keep", why="fine")
    other = Fix(image_id="b", action="drop", why="a drawing")
    assert Fixes(rows=(keep,)).fingerprint == ""
    assert Fixes(rows=(DROP, other)).fingerprint == Fixes(rows=(other, keep, DROP)).fingerprint
    assert Fixes(rows=(DROP,)).fingerprint != Fixes(rows=(other,)).fingerprint


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,droop,,,,a drawing", "row 3: unknown action 'droop'. Did you mean 'drop'"),
        ("a,,cat,,,same picture as b", "row 3: no action for 'a'. Decide among drop, relabel, keep"),
        ("a,relabel,dgo,,,barks", "row 3: the label 'dgo' is not a class. Did you mean 'dog'"),
        ("a,relabel,,,,barks", "row 3: the label '' is not a class"),
        ("c,drop,,,,a drawing", "row 3: 'c' has a fix already"),
        ("a,drop,,,,", "row 3: no reason"),
        ("a,drop,,,31.1.2026,a drawing", "row 3: when is '31.1.2026'; expected an ISO date"),
        (",drop,,,,a drawing", "row 3: no image_id"),
        ("a,drop", "row 3: 2 values, expected 6"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(tmp_path: Path, row: str, said: str):
    path = written(tmp_path, "c,keep,,,,fine", row)
    with pytest.raises(DataError) as refused:
        read_fixes(path, classes=CLASSES)
    assert said in str(refused.value)


def test_other_columns_are_refused(tmp_path: Path):
    path = tmp_path / "fixes.csv"
    path.write_text("id,action\na,drop\n", encoding="utf-8")
    with pytest.raises(DataError, match="has the columns id, action; expected image_id, action"):
        read_fixes(path, classes=CLASSES)


def test_a_fix_for_an_image_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"1 of 2 fixes name an image that is not in the data, first \['aa'\]"):
        apply_fixes(TABLE, Fixes(rows=(DROP, Fix(image_id="aa", action="drop", why="gone"))))


def test_added_rows_stand_behind_those_that_were_there(tmp_path: Path):
    path = written(tmp_path, 'c,keep,,,,"fine, really"')
    add_fixes(path, [DROP], classes=CLASSES)
    assert path.read_text(encoding="utf-8").splitlines() == [
        HEADER,
        'c,keep,,,,"fine, really"',
        "a,drop,,Eve,2026-01-31,a drawing",
    ]


def test_a_bad_new_row_leaves_the_file_as_it_was(tmp_path: Path):
    path = written(tmp_path, "c,keep,,,,fine")
    before = path.read_bytes()
    for bad in (Fix(image_id="c", action="drop", why="again"), Fix(image_id="b", action="melt", why="no")):
        with pytest.raises(DataError):
            add_fixes(path, [DROP, bad], classes=CLASSES)
        assert path.read_bytes() == before


def test_ids_with_commas_quotes_and_line_ends_come_back(tmp_path: Path):
    odd = Fix(image_id='a,"b"\nc ', action="keep", why="=1+1")
    path = tmp_path / "fixes.csv"
    path.write_text(fixes_text([odd]), encoding="utf-8")
    assert read_fixes(path, classes=CLASSES).rows == (odd,)


def test_your_own_file_goes_before_the_competitions(tmp_path: Path, own_home: Path):
    toy = competition(tmp_path)
    own, shared = own_home / "fixes" / "toy.csv", tmp_path / "fixes.csv"
    assert fixes_path(toy) == own
    shared.write_text(HEADER, encoding="utf-8")
    assert fixes_path(toy) == shared
    own.parent.mkdir(parents=True)
    own.write_text(HEADER, encoding="utf-8")
    assert fixes_path(toy) == own
