"""OpenStack Swift with its S3 interface, as Debian packages it, for the time of a test: an object store that checks
what it is asked. All state is in one temporary folder, all ports are on loopback, and the servers die with the tests.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from apps.jobs.lifeline import die_with_parent
from tests.stack import free_port

# Debian's own Python has Swift's modules; the one of our virtual environment has not.
PYTHON = "/usr/bin/python3"
SERVERS = ("account", "container", "object", "proxy")
BUCKET = "voices"
KEY, SECRET = "test:tester", "testing"
START_SECONDS = 120.0
# One ring a kind of server, each with one disk of one machine. Run by Debian's Python.
RINGS = """
import json, sys
from swift.common.ring import RingBuilder
folder, ports = sys.argv[1], json.loads(sys.argv[2])
for name in ("account", "container", "object"):
    builder = RingBuilder(2, 1, 0)
    disk = {"id": 0, "region": 1, "zone": 1, "device": "disk", "weight": 1.0, "ip": "127.0.0.1", "port": ports[name]}
    builder.add_dev({**disk, "replication_ip": disk["ip"], "replication_port": disk["port"]})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{name}.ring.gz")
"""
COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}
mount_check = false
fallocate_reserve = 0
disable_fallocate = true
log_level = WARNING
log_address = {folder}/no-syslog
log_udp_host =
"""
STORES = """
[pipeline:main]
pipeline = healthcheck {name}-server

[filter:healthcheck]
use = egg:swift#healthcheck

[app:{name}-server]
use = egg:swift#{name}
"""
# Patient with a machine that is busy with something else. tempauth insists on a cache, which is nowhere: nothing
# listens at port 9.
PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth copy slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
recoverable_node_timeout = 60
conn_timeout = 10
cors_allow_origin = {origins}

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
set log_level = CRITICAL

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:s3api]
use = egg:swift#s3api
location = us-east-1
cors_preflight_allow_origin = {origins}

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin

[filter:copy]
use = egg:swift#copy

[filter:slo]
use = egg:swift#slo

[filter:dlo]
use = egg:swift#dlo
"""


@dataclass(frozen=True)
class Server:
    """A running store with one empty bucket."""

    endpoint: str
    bucket: str = BUCKET
    key: str = KEY
    secret: str = SECRET

    @property
    def settings(self) -> dict[str, str]:
        """The site's settings for it, as `tests.stack.running` takes them."""
        return {
            "S3_BUCKET": self.bucket,
            "S3_ENDPOINT_URL": self.endpoint,
            "S3_REGION": "us-east-1",
            "S3_ACCESS_KEY": self.key,
            "S3_SECRET_KEY": self.secret,
            "S3_ADDRESSING_STYLE": "path",
        }

    def client(self) -> Any:
        """Return a client of its own, not the product's."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
        )


def use(settings: Any, server: Server, **changes: Any) -> None:
    """Make the server's bucket the default storage for the time of a test, as the settings would of S3_BUCKET."""
    options = {
        "bucket_name": server.bucket,
        "endpoint_url": server.endpoint,
        "region_name": "us-east-1",
        "access_key": server.key,
        "secret_key": server.secret,
        "addressing_style": "path",
        "default_acl": None,
        "file_overwrite": False,
        "querystring_expire": 300,
        "max_memory_size": 8 * 1024 * 1024,
        **changes,
    }
    own = {"BACKEND": "apps.jobs.s3.BucketStorage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": own}


def is_installed() -> bool:
    """Say whether all four servers are there."""
    return all(Path(f"/usr/bin/swift-{name}-server").exists() for name in SERVERS)


def skip_unless_installed() -> None:
    """Skip the test where Swift is missing; under CI fail it."""
    if is_installed():
        return
    reason = "Swift is missing (apt-get install swift-proxy swift-account swift-container swift-object, as root)"
    assert os.environ.get("CI", "").lower() not in ("1", "true"), reason
    pytest.skip(reason)


@contextmanager
def server(*, origins: str = "*") -> Iterator[Server]:
    """Start a Swift with one empty bucket and end it afterwards. ``origins``: whose pages may send to it (CORS)."""
    folder = Path(tempfile.mkdtemp(prefix="vcw-"))
    ports = {name: free_port() for name in SERVERS}
    try:
        (folder / "disk").mkdir()
        subprocess.run([PYTHON, "-c", RINGS, str(folder), json.dumps(ports)], check=True, timeout=60)
        with ExitStack() as running:
            for name in SERVERS:
                running.callback(_end, _start(folder, name, ports[name], origins))
            for port in ports.values():
                _wait(f"http://127.0.0.1:{port}/healthcheck", folder)
            found = Server(f"http://127.0.0.1:{ports['proxy']}")
            found.client().create_bucket(Bucket=found.bucket)
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, name: str, port: int, origins: str) -> subprocess.Popen[bytes]:
    text = COMMON + (PROXY if name == "proxy" else STORES)
    conf = folder / f"{name}-server.conf"
    conf.write_text(text.format(port=port, user=getpass.getuser(), folder=folder, name=name, origins=origins))
    command = [PYTHON, f"/usr/bin/swift-{name}-server", str(conf), "--verbose"]
    with (folder / "log").open("ab") as log:
        end = partial(die_with_parent, os.getpid())
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, preexec_fn=end)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _wait(url: str, folder: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < limit, (folder / "log").read_text()[-4000:]
            time.sleep(0.1)
