"""Other programs and processes as a side effect.

Files that another program writes are held by the overlay, or stopped by the kernel. It needs
consent when it acts on something else: machines, databases, queues, devices, other processes, mail.
Where neither overlay nor kernel is there, every program that could write needs it, and is refused
in the baseline already: it could overwrite a file. So are ``chmod`` and its like where the kernel
only refuses writes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.program.side_effects import Watch

_ACTING = frozenset(
    (
        *("curl", "wget", "nc", "ncat", "netcat", "socat", "telnet", "ftp", "lftp", "ssh", "scp"),
        *("sftp", "rsync", "rclone", "aws", "s3cmd", "s5cmd", "gsutil", "gcloud", "az", "azcopy"),
        *("hf", "huggingface-cli", "kaggle", "wandb", "mlflow", "comet", "clearml-task", "twine"),
        *("apt", "apt-get", "yum", "dnf", "docker", "podman", "kubectl", "helm", "sbatch", "srun"),
        *("scancel", "qsub", "bsub", "ray", "mail", "mailx", "mutt", "sendmail", "notify-send"),
        *("psql", "mysql", "mariadb", "mongo", "mongosh", "redis-cli", "sqlcmd", "cqlsh", "gh"),
        *("glab", "crontab", "systemctl", "systemd-run", "sudo", "su", "doas", "kill", "pkill"),
        *("killall", "reboot", "shutdown", "poweroff", "mount", "umount", "modprobe", "insmod"),
        *("iptables", "nft", "cpupower", "nvidia-settings", "logger", "chroot", "nsenter"),
    )
)
"""Programs whose work is done elsewhere than in files."""
_INSTALLING = frozenset(("install", "uninstall", "download", "sync", "add", "remove", "create"))
_ACTING_VERBS = {
    "git": frozenset(("push", "pull", "fetch", "clone", "ls-remote", "submodule", "lfs")),
    "hg": frozenset(("push", "pull", "clone", "incoming", "outgoing")),
    "svn": frozenset(("commit", "ci", "checkout", "co", "update", "up", "import")),
    "dvc": frozenset(("push", "pull", "fetch", "import", "import-url", "get", "get-url")),
    **dict.fromkeys(("pip", "pip3", "uv", "conda", "mamba"), _INSTALLING),
}
"""Programs that act elsewhere by some of their commands only: trackers ask for ``pip freeze``."""
_GPU_READING = frozenset(
    (
        *("-L", "-q", "-h", "-x", "-f", "-i", "-l", "-lms", "-d", "-B", "-u", "--list-gpus"),
        *("--help", "--format", "--id", "--loop", "--loop-ms", "--display", "--filename"),
        *("--xml-format", "--version", "--unit", "--list-excluded-gpus", "--dtd"),
    )
)
"""Options with which nvidia-smi only reports; so do its commands below and all ``--query-...``.
From ``nvidia-smi --help``."""
_GPU_REPORTS = frozenset(("dmon", "pmon", "topo", "nvlink", "daemon", "replay"))
_READING = frozenset(
    (
        *("uname", "lscpu", "hostname", "nproc", "free", "df", "du", "ps", "id", "whoami", "date"),
        *("which", "file", "ls", "cat", "head", "tail", "wc", "grep", "getconf", "ldconfig"),
        *("nvidia-smi", "rocm-smi", "ldd", "fc-list", "true", "false", "sleep", "echo", "env"),
    )
)
"""Programs that write no file. Without overlay and kernel these alone run without consent."""
_ATTRIBUTES = frozenset(
    ("chmod", "chown", "chgrp", "touch", "setfattr", "setfacl", "chattr", "attr", "truncate")
)
"""Programs that change modes, owners and times, which the kernel's refusal of writes lets pass."""
_SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh"))
_COMPILERS = frozenset(("gcc", "cc", "g++", "c++", "clang", "clang++", "nvcc"))


