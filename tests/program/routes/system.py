"""The calls of `os`, by paths and by descriptors."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

from tests.program.routes.base import NEW, descriptor_of, holds, python


@python
def os_open_in_every_mode(root: Path) -> None:
    with descriptor_of("a.txt", os.O_WRONLY | os.O_TRUNC) as fd:
        os.write(fd, NEW)
    with descriptor_of(root / "b.txt", os.O_RDWR) as fd:
        os.pwrite(fd, b"EE", 3)
        os.writev(fd, [b"U", b"S"])
    with descriptor_of("c.txt", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, NEW)
    with descriptor_of("sub/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600) as fd:
        os.write(fd, NEW)
    with descriptor_of("sub/x.txt", os.O_RDWR) as fd:
        os.ftruncate(fd, 2)
    holds("a.txt", NEW)
    holds("b.txt", "USeEEs b.txt")
    holds("c.txt", b"user's c.txt" + NEW)
    holds("sub/new", NEW)
    holds("sub/x.txt", "us")


@python
def os_open_below_a_folder_descriptor(root: Path) -> None:
    with descriptor_of("sub", os.O_RDONLY | os.O_DIRECTORY) as folder:
        with descriptor_of("x.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=folder) as fd:
            os.write(fd, NEW)
        with descriptor_of("../a.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=folder) as fd:
            os.write(fd, NEW)
    holds("sub/x.txt", NEW)
    holds("a.txt", NEW)


@python
def os_descriptor_opened_again(root: Path) -> None:
    """A file that is open for reading, opened for writing by its name among the descriptors."""
    for name in ("/proc/self/fd/{}", "/dev/fd/{}", f"/proc/{os.getpid()}/fd/{{}}"):
        with descriptor_of("a.txt", os.O_RDONLY) as fd, open(name.format(fd), "wb") as file:
            file.write(NEW)
        holds("a.txt", NEW)
    with descriptor_of("sub", os.O_RDONLY) as folder:
        Path(f"/proc/self/fd/{folder}/x.txt").write_bytes(NEW)
        os.remove(f"/proc/self/fd/{folder}/deep/y.txt")
    holds("sub/x.txt", NEW)
    assert not os.path.exists("sub/deep/y.txt")


@python
def os_name_of_the_working_directory(root: Path) -> None:
    Path("/proc/self/cwd/a.txt").write_bytes(NEW)
    Path("/proc/self/root" + str(root / "b.txt")).write_bytes(NEW)
    os.remove("/proc/self/cwd/c.txt")
    holds("a.txt", NEW)
    holds("b.txt", NEW)
    assert not os.path.exists("c.txt")


@python
def os_remove_and_rmdir(root: Path) -> None:
    os.remove("a.txt")
    os.unlink(root / "b.txt")
    os.unlink("link.txt")
    with descriptor_of("sub", os.O_RDONLY) as folder:
        os.remove("x.txt", dir_fd=folder)
        os.unlink("deep/y.txt", dir_fd=folder)
        os.rmdir("deep", dir_fd=folder)
    os.rmdir("sub")
    left = os.listdir()
    assert not {"a.txt", "b.txt", "link.txt", "sub"} & set(left) and "c.txt" in left
    assert os.path.lexists("way") and not os.path.exists("way")


@python
def os_removedirs(root: Path) -> None:
    os.remove("sub/x.txt")
    os.remove("sub/deep/y.txt")
    os.removedirs("sub/deep")
    assert not os.path.exists("sub") and os.path.exists(root)


@python
def os_rename_and_replace(root: Path) -> None:
    os.rename("a.txt", "moved")
    os.replace("b.txt", root / "c.txt")
    with descriptor_of("sub", os.O_RDONLY) as one, descriptor_of(".", os.O_RDONLY) as two:
        os.rename("x.txt", "x", src_dir_fd=one, dst_dir_fd=two)
        os.replace("moved", "deep/y.txt", src_dir_fd=two, dst_dir_fd=one)
    os.renames("c.txt", "made/on/the/way")
    holds("x", "user's sub/x.txt")
    holds("sub/deep/y.txt", "user's a.txt")
    holds("made/on/the/way", "user's b.txt")
    assert not {"a.txt", "b.txt", "c.txt", "moved"} & set(os.listdir())


@python
def os_rename_a_folder(root: Path) -> None:
    os.rename("sub", "other")
    holds("other/deep/y.txt", "user's sub/deep/y.txt")
    assert not os.path.exists("sub") and not os.path.exists("way/x.txt")
    Path("other/x.txt").write_bytes(NEW)
    os.makedirs("sub/deep")
    assert os.listdir("sub/deep") == [] and os.listdir("way") == ["deep"]
    os.replace("other/deep", "sub/deep")
    holds("way/deep/y.txt", "user's sub/deep/y.txt")


@python
def os_make_things(root: Path) -> None:
    os.mkdir("made")
    os.makedirs("sub/deep/deeper", exist_ok=True)
    os.mkfifo("sub/pipe")
    os.mknod("sub/plain", 0o600 | stat.S_IFREG)
    with descriptor_of("sub", os.O_RDONLY) as folder:
        os.mkdir("inside", dir_fd=folder)
    assert {"pipe", "plain", "inside"} <= set(os.listdir("sub"))
    assert stat.S_ISFIFO(os.stat("sub/pipe").st_mode) and os.path.isdir("made")


@python
def os_hard_links(root: Path) -> None:
    os.link("a.txt", "hard")
    Path("hard").write_bytes(NEW)
    with descriptor_of("sub", os.O_RDONLY) as folder:
        os.link("x.txt", "hard", src_dir_fd=folder, dst_dir_fd=folder)
    os.truncate("sub/hard", 1)
    holds("hard", NEW)
    holds("a.txt", NEW)
    holds("sub/x.txt", "u")


@python
def os_symbolic_links(root: Path) -> None:
    os.symlink("../b.txt", "sub/relative")
    os.symlink(root / "c.txt", "absolute")
    for path, target in (
        ("link.txt", "a.txt"),
        ("sub/relative", "b.txt"),
        ("absolute", "c.txt"),
        ("way/x.txt", "sub/x.txt"),
        ("far/y.txt", "sub/deep/y.txt"),
    ):
        Path(path).write_bytes(NEW)
        holds(root / target, NEW)
    assert os.readlink("link.txt") == "a.txt" and os.path.islink("way")
    os.remove("way/deep/y.txt")
    os.remove("way")
    os.symlink("b.txt", "way")
    assert os.readlink("way") == "b.txt" and not os.path.exists("sub/deep/y.txt")


@python
def os_truncate(root: Path) -> None:
    os.truncate("a.txt", 1)
    os.truncate(root / "b.txt", 0)
    with descriptor_of("c.txt", os.O_RDWR) as fd:
        os.truncate(fd, 2)
        os.posix_fallocate(fd, 0, 3)
    holds("a.txt", "u")
    holds("b.txt", "")
    holds("c.txt", b"us\0")


@python
def os_modes(root: Path) -> None:
    os.chmod("a.txt", 0o600)
    os.chmod(root / "sub", 0o700)
    with descriptor_of(".", os.O_RDONLY) as folder:
        os.chmod("b.txt", 0o640, dir_fd=folder)
    with descriptor_of("c.txt", os.O_RDONLY) as fd:
        os.fchmod(fd, 0o604)
    with descriptor_of("sub/x.txt", os.O_RDONLY) as fd:
        os.chmod(fd, 0o606)
    with descriptor_of("sub/deep", os.O_RDONLY) as fd:
        os.fchmod(fd, 0o711)
    found = [os.stat(n).st_mode & 0o777 for n in ("a.txt", "sub", "b.txt", "c.txt", "sub/x.txt")]
    assert found == [0o600, 0o700, 0o640, 0o604, 0o606], [oct(mode) for mode in found]
    assert os.stat("way/deep").st_mode & 0o777 == 0o711


@python
def os_times(root: Path) -> None:
    os.utime("a.txt", (5, 6))
    os.utime("sub", ns=(5, 7 * 10**9))
    os.utime("link.txt", (5, 8), follow_symlinks=False)
    with descriptor_of(".", os.O_RDONLY) as folder:
        os.utime("b.txt", (5, 9), dir_fd=folder)
    with descriptor_of("c.txt", os.O_RDONLY) as fd:
        os.utime(fd, (5, 10))
    Path("sub/x.txt").touch()
    found = [os.lstat(name).st_mtime for name in ("a.txt", "sub", "link.txt", "b.txt", "c.txt")]
    assert found == [6, 7, 8, 9, 10]


@python
def times_of_folders(root: Path) -> None:
    """A file that is written anew adds nothing to its folder; a new one does."""
    before = os.stat("sub").st_mtime_ns
    Path("sub/x.txt").write_bytes(NEW)
    Path("sub/deep/y.txt").write_bytes(NEW)
    assert os.stat("sub").st_mtime_ns == before
    Path("sub/new").write_bytes(NEW)
    assert os.stat(root / "sub").st_mtime_ns > before


@python
def os_owners(root: Path) -> None:
    user, group = os.geteuid(), os.getegid()
    os.chown("a.txt", user, group)
    os.lchown("link.txt", user, group)
    with descriptor_of("b.txt", os.O_RDONLY) as fd:
        os.fchown(fd, user, group)
    shutil.chown("c.txt", user, group)
    with descriptor_of("sub", os.O_RDONLY) as fd:
        os.chown(fd, user, group)
    assert os.stat("a.txt").st_uid == user


@python
def os_attributes(root: Path) -> None:
    try:
        os.setxattr("a.txt", "user.mine", b"1")
    except OSError:  # this file system has none
        return
    with descriptor_of("b.txt", os.O_RDONLY) as fd:
        os.setxattr(fd, "user.mine", b"2")
    assert os.getxattr("a.txt", "user.mine") == b"1" and os.getxattr("b.txt", "user.mine") == b"2"
    os.removexattr("a.txt", "user.mine")
    assert "user.mine" not in os.listxattr("a.txt")


@python
def os_copies_between_descriptors(root: Path) -> None:
    with descriptor_of("b.txt", os.O_RDONLY) as source:
        with descriptor_of("a.txt", os.O_WRONLY | os.O_TRUNC) as target:
            os.sendfile(target, source, 0, 6)
        with descriptor_of("c.txt", os.O_WRONLY | os.O_TRUNC) as target:
            try:
                os.copy_file_range(source, target, 4, 0, 0)
            except OSError as error:
                if error.errno != errno.EXDEV:  # not offered between two layers of memory
                    raise
                os.write(target, os.pread(source, 4, 0))
        with descriptor_of("sub/x.txt", os.O_WRONLY | os.O_TRUNC) as target:
            out, into = os.pipe()
            os.splice(source, into, 3, 0)
            os.splice(out, target, 3)
    holds("a.txt", "user's")
    holds("c.txt", "user")
    holds("sub/x.txt", "use")


@python
def os_nameless_file_gets_a_name(root: Path) -> None:
    try:
        fd = os.open("sub", os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:  # this file system has none
        return
    os.write(fd, NEW)
    with descriptor_of("sub", os.O_RDONLY) as folder:  # which makes Python call linkat
        os.link(f"/proc/self/fd/{fd}", "named", dst_dir_fd=folder, follow_symlinks=True)
    os.close(fd)
    holds("sub/named", NEW)


@python
def os_working_directories(root: Path) -> None:
    os.makedirs("out/one")
    os.chdir("out/one")
    Path("here").write_bytes(NEW)
    Path("../../a.txt").write_bytes(NEW)
    with descriptor_of(root / "sub", os.O_RDONLY) as folder:
        os.fchdir(folder)
    assert os.getcwd() == os.path.abspath(".") == str(root / "sub")
    Path("x.txt").write_bytes(NEW)
    os.chdir(b"deep")
    os.remove("y.txt")
    os.chdir(root / "way/..")
    assert os.getcwd() == str(root)
    for path in ("out/one/here", "a.txt", "sub/x.txt"):
        holds(path, NEW)
    assert os.listdir("sub/deep") == []


@python
def os_listings(root: Path) -> None:
    Path("sub/new").write_bytes(NEW)
    os.remove("sub/x.txt")
    expected = ["deep", "new"]
    with descriptor_of("sub", os.O_RDONLY) as folder:
        assert sorted(os.listdir(folder)) == expected
        assert sorted(entry.name for entry in os.scandir(folder)) == expected
    with os.scandir("sub") as entries:
        kinds = {entry.name: (entry.is_dir(), entry.stat().st_size) for entry in entries}
    assert sorted(kinds) == expected and kinds["new"] == (False, 3)
    assert sorted(os.listdir(b"way")) == [b"deep", b"new"]
    assert sorted(path.name for path in Path("sub").iterdir()) == expected
    assert sorted(path.name for path in root.glob("s*/n*")) == ["new"]
    assert sorted(str(path) for path in Path("sub").rglob("*")) == [
        "sub/deep", "sub/deep/y.txt", "sub/new",
    ]  # fmt: skip
    assert next(iter(os.walk("sub"))) == ("sub", ["deep"], ["new"])
    assert next(iter(os.fwalk("sub")))[2] == ["new"]
