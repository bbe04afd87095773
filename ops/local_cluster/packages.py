"""What the services are made of, fetched or installed where it can be, otherwise a sentence with the command.

Java archives come by their Maven coordinates (`files/*.pom.xml`) into a cache folder that all clusters share; the
repository is whatever Maven is configured to use. Everything else is a Debian package.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .part import FILES
from .refusal import Refusal

JAVA_MAJOR = 17  # The only one that both Cassandra 5 and Kafka 4 run on.
POSTGRES_MAJOR_MIN = 15


def archives(service):
    """The folder with the Java archives of a service, fetched if it is not there yet."""
    pom = FILES / f"{service}.pom.xml"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "panda" / "cluster"
    folder = cache / f"{service}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    maven = tool("mvn", "maven")
    print(f"fetching {service} with Maven into {folder} ...", file=sys.stderr)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as fresh:
        command = [maven, "-B", "-q", "-ntp", "-Dstyle.color=never", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"]
        done = subprocess.run([*command, f"-DoutputDirectory={fresh}/jars"], stdout=sys.stderr)
        if done.returncode != 0:
            raise Refusal(f"Maven could not fetch {service}; its own words are above. Try: mvn -f {pom} dependency:resolve")
        try:
            # Whole or not at all: a fetch that is cut short leaves nothing that looks like a cache.
            Path(fresh, "jars").rename(folder)
        except OSError:
            if not folder.exists():  # Somebody else fetched the same in the meantime otherwise.
                raise
    return folder


def java():
    """A Java of the right version."""
    homes = [Path(home) for home in [os.environ.get("JAVA_HOME")] if home]
    candidates = [home / "bin/java" for home in homes] + [Path(found) for found in [shutil.which("java")] if found]
    candidates += sorted(Path("/usr/lib/jvm").glob(f"*-{JAVA_MAJOR}-*/bin/java"))
    for candidate in candidates:
        if candidate.exists() and java_major(candidate) == JAVA_MAJOR:
            return str(candidate)
    if candidates:
        print(f"of {', '.join(map(str, candidates))} none is Java {JAVA_MAJOR}", file=sys.stderr)
    install(f"openjdk-{JAVA_MAJOR}-jre-headless")
    return str(next(Path("/usr/lib/jvm").glob(f"*-{JAVA_MAJOR}-*/bin/java")))


def java_major(java):
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else None


def postgres_tool(name):
    """A program of the newest PostgreSQL that is here: Debian keeps the server's off the PATH."""

    def found():
        versions = [int(path.name) for path in Path("/usr/lib/postgresql").glob("*") if (path / "bin/postgres").exists()]
        if max(versions, default=0) >= POSTGRES_MAJOR_MIN:
            return f"/usr/lib/postgresql/{max(versions)}/bin/{name}"
        return shutil.which(name) if shutil.which("postgres") else None

    return found() or install("postgresql") or found()


def tool(name, package):
    return shutil.which(name) or install(package) or shutil.which(name)


def install(package):
    """Installs a Debian package when that needs nobody's password."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise Refusal(f"{package} is missing; run: sudo apt-get install {package}")
    print(f"installing {package} ...", file=sys.stderr)
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", package]):
        if subprocess.run(["apt-get", *command], **quiet).returncode != 0:
            raise Refusal(f"could not install {package}; run: apt-get install {package}")
