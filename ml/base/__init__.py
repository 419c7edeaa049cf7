"""Training of the base model from open speech: data, alignment, three networks, export. Never used at run time."""
