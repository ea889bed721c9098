"""A real OpenLDAP server with two people in it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kit.authority import Authority
from tests.kit.ports import free_port
from tests.kit.programs import program

READY_S = 60.0
BASE = "dc=hansa,dc=test"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "the directory's own"
_SCHEMAS = ("core", "cosine", "inetorgperson")
_PEOPLE = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: hansa
o: Hansa

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,{BASE}
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
displayName: Alice of the directory
userPassword: alices word

dn: uid=bob,ou=people,{BASE}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
userPassword: bobs word
"""


class Slapd:
    """`url` with TLS, `plain_url` without."""

    def __init__(self, port: int, tls_port: int, folder: Path) -> None:
        self.url = f"ldaps://localhost:{tls_port}"
        self.plain_url = f"ldap://localhost:{port}"
        self._folder = folder

    def modify(self, ldif: str) -> None:
        """Changes entries, as the operator's own tools would."""
        subprocess.run(
            [program("ldapmodify"), "-x", "-H", self.plain_url, "-D", ADMIN, "-w", ADMIN_PASSWORD],
            input=ldif.encode(), check=True, capture_output=True,
        )  # fmt: skip


@asynccontextmanager
async def slapd(authority: Authority) -> AsyncIterator[Slapd]:
    """Listens on free ports of the loopback."""
    with tempfile.TemporaryDirectory(prefix="hansa-slapd-") as name:
        folder = Path(name)
        (folder / "db").mkdir()
        certificate, key = authority.server_files("localhost")
        schemas = "\n".join(f"include /etc/ldap/schema/{one}.schema" for one in _SCHEMAS)
        config = folder / "slapd.conf"
        config.write_text(
            # As careless as one can be set up to be: a name without a password is bound, as nobody.
            f"allow bind_anon_cred bind_anon_dn\n{schemas}\n"
            f"modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {folder}/pid\n"
            f"TLSCertificateFile {certificate}\nTLSCertificateKeyFile {key}\n"
            f'database mdb\nsuffix "{BASE}"\nrootdn "{ADMIN}"\nrootpw "{ADMIN_PASSWORD}"\ndirectory {folder}/db\n'
        )
        people = folder / "people.ldif"
        people.write_text(_PEOPLE)
        subprocess.run([program("slapadd"), "-f", config, "-l", people], check=True, capture_output=True)
        server = Slapd(free_port(), free_port(), folder)
        silent = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            program("slapd"), "-d", "0", "-f", str(config), "-h", f"{server.plain_url} {server.url}",
            stdout=silent, stderr=silent,
        )  # fmt: skip
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    with contextlib.suppress(OSError):
                        port = int(server.url.rpartition(":")[2])
                        _, writer = await asyncio.open_connection("localhost", port)
                        writer.close()
                        break
                    await asyncio.sleep(0.05)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
