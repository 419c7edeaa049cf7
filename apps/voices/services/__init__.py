"""What can be done with voices, one module an activity. Views and tasks of this app call nothing else."""

from __future__ import annotations
