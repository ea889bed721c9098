"""Options of the cold archive of messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from homeserver.config import checks
from homeserver.config.buckets import S3Bucket
from homeserver.config.options import option, section


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdfs:
    """A folder of HDFS for the archive, over WebHDFS."""

    endpoint: str = option("http://localhost:9870", "HTTP address of the NameNode.", check=checks.http_url)
    folder: str = option("/hansa/archive", "The folder; nobody else writes into it.")
    user: str = option("hansa", "Whom HDFS takes the server for.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Months of messages that leave the hot index, and stay findable at little cost."""

    after_days: int | None = option(
        None,
        "Days after its end at which a month is archived; none means that only `hansa archive run` does it.",
        low=0,
    )
    bodies_after_days: int | None = option(
        None,
        "Days after its end at which what a month's messages say leaves the database too, for the archive alone; none"
        " means never.",
        low=0,
    )
    store: Literal["folder", "s3", "hdfs"] = option("folder", "Where the archive is.")
    store_path: Path = option(Path("{data_dir}/archive"), "The folder.")
    s3: S3Bucket = section(S3Bucket(prefix="archive/"), "The bucket.")
    hdfs: Hdfs = section(Hdfs(), "The folder of HDFS.")
