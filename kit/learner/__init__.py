"""The Python face: what people who know fast.ai's first lesson type in a notebook, thin over the stages."""
