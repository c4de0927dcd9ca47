# %% [markdown]
# # Bring your own model
#
# A network is not always what one needs. Any scikit-learn estimator, or any object with `fit` and `predict_proba`, can
# take its place: `kit.run_own`. What the kit is for stays as it is: folds that never leak, scores with intervals, the
# leaderboard, the comparison with what was published, and the file that is handed in.
#
# Two subjects, about a minute on two cores. Pictures: nearest neighbours on pixels, and a support vector machine on
# edges. Then a table without any picture: the passengers of the Titanic, up to a submission. `KIT_MIRROR` may name a
# folder with `fashion-mnist/` (the publisher's four files) and `kaggle-csv/titanic/` (Kaggle's two tables); what is not
# there is replaced, and said.

# %%
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

import kit
from kit.board.compare import load_published
from kit.board.duel import duel
from kit.competition import package_folder, read_competition
from kit.data.pixels import read_idx, write_images
from kit.interpret.drawing import BLUE
from kit.kaggle.lint import lint
from kit.learner.own_features import hog

mirror = Path(os.environ.get("KIT_MIRROR", "nowhere"))
work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Pictures
#
# Fashion-MNIST has 60,000 pictures of clothing to learn from. Here are **5,000 of them**, 500 of each kind, in five
# folds: enough to see how things stand, and another question than the published one. Without the files, the 1,797
# digits of scikit-learn stand in, enlarged to 16 pixels.

# %%
KINDS = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def five_thousand(files: Path) -> Path:
    """Write 500 pictures of each kind of clothing into a folder per kind and return the folder above."""
    images = read_idx(files / "train-images-idx3-ubyte.gz")
    labels = read_idx(files / "train-labels-idx1-ubyte.gz")
    chosen = np.concatenate([np.flatnonzero(labels == k)[:500] for k in range(10)])
    names = [f"{KINDS[labels[row]]}/{row:05d}.png" for row in chosen]
    write_images(work / "clothing", images[chosen], names)
    return work / "clothing"


if (mirror / "fashion-mnist").is_dir():
    data = kit.from_folder(five_thousand(mirror / "fashion-mnist"), size=28, folds=5, name="clothing")
else:
    print("There is no Fashion-MNIST here: these are DIGITS.")
    data = kit.load("digits", size=16)
data

# %% [markdown]
# ### Nearest neighbours on pixels
#
# Without `features`, a row is the picture's pixels, from 0 to 1. The estimator is cloned for each fold, so that no
# picture is answered by a model that has seen it. What comes back is a finished run, as of a network.

# %%
neighbours = kit.run_own(data, KNeighborsClassifier(5, weights="distance"), name="pixel-knn")
neighbours

# %% [markdown]
# ### Edges, and a support vector machine
#
# `features` is any function of one picture, `(S, S, 3)` in bytes, that returns a row of numbers. It is called once for
# each picture, and what it gave is kept. `hog` is Dalal and Triggs's histogram of oriented gradients.
#
# What is *fitted* to data must not be in that function: a scale or a PCA that has seen all pictures has seen those it
# is asked about. Such steps belong into the model, as `StandardScaler` does here, and are fitted anew for each fold.
#
# An `SVC` says on which side of its borders a picture lies, and how far. That is no probability yet, and `run_own`
# takes nothing else; a class of a few lines makes one of it. A softmax keeps the order, which is all that accuracy asks
# for. Whoever needs probabilities that can be believed takes `sklearn.calibration.CalibratedClassifierCV`.


# %%
class Margins:
    """A support vector machine whose margins become probabilities by a softmax."""

    def __init__(self, **settings: object) -> None:
        self.machine = make_pipeline(StandardScaler(), SVC(**settings))

    def fit(self, rows: np.ndarray, truth: np.ndarray) -> None:
        """Learn from rows (N, F) and class numbers (N,)."""
        self.machine.fit(rows, truth)
        self.classes_ = self.machine.classes_  # which class each column is of

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """Return (N, K), each row summing to 1."""
        margins = self.machine.decision_function(rows)
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


edges = kit.run_own(data, Margins(C=10.0), features=hog, name="hog-svm")
edges

# %% [markdown]
# Both have answered the same pictures, so they can be set against each other picture by picture, which is sharper than
# to look whether two intervals overlap.


# %%
def against(one: kit.OwnRun, other: kit.OwnRun) -> None:
    """Print by how much one run is better than another, and whether that can be chance."""
    (found,) = duel(one.record, other.record, classes=one.data.classes).kinds
    best = found.metrics[0]
    print(f"{one.record.network['name']} against {other.record.network['name']}: {best.difference}: {best.verdict}")


