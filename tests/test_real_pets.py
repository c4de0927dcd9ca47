"""Real photographs: 37 breeds of cats and dogs, a head on frozen ImageNet features, at 64 pixels."""

import pytest

from kit.board.compare import compare, load_published
from kit.competition import load_competition
from kit.run import run

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def finished(test_data, tmp_path_factory):
    """A short run on the subset source: (its folder, record, what was said)."""
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(tmp_path_factory.mktemp("pets")))
        patch.setenv("KIT_WEIGHTS", str(test_data / "weights"))
        plan, record = run(
            "pets",
            recipe="baseline",
            source="subset",
            mirror=str(test_data / "data"),
            overrides=[
                "input.image_size=64",
                "input.store_size=72",
                "schedule.frozen_epochs=3",
                "schedule.epochs=0",
            ],
            say=said.append,
        )
        folder = plan.folder  # while KIT_HOME is what it was
    return folder, record, said


def test_the_missing_images_are_announced(finished):
    _, record, said = finished
    (warning,) = [line for line in said if line.startswith("PARTIAL DATA: ")]
    assert "lacks 4,419 of the images that its lists name" in warning
    assert "(official-37-transfer@subset) and are not comparable with published ones" in warning
    assert record.data["num_missing"] == 7349 - 1589 - 1341


def test_the_protocol_is_that_of_the_subset(finished):
    _, record, _ = finished
    (result,) = record.results
    assert record.protocol == result.protocol == "official-37-transfer@subset"
    assert (record.data["num_train"], record.data["num_test"]) == (1589, 1341)
    assert result.scores["accuracy"].num_images == 1341
    assert result.conditions.pretraining_group == "imagenet-1k"
    assert result.conditions.adaptation == "linear-probe"


def test_breeds_are_told_apart_far_better_than_by_chance(finished):
    _, record, _ = finished
    assert record.results[0].scores["accuracy"].value > 0.3  # chance is 1 / 37 = 0.027


def test_the_confused_breeds_are_real_ones(finished):
    _, record, _ = finished
    breeds = set(load_competition("pets").classes)
    confused = record.results[0].confused
    assert len(confused) == 20
    assert {name for true, predicted, _ in confused for name in (true, predicted)} <= breeds


def test_the_submission_names_every_test_image(finished):
    folder, _, _ = finished
    assert len((folder / "submission.csv").read_text().splitlines()) == 1 + 1341


def test_no_published_row_stands_beside_a_subset(finished):
    _, record, _ = finished
    rows = compare(record.results[0], load_published("oxford-iiit-pet"))
    assert len(rows) > 80
    for row in rows:
        assert not row.agreement.comparable
        assert {"test_images", "training_pool"} <= {difference.field for difference in row.agreement.differences}
