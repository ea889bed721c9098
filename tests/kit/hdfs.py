"""A real HDFS: a NameNode and a DataNode, each a process of its own, reached over WebHDFS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.kit.ports import free_port
from tests.kit.programs import program

READY_S = 90.0
USER = "hansa"

_SITE = """<?xml version="1.0"?>
<configuration>{}</configuration>
"""


@dataclass(frozen=True, slots=True)
class Hdfs:
    """A running one. `data` is where the DataNode keeps its blocks."""

    endpoint: str
    data: Path


@asynccontextmanager
async def running_hdfs() -> AsyncIterator[Hdfs]:
    with tempfile.TemporaryDirectory(prefix="hansa-hdfs-") as name:
        folder = Path(name)
        rpc, http, *data = [free_port() for _ in range(5)]
        (folder / "conf").mkdir()
        core = {"fs.defaultFS": f"hdfs://127.0.0.1:{rpc}", "hadoop.tmp.dir": f"{folder}/tmp"}
        node = {
            "dfs.replication": "1",
            "dfs.permissions.enabled": "false",
            "dfs.namenode.http-address": f"127.0.0.1:{http}",
            "dfs.namenode.name.dir": f"{folder}/name",
            "dfs.datanode.data.dir": f"{folder}/data",
            "dfs.datanode.address": f"127.0.0.1:{data[0]}",
            "dfs.datanode.http.address": f"127.0.0.1:{data[1]}",
            "dfs.datanode.ipc.address": f"127.0.0.1:{data[2]}",
            "dfs.datanode.hostname": "127.0.0.1",
            "dfs.namenode.safemode.extension": "0",
            "dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
        }
        (folder / "conf" / "core-site.xml").write_text(_site(core))
        (folder / "conf" / "hdfs-site.xml").write_text(_site(node))
        name_node = "org.apache.hadoop.hdfs.server.namenode.NameNode"
        formatting = await _start(folder, name_node, "-format", "-nonInteractive")
        assert await formatting.wait() == 0, (folder / "output").read_text()[-2000:]
        processes = [await _start(folder, name_node)]
        try:
            processes.append(await _start(folder, "org.apache.hadoop.hdfs.server.datanode.DataNode"))
            endpoint = f"http://127.0.0.1:{http}"
            await _ready(endpoint)
            yield Hdfs(endpoint, folder / "data")
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def _start(folder: Path, kind: str, *arguments: str) -> asyncio.subprocess.Process:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HADOOP_USER_NAME": USER}
    with (folder / "output").open("ab") as output:
        return await asyncio.create_subprocess_exec(
            program("hdfs"), kind, str(folder / "conf"), *arguments, stdout=output, stderr=output, env=environment
        )


async def _ready(endpoint: str) -> None:
    """Writes a file: there is a NameNode, and a DataNode that it knows."""
    url = f"{endpoint}/webhdfs/v1/ready?op=CREATE&overwrite=true&user.name={USER}"
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.put(url, data=b"x") as answer:
                    if answer.status == 201:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.3)


def _site(values: dict[str, str]) -> str:
    each = (f"<property><name>{name}</name><value>{value}</value></property>" for name, value in values.items())
    return _SITE.format("".join(each))
