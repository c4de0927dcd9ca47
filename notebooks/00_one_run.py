# %% [markdown]
# # One run, from images to a leaderboard row
#
# The whole line in Python: the same functions that `kit run digits` calls. Two folds and two epochs, so that it
# takes half a minute; `kit run digits` takes the recipe as it is. The file opens as a notebook through jupytext.

# %%
from kit.board.compare import compare, load_published
from kit.board.site import write_site
from kit.plan import plan_run
from kit.run import finish, predict

plan = plan_run("digits", overrides=["num_folds=2", "schedule.epochs=2", "schedule.batch_size=16"])
plan.train.head()

# %% [markdown]
# The plan knows everything that decides the numbers: the table of samples with its folds, the recipe, where weights
# come from. Its id is made of all that, so the same settings are the same run.

# %%
record = finish(plan)
for score in record.results[0].scores.values():
    print(score)

# %% [markdown]
# Every training image was predicted once, by the network that never saw it.

# %%
out_of_fold = predict(plan)["out-of-fold"]
assert sorted(out_of_fold.image_ids) == sorted(plan.train["image_id"])
wrong = [
    (image_id, truth, out_of_fold.classes[row.argmax()])
    for image_id, truth, row in zip(out_of_fold.image_ids, out_of_fold.labels, out_of_fold.probabilities, strict=True)
    if out_of_fold.classes[row.argmax()] != truth
]
print(f"{len(wrong)} of {len(out_of_fold.image_ids)} wrong, for example {wrong[:3]}")

# %% [markdown]
# Which published results may stand beside this one? scikit-learn's example tests on another half of the images,
# so here none may, and the comparison says in which fields it differs.

# %%
published = load_published(record.baselines)
assert published is not None
for row in compare(record.results[0], published):
    print(row.published.method, "->", row.verdict)
    for difference in row.agreement.differences:
        print("   ", difference)

# %%
print(write_site().pages["digits"])
