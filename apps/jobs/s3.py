"""Files in a bucket: django-storages' S3 with what it lacks for many threads, forks, limits and direct uploads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from apps.jobs.storage import SIGNED_SECONDS, Changed, SignedUpload

CONNECT_SECONDS, ANSWER_SECONDS, TRIES = 3, 20, 3
# Readiness has two seconds for all of its questions.
REACH_SECONDS = 1.5
_BLOCK = 1024 * 1024
_TYPE = "application/octet-stream"


class BucketStorage(S3Storage):  # type: ignore[misc]  # storages has no types
    """A bucket of any S3. Options as S3Storage's; time limits and checksums are set here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client_config = self._config(connect=CONNECT_SECONDS, answer=ANSWER_SECONDS, tries=TRIES)
        self._lock = threading.Lock()
        self._shared: tuple[int, Any] | None = None

    @property
    def connection(self) -> Any:
        """The one connection pool of this process.

        S3Storage makes one for each thread, and each request has a new thread: that cost 0.1 s of computing each
        time. Clients may be shared by threads, but not with a process that was forked: both would use one socket.
        """
        with self._lock:
            if self._shared is None or self._shared[0] != os.getpid():
                self._shared = os.getpid(), self._resource(self.client_config)
            return self._shared[1]

    @property
    def bucket(self) -> Any:
        """The bucket, through this process's own connections."""
        return self.connection.Bucket(self.bucket_name)

    def get_modified_time(self, name: str) -> datetime:
        """Return when the file was stored. Raises FileNotFoundError, as Django's storages do."""
        with _file_not_found(name):
            modified: datetime = super().get_modified_time(name)
            return modified

    def reach(self) -> None:
        """Ask for the bucket itself: a wrong key, a missing bucket and a silent store all raise, within 1.5 s."""
        self._quick.head_bucket(Bucket=self.bucket_name)

    def sign_upload(self, name: str, *, size: int) -> SignedUpload:
        """Return where to put exactly ``size`` bytes under ``name``: length and type are part of the signature."""
        wanted = {"Bucket": self.bucket_name, "Key": self._key(name), "ContentLength": size, "ContentType": _TYPE}
        url = self._client.generate_presigned_url("put_object", Params=wanted, ExpiresIn=SIGNED_SECONDS)
        return SignedUpload(url=url, headers={"Content-Type": _TYPE})

    def size_and_etag(self, name: str) -> tuple[int, str]:
        """Return the bytes of an object and its ETag. Raises FileNotFoundError."""
        with _file_not_found(name):
            found = self._client.head_object(Bucket=self.bucket_name, Key=self._key(name))
        return int(found["ContentLength"]), str(found["ETag"])

    def fetch(self, name: str, path: Path, *, etag: str) -> None:
        """Write the object to ``path``, block by block. Raises Changed when it is not the one with ``etag``."""
        with _changed(name):
            found = self._client.get_object(Bucket=self.bucket_name, Key=self._key(name), IfMatch=etag)
        with path.open("wb") as target:
            for block in found["Body"].iter_chunks(_BLOCK):
                target.write(block)

    def copy(self, source: str, target: str, *, etag: str) -> None:
        """Copy an object within the bucket, its bytes never leaving it. Raises Changed."""
        origin = {"Bucket": self.bucket_name, "Key": self._key(source)}
        with _changed(source):
            self._client.copy_object(
                Bucket=self.bucket_name, Key=self._key(target), CopySource=origin, CopySourceIfMatch=etag
            )

    @property
    def _client(self) -> Any:
        return self.connection.meta.client

    @cached_property
    def _quick(self) -> Any:
        """A client that gives up soon, for readiness alone."""
        return self._resource(self._config(connect=REACH_SECONDS / 2, answer=REACH_SECONDS / 2, tries=1)).meta.client

    def _key(self, name: str) -> str:
        key: str = self._normalize_name(clean_name(name))
        return key

    def _config(self, *, connect: float, answer: float, tries: int) -> Config:
        return Config(
            s3={"addressing_style": self.addressing_style},
            signature_version="s3v4",
            connect_timeout=connect,
            read_timeout=answer,
            retries={"mode": "standard", "total_max_attempts": tries},
            # Stores other than Amazon's own refuse the checksums that its client has sent by default since 2025.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
        )

    def _resource(self, config: Config) -> Any:
        # Without keys the client finds those of the machine's own role.
        session = boto3.Session(aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key)
        return session.resource(
            "s3", region_name=self.region_name, endpoint_url=self.endpoint_url, config=config, verify=self.verify
        )


@contextmanager
def _file_not_found(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _status(error) == 404:
            raise FileNotFoundError(name) from error
        raise


@contextmanager
def _changed(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _status(error) in (404, 412):
            raise Changed(name) from error
        raise


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