class Programs:
    """Handlers of the events of processes."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def handlers(self) -> dict[str, Callable[..., None]]:
        return {
            "subprocess.Popen": self._popen,
            "os.system": lambda command: self._command(["sh", "-c", os.fsdecode(command)]),
            "os.exec": lambda path, arguments, *_: self._command(arguments, path),
            "os.posix_spawn": lambda path, arguments, *_: self._command(arguments, path),
            "os.kill": self._kill,
            "os.killpg": self._kill_group,
        }

    def _popen(self, executable: Any, arguments: Any, *_: Any) -> None:
        if isinstance(arguments, (str, bytes, os.PathLike)):
            arguments = [arguments]
        self._command(arguments, executable)

    def _command(self, arguments: Sequence[Any], executable: Any = None) -> None:
        words = [os.fsdecode(word) for word in arguments if isinstance(word, _TEXT)]
        if executable is not None and words:
            words[0] = os.fsdecode(executable)
        if not words:
            return
        for command in commands(words):
            name = acting(command)
            if name:
                self.watch.seen(f"starts {name}")
        if self.watch.other_code == "free":
            name = writing(words)
        elif self.watch.other_code == "stopped":
            names = [os.path.basename(command[0]) for command in commands(words)]
            name = next((name for name in names if name in _ATTRIBUTES), "")
        else:
            return
        if name:
            self.watch.seen(f"starts {name}, whose files nothing here contains", always=True)

    def _kill(self, pid: int, number: int) -> None:
        if number and not _is_own(pid):
            self.watch.seen(f"sends signal {int(number)} to process {pid}, which is not its own")

    def _kill_group(self, group: int, number: int) -> None:
        if group != os.getpgrp():
            self._kill(group, number)


_TEXT = (str, bytes, os.PathLike)


def commands(words: Sequence[str]) -> Iterator[list[str]]:
    """The command itself; of a shell's script, or behind words such as ``env``, each command in
    it."""
    name = os.path.basename(words[0])
    if name in _SHELLS and "-c" in words[1:-1]:
        yield from _script(words[words.index("-c", 1) + 1])
        return
    if name in _PREFIXES:
        rest = [i for i, word in enumerate(words) if i and not _PREFIX_OPTION.match(word)]
        if rest:
            yield from commands(words[rest[0] :])
        return
    yield list(words)


def _script(script: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(script, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace_split, lexer.whitespace, lexer.commenters = True, " \t\r", ""
    try:
        parts = list(lexer)
    except ValueError:  # an open quote
        parts = re.findall(r"[^\s;&|()<>]+|[;&|()<>\n]+", script)
    command: list[str] = []
    target = False  # of a redirection
    for part in [*parts, ";"]:
        if set(part) <= set("<>&") and set(part) & set("<>"):
            target = True
        elif part and set(part) <= set("();|&\n"):
            if command:
                yield from commands(command)
            command = []
        elif not target and (command or "=" not in part):
            command.append(part)
        else:
            target = False


_PREFIXES = frozenset(
    (
        *("env", "exec", "nohup", "time", "timeout", "nice", "stdbuf", "setsid", "xargs", "ionice"),
        *("then", "do", "else", "if", "while", "until", "!", "{", "}", "command", "builtin"),
    )
)
_REDIRECTION = re.compile(r">(?![>\s]*(&\d|/dev/null))")
_PREFIX_OPTION = re.compile(r"-|\d+[smhd]?$|\w+=")


def acting(words: Sequence[str]) -> str:
    """The name of a command that acts on more than files, or ""."""
    name = os.path.basename(words[0])
    rest = list(words[1:])
    if name.startswith("python") and "-m" in rest[:-1]:
        return acting(rest[rest.index("-m") + 1 :])
    if name in _ACTING_VERBS:
        values = {i + 1 for i, w in enumerate(rest) if w in ("-C", "-c", "-R", "--git-dir")}
        plain = [w for i, w in enumerate(rest) if i not in values and not w.startswith("-")]
        if plain[:1] == ["pip"]:  # uv pip install
            del plain[0]
        verb = plain[0] if plain else ""
        return f"{name} {verb}" if verb in _ACTING_VERBS[name] else ""
    if name == "nvidia-smi":
        reports = set(rest) & _GPU_REPORTS
        setting = "" if reports else next((w for w in rest if _sets_gpu(w)), "")
        return f"nvidia-smi {setting}, which changes the settings of GPUs" if setting else ""
    if name in ("rocm-smi", "amd-smi"):
        setting = next((w for w in rest if w.lstrip("-").startswith(("set", "reset"))), "")
        return f"{name} {setting}, which changes the settings of GPUs" if setting else ""
    return name if name in _ACTING else ""


def _sets_gpu(word: str) -> bool:
    option = word.split("=")[0]
    return word.startswith("-") and option not in _GPU_READING and "query" not in option


def writing(words: Sequence[str]) -> str:
    """The name of a command that may write files past Python's redirection, or ""."""
    for command in commands(words):
        name = os.path.basename(command[0])
        if name.startswith("python") and not _isolated(command[1:]):
            continue  # redirected itself
        if name in _COMPILERS and set(command[1:]) & {"--version", "-v", "-print-prog-name=ld"}:
            continue
        if name == "git" and len(command) > 1 and command[1] in ("rev-parse", "describe", "log"):
            continue
        if name not in _READING:
            return name
    if any(_REDIRECTION.search(word) for word in words):
        return "a shell that redirects output"
    return ""


def _isolated(options: Sequence[str]) -> bool:
    """Whether a Python is started in a way that it does not read our sitecustomize."""
    for word in options:
        if not word.startswith("-") or word in ("-c", "-m", "-"):
            return False
        if not word.startswith("--") and set(word) & set("IES"):
            return True
    return False


def _is_own(pid: int) -> bool:
    """Whether a process is this one, a descendant, or its group."""
    if pid == 0 or pid == os.getpid() or pid == -os.getpgrp():
        return True
    while pid > 1:
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
        except OSError:
            return True  # gone already: the call fails (or it is not Linux, which does not tell)
        pid = int(after_name.split()[1])
        if pid == os.getpid():
            return True
    return False
