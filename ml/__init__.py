"""The engine of voicecloud: from recordings to voices, from voices to converted sound.

Knows nothing of the web site: paths, arrays and dataclasses only. Importing this package, `ml.catalog`,
`ml.probe` or `ml.errors` does not import torch.
"""

from __future__ import annotations