def intervals(runs: list[kit.OwnRun], title: str) -> Figure:
    """Return a figure of the runs' out-of-fold scores with their 95 % intervals."""
    figure = Figure(figsize=(8, 1.3 + 0.45 * len(runs)), layout="constrained")
    axes = figure.subplots()
    for row, run in enumerate(runs):
        score = next(iter(run.record.results[0].scores.values()))
        axes.plot([score.low, score.high], [row, row], color=BLUE, linewidth=2)
        axes.plot(score.value, row, "o", color=BLUE)
        axes.annotate(
            f"{score.value:.3f}", (score.value, row), (0, 7), textcoords="offset points", ha="center", size=11
        )
    axes.set_yticks(range(len(runs)), [run.record.network["name"] for run in runs], size=11)
    axes.set_ylim(len(runs) - 0.4, -0.7)
    axes.set_xlabel(f"accuracy out of fold, with 95 % interval; {score.num_images:,} rows", size=11)
    axes.set_title(title, size=12, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


against(edges, neighbours)
display(intervals([neighbours, edges], "Neighbours on pixels, and a machine on edges"))

# %% [markdown]
# The pictures that the machine was surest and wrong about. Whatever looks at predictions and pictures works as of a
# network; what looks inside one has nothing to look into, and says so.

# %%
edges.interpret().plot_top_losses(9, figsize=(9, 10))

# %% [markdown]
# ### Beside what was published
#
# Fashion-MNIST's authors and readers published what such models reach. Those numbers are of 60,000 pictures to learn
# from and 10,000 others to be scored on: **ours may not stand beside them**, however near they come. A fair row takes
# `kit.load("fashion_mnist")`, whole, which takes longer than a notebook should.

# %%
published = load_published("fashion-mnist")
wanted = ("svc-rbf-2017", "hog-svm", "mlp-256-128-100", "resnet18")
pd.DataFrame(
    [(row.method, row.value, "60,000", "10,000 others") for row in published.results if row.id in wanted]
    + [(f"ours: {run.record.network['name']}", run.record.results[0].scores["accuracy"].value, *said)
       for run in (neighbours, edges)
       for said in [(f"4 folds of {len(data):,} {'pictures' if data.size == 28 else 'DIGITS'}", "the fifth")]],
    columns=["model", "accuracy", "learned from", "scored on"],
).round(4)  # fmt: skip

# %% [markdown]
# The digits have a published number that can be met on its own ground: scikit-learn's example learns from the first
# half of them, and is scored on the second. A protocol of the kit has just these images. The same model on the same
# pixels, from 0 to 16 as there:


# %%
class Example(Margins):
    """The example's classifier, without a scaler."""

    def __init__(self) -> None:
        self.machine = SVC(gamma=0.001)


half = kit.load("digits", protocol="sklearn-half", size=8, folds=0)
example = kit.run_own(half, Example(), features=lambda image: image[..., 0].ravel() / 255.0 * 16, name="svc-example")
example.compare()

# %% [markdown]
# The kit gives no verdict all the same: the example does not say how its `gamma` was chosen, and whoever chose it on
# the second half has a number that no fresh image would give.
#
# ## A table: who survived the Titanic
#
# A competition may have rows without pictures. Then the columns come from its `adapter.py`, as a table with a row per
# passenger, and the rest is as above. Kaggle's tables may not be handed on; where they are not here, **a table that is
# made up** takes their place. It has the same columns, its people never lived, and its scores say nothing of the ship.


# %%
def made_up(folder: Path) -> Path:
    """Write the two tables of passengers that never were, and return the folder."""
    random = np.random.default_rng(8)
    count = 1309
    woman, rank = random.random(count) < 0.36, random.choice([1, 2, 3], size=count, p=[0.25, 0.2, 0.55])
    age = random.normal(30, 13, size=count).clip(1, 75).round()
    odds = -0.4 + 2.6 * woman - 0.9 * (rank - 2) - 0.02 * (age - 30) + 1.2 * (age < 10)
    table = pd.DataFrame({"PassengerId": np.arange(1, count + 1)})
    table["Survived"] = (random.random(count) < 1 / (1 + np.exp(-odds))).astype(int)
    table["Pclass"], table["Sex"] = rank, np.where(woman, "female", "male")
    title = np.where(age < 10, "Master", np.where(woman, np.where(age < 25, "Miss", "Mrs"), "Mr"))
    table["Name"] = [f"Nobody, {one}. Number {k}" for k, one in enumerate(title, 1)]
    table["Age"] = np.where(random.random(count) < 0.2, np.nan, age)
    table["SibSp"], table["Parch"] = random.poisson(0.5, size=count), random.poisson(0.4, size=count)
    table["Ticket"], table["Fare"] = [f"N {k}" for k in range(count)], random.lognormal(4 - 0.7 * rank, 0.5).round(2)
    table["Cabin"] = np.where(random.random(count) < 0.25, "C1", "")
    table["Embarked"] = random.choice(["S", "C", "Q"], size=count, p=[0.7, 0.2, 0.1])
    folder.mkdir(parents=True)
    table[:891].to_csv(folder / "train.csv", index=False)
    table[891:].drop(columns="Survived").to_csv(folder / "test.csv", index=False)
    return folder


if all((mirror / "kaggle-csv" / "titanic" / f"{side}.csv").is_file() for side in ("train", "test")):
    passengers = kit.load("titanic", source="files")
else:
    print("Kaggle's tables are not here: these passengers are MADE UP.")
    # A competition of one's own: the folder of another, whose one source is a folder on this machine.
    own = shutil.copytree(package_folder("competitions") / "titanic", work / "competitions" / "made_up_passengers")
    toml = (own / "competition.toml").read_text(encoding="utf-8").replace("Titanic, ", "MADE UP, after Titanic, ")
    toml = toml.replace('default_protocol = "kaggle"', 'default_protocol = "kaggle"\ndefault_source = "made-up"')
    toml = toml.replace('kaggle = "titanic"\n', "")  # what is made up is handed in nowhere
    folder = made_up(work / "tables")
    (own / "competition.toml").write_text(f"{toml}\n[sources.made-up]\nfolder = '{folder}'\n", encoding="utf-8")
    read_competition(own).adapter().materialise(folder)  # says who is in which table
    os.environ["KIT_COMPETITIONS"] = str(own.parent)
    passengers = kit.load("made_up_passengers")
passengers

# %% [markdown]
# Three models, each in five folds. The first is told the sex alone. The other two are told all columns; the filling of
# gaps, the scales and the list of titles are part of the pipeline, so that each fold has its own.

# %%
columns = make_column_transformer(
    (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), make_column_selector(dtype_include="number")),
    (OneHotEncoder(handle_unknown="ignore", min_frequency=5), make_column_selector(dtype_exclude="number")),
)
words = OneHotEncoder(handle_unknown="ignore")
runs = [
    kit.run_own(passengers, make_pipeline(words, LogisticRegression()), features=["Sex"], name="sex-alone"),
    kit.run_own(passengers, make_pipeline(columns, LogisticRegression(max_iter=1000)), name="logistic"),
    kit.run_own(passengers, make_pipeline(columns, RandomForestClassifier(200, min_samples_leaf=3)), name="forest"),
]
display(intervals(runs, f"{len(passengers):,} passengers, five folds"))
sex, logistic, forest = runs
against(logistic, sex)
against(forest, logistic)

