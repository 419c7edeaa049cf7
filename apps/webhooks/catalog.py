"""The events that a receiver can ask for."""

from __future__ import annotations

EVENTS = {
    "job.queued": "A job waits for a worker: new, tried again, or given back by a worker that stopped",
    "job.running": "A worker has begun with a job",
    "job.done": "A job is done",
    "job.failed": "A job has failed",
    "job.cancelled": "A job was cancelled",
}
TEST = "webhook.test"  # sent by hand, to whatever events an endpoint has chosen
