"""competition-kit: from any image-classification competition to an honest leaderboard row.

The stages are modules, in the order of ARCHITECTURE.md; `kit.run.run` is the whole line as one function.
Nothing heavy is imported here.
"""