# %% [markdown]
# That is what intervals are for: on 891 passengers a step of a point or two is hard to tell from luck, and the board of
# the competition counts 418.
#
# ## The file that is handed in
#
# The model that answers the test list has learned from all passengers. `kit lint` looks at the file as the competition
# will: columns, ids, values, and whether these are the answers that the run gave.

# %%
path = forest.submission(work / "submission.csv")
pd.read_csv(path).head()


# %%
def looked_at(run: kit.OwnRun, file: Path) -> None:
    """Print what the linter says of a submission."""
    found = lint(
        file,
        passengers.competition,
        data=passengers.path if (passengers.path / "gender_submission.csv").is_file() else None,
        predictions=run.predictions["test"],
        out_of_fold=run.predictions["out-of-fold"],
    )
    print(f"{run.record.network['name']}: {len([one for one in found if one.severity == 'error'])} errors")
    for one in found:
        print(f"  {one.severity}: {one.message}")


looked_at(forest, path)
looked_at(sex, sex.submission(work / "sex.csv"))

# %% [markdown]
# The sex alone is what the competition gives away as its sample: women live, men die. Of such a file the linter says
# that it holds the sample's own values.
#
# `kit submit SLUG --run RUN` would send the first file; `kit board` shows these runs among the others, and `kit blend`
# makes one answer of several, of networks and of models like these.
