"""`--json`: one document on standard output, with the keys that the help names, and the facts of the plain output."""

import json
import re
import shutil

import pytest
from typer.main import get_command

from kit.board.records import all_records, run_folder
from kit.cli.main import app

# Commands that make something, or serve: they print where it is. All others read, and have `--json`.
MAKING = {
    *("run", "fetch", "prepare", "train", "submission", "look", "pseudo", "submit", "host", "board", "publish"),
    *("track", "export", "export-kernel", "ui", "new", "scrape", "kaggle get"),
}
ASKING = {"standing", "kaggle login-check", "kaggle files"}  # a server: tested beside `kit host`
SLOW = {"blend", "tune"}  # tested where they are made


def every_command():
    """Yield (name, command) of all commands, those of groups too."""
    for name, command in get_command(app).commands.items():
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            yield name, command
        else:
            yield from ((f"{name} {own}", one) for own, one in subcommands.items())


COMMANDS = dict(every_command())


def promised_keys(command: str) -> list[set[str]]:
    """Return the sets of keys of which the help promises that one is the document's."""
    (option,) = [option for option in COMMANDS[command].params if "--json" in option.opts]
    said = re.fullmatch(r"Print one JSON object[^:]*: (.*)\.", option.help)
    assert said, option.help
    lists = re.split(r"; (?:of two runs: |or .*$)?", said[1])
    return [set(part.split(", ")) for part in lists if ", " in part or part in ("files",)]


def test_every_command_reads_with_json_or_makes_something():
    having = {name for name, command in COMMANDS.items() if any("--json" in option.opts for option in command.params)}
    assert having == COMMANDS.keys() - MAKING


# Each: the words of the command, and how to find some facts of the plain output in the document.
TABLE = {
    "list": (["list"], lambda found: [found["competitions"][-1]["slug"], "toy"]),
    "list SLUG": (["list", "toy"], lambda found: [found["title"], found["homepage"], *found["protocols"]]),
    "compare": (["compare", "pets"], lambda found: [found["groups"][0]["title"]]),
    "judge": (["judge", "RUN"], lambda found: [found["run"]["run_id"], score_of(found["results"][0]), found["report"]]),
    "judge FILE": (
        ["judge", "toy", "--predictions", "PREDICTIONS"],
        lambda found: [found["file"]["sha256"], score_of(found["results"][0])],
    ),
    "check": (["check", "toy"], lambda found: [found["page"], found["fixes"]]),
    "lint": (["lint", "SUBMISSION", "toy"], lambda found: [one["code"] for one in found["findings"]]),
    "fit": (["fit", "resnet10t", "--memory", "8GiB"], lambda found: [f"{found['micro_batch']} images"]),
    "bench": (["bench", "toy", "--seconds", "0.01"], lambda found: [found["network"], f"{found['image_size']} px"]),
    "lr-find": (["lr-find", "toy"], lambda found: [f"{found['valley']:.2g}", found["plot"], found["key"]]),
    "place": (["place", "aerial_cactus", "0.9999"], lambda found: [found["words"], found["note"]]),
    "ledger": (["ledger"], lambda found: [found["path"], found["head"][:12], found["looks"][0]["run"]]),
    "cache": (["cache"], lambda found: [found["home"], *(one["what"] for one in found["families"].values())]),
    "cache --clear": (["cache", "--clear", "board"], lambda found: [f"{found['freed'] / 2**20:,.1f} MiB"]),
    "submissions": (["submissions", "toy", "--offline"], lambda found: found["submissions"]),
    "reproduce": (["reproduce", "RUN", "--check"], lambda found: [found["run"], *found["differences"]]),
    "predict": (
        ["predict", "EXPORT", "IMAGES"],
        lambda found: [found["answers"][0]["path"], f"{max(found['answers'][0]['probabilities']):.4f}"],
    ),
    "doctor": (["doctor"], lambda found: [found["findings"]["disk"]["home"], found["findings"]["versions"]["torch"]]),
}


def score_of(result) -> str:
    """Return the first score of a result as the plain output has it."""
    return f"{next(iter(result['scores'].values()))['value']:.4f}"


@pytest.fixture
def arguments(finished_toy, kit, tmp_path, monkeypatch):
    """Return a function that puts real names where the table has words in capitals."""
    monkeypatch.setenv("KIT_TRACKING_URI", "nonsense://nowhere")  # a judged run is shown to MLflow: seconds
    monkeypatch.setattr("kit.doctor.machine.STEP_SECONDS", 0.01)
    monkeypatch.setattr("kit.doctor.machine.IMAGES", 2)
    (record,) = all_records()

    def filled(words: list[str]) -> list[str]:
        places = {
            "RUN": record.run_id,
            "SUBMISSION": str(run_folder(record.run_id) / "submission.csv"),
            "IMAGES": str(next((tmp_path / "kit-home" / "data").rglob("test"))),
        }
        if "EXPORT" in words:
            places["EXPORT"] = str(tmp_path / "export")
            assert kit("export", record.run_id, tmp_path / "export")[0] == 0
        if "PREDICTIONS" in words:
            places["PREDICTIONS"] = str(tmp_path / "predictions.csv")
            content = (run_folder(record.run_id) / "predictions" / "test.csv").read_text().splitlines()
            rows = (line.split(",") for line in content)
            names = [line.removeprefix("probability_") for line in next(rows)]
            kept = [0, *range(3, len(names))]
            lines = [[names[k] for k in kept], *([row[k] for k in kept] for row in rows)]
            (tmp_path / "predictions.csv").write_text("".join(f"{','.join(line)}\n" for line in lines))
        return [places.get(word, word) for word in words]

    return filled


def test_the_table_has_every_command_that_reads_here():
    told = {next(name for name in COMMANDS if name == words[0]) for words, _ in TABLE.values()}
    assert told == COMMANDS.keys() - MAKING - ASKING - SLOW


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TABLE)
def test_json_is_one_document_with_the_promised_keys_and_the_facts_of_the_plain_output(kit, arguments, name):
    words, facts = TABLE[name]
    words = arguments(words)
    code, out, err = kit(*words, "--json")
    assert code == 0, err
    found = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    if name != "list SLUG":
        assert set(found) in promised_keys(words[0])
    code, plain, err = kit(*words)
    assert code == 0, err
    flat = " ".join(plain.split())
    wanted = [" ".join(str(fact).split()) for fact in facts(found)]
    # What is wrapped or measured anew cannot be compared word by word; paths and numbers can.
    assert [fact for fact in wanted if fact not in flat] == []


def test_a_mistake_leaves_standard_output_empty_in_json_too(kit):
    code, out, err = kit("judge", "nothing-of-that-name", "--json")
    assert (code, out) == (2, "")
    assert "kit: There is no competition" in err


def test_findings_that_stop_a_run_are_printed_and_exit_with_two(kit, finished_toy, tmp_path):
    own = next(run_folder(record.run_id) for record in all_records()) / "submission.csv"
    spoiled = tmp_path / "spoiled.csv"
    shutil.copy(own, spoiled)
    spoiled.write_text(own.read_text().replace("image_id", "Image_Id"))
    code, out, _ = kit("lint", spoiled, finished_toy, "--json")
    assert code == 2
    assert json.loads(out)["num_errors"] == 1
