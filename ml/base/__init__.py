"""Training of the base model from open speech: data, alignment, four networks, export. Never used at run time."""
