"""competition-kit: from any image-classification competition to an honest leaderboard row.

The stages are modules, in the order of ARCHITECTURE.md; `kit.run.run` is the whole line as one function, and the
names below are for notebooks. `import kit` imports nothing heavy: each name comes when it is first used.
"""

_HOMES = {
    "Data": "kit.learner.data",
    "KitError": "kit.errors",
    "Learner": "kit.learner.learner",
    "OwnRun": "kit.learner.own_model",
    "from_csv": "kit.learner.tables",
    "from_folder": "kit.learner.sources",
    "from_lists": "kit.learner.tables",
    "from_name_func": "kit.learner.sources",
    "from_name_re": "kit.learner.sources",
    "load": "kit.learner.loading",
    "run_own": "kit.learner.own_model",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'kit' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name != "_HOMES"), *_HOMES})
