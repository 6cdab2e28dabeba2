"""A PostgreSQL server of one's own, where the machine has one: as Debian's package `postgresql` puts it there."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def find_program(name: str) -> str | None:
    """Where a program of the server lies."""
    return next((str(folder / name) for folder in FOLDERS if (folder / name).exists()), shutil.which(name))


class Server:
    """The server; it will not run as root, and takes the user `postgres` then."""

    def __init__(self) -> None:
        """Make a cluster, and start it."""
        initdb, postgres = find_program("initdb"), find_program("postgres")
        if initdb is None or postgres is None:
            pytest.skip("needs a PostgreSQL server: apt install postgresql")
        self.program = postgres
        self.who = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="calibrant-postgres-"))
        if self.who:
            shutil.chown(self.folder, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.n_databases = 0
        command = [
            *self.who,
            initdb,
            "--auth=trust",
            "--username=calibrant",
            "--no-sync",
            "--pgdata",
            str(self.folder / "data"),
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = ["-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-F"]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.who, self.program, *options], stdout=log, stderr=log, cwd=self.folder
            )
        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.address("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert time.monotonic() < end
                assert self.process.poll() is None
                time.sleep(0.05)
            else:
                return

    def address(self, database: str) -> str:
        return f"postgresql://calibrant@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of an empty database."""
        self.n_databases += 1
        name = f"test{self.n_databases}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)

    def kill(self) -> None:
        """As a machine that loses its power: with all its processes, each of which would otherwise do what it can."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it, and remove everything."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.log").unlink(missing_ok=True)
