"""The judgement: predictions become scores with intervals."""
