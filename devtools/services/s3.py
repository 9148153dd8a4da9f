"""An S3 server: Versity's gateway over a folder."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import boto3
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from devtools.services.built import s3_program
from devtools.services.names import names
from devtools.services.process import ServerProcess, free_port, new_folder

REGION = "us-east-1"


def delta_rs_options(keys: Mapping[str, str]) -> dict[str, str]:
    """What delta-rs enters a bucket with.

    Args:
        keys: Credentials, as a server or the owner of a bucket has them.
    """
    return {
        "AWS_ACCESS_KEY_ID": keys["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["secretAccessKey"],
        "AWS_REGION": keys["region"],
        "AWS_ENDPOINT_URL": keys["endpoint"],
        "AWS_ALLOW_HTTP": "true",
    }


@dataclass
class S3Server:
    """A running S3 server without buckets.

    Args:
        endpoint: Its URL.
        access_key_id: Of the root user.
        secret_access_key: The root user's secret; has characters that need escaping.
        server: The process.
    """

    endpoint: str
    access_key_id: str
    secret_access_key: str
    server: ServerProcess

    def client(self, **keys: str) -> Any:
        """AWS's own client, by default as the root user."""
        aws: Any = boto3
        return aws.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=keys.get("accessKeyId", self.access_key_id),
            aws_secret_access_key=keys.get("secretAccessKey", self.secret_access_key),
        )

    def make_bucket(self, name: str) -> None:
        """Make a bucket of the root user's."""
        self.client().create_bucket(Bucket=name)

    def make_owner(self, bucket: str, access_key_id: str, secret_access_key: str) -> dict[str, Any]:
        """Make a bucket of another user's, which root may enter as well; gives the user's credentials."""
        fields = {"Access": access_key_id, "Secret": secret_access_key, "Role": "userplus"}
        account = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
        self._manage("create-user", f"<Account>{account}</Account>")
        self.client(accessKeyId=access_key_id, secretAccessKey=secret_access_key).create_bucket(Bucket=bucket)
        return {**self.credentials(), "accessKeyId": access_key_id, "secretAccessKey": secret_access_key}

    def remove_user(self, access_key_id: str) -> None:
        """Make a user's key worthless."""
        self._manage(f"delete-user?access={quote(access_key_id)}")

    def _manage(self, command: str, body: str = "") -> None:
        """Ask the gateway what only its administrator may."""
        url = f"{self.endpoint}/{command}"
        request: Any = AWSRequest("PATCH", url, data=body)
        signer: Any = S3SigV4Auth(Credentials(self.access_key_id, self.secret_access_key), "s3", REGION)
        signer.add_auth(request)
        answer = requests.patch(url, data=body, headers=dict(request.headers), timeout=30)
        assert answer.ok, answer.text

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Names of all objects in a bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def set_age(self, bucket: str, key: str, *, days: float) -> None:
        """Have an object be that old: its time is that of its file."""
        then = time.time() - days * 24 * 3600
        os.utime(self.server.folder / "data" / bucket / key, (then, then))

    def credentials(self) -> dict[str, Any]:
        """The fields of its secret in Vault."""
        return {
            "accessKeyId": self.access_key_id,
            "secretAccessKey": self.secret_access_key,
            "region": REGION,
            "endpoint": self.endpoint,
            "pathStyleAccess": True,
        }

    def stop(self) -> None:
        """End it and remove its data."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_s3(outlives: bool = False) -> S3Server:
    """Start a server of its own.

    Args:
        outlives: Go on when this process ends.

    Raises:
        ServerUnavailableError: There is none, and it can't be built.
    """
    known = names()
    folder, port = new_folder("s3"), free_port()
    for name in ("data", "users"):
        (folder / name).mkdir()
    command = [s3_program(), "--port", f"127.0.0.1:{port}", "--quiet", "--iam-dir", str(folder / "users")]
    command += ["posix", str(folder / "data")]
    keys = {"ROOT_ACCESS_KEY": known["S3_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": known["S3_SECRET_ACCESS_KEY"]}

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    server = ServerProcess("s3", command, folder, answers, environment=keys, outlives=outlives)
    server.start()
    return S3Server(f"http://127.0.0.1:{port}", keys["ROOT_ACCESS_KEY"], keys["ROOT_SECRET_KEY"], server)
