"""Runs a program under what the systemd unit forbids, as far as that can be had without systemd.

    python confined.py UNIT PROGRAM ARGUMENTS...

Of UNIT it applies the system calls (by libseccomp, as systemd does), the address families, no new
privileges, no memory that is written and executed, the umask, and the limits. Namespaces, users and
what is mounted where need systemd itself.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import subprocess
import sys
from pathlib import Path

_NO_NEW_PRIVS, _MDWE = 38, 65
_ALLOW = 0x7FFF0000
_EPERM = 0x00050001
_EQUAL = 4
_MDWE_ASKED = 66
_LIMITS = {"LimitNOFILE": resource.RLIMIT_NOFILE, "LimitCORE": resource.RLIMIT_CORE}
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


class _Compare(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def settings(unit: Path, key: str) -> list[str]:
    """Return all values of a key, words apart."""
    lines = unit.read_text().splitlines()
    return [
        word
        for line in lines
        if line.startswith(f"{key}=")
        for word in line.split("=", 1)[1].split()
    ]


def members(group: str) -> set[str]:
    """Return the system calls of a group such as @system-service, as systemd itself names them."""
    said = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    names = [line.strip() for line in said.splitlines()[1:] if not line.strip().startswith("#")]
    found: set[str] = set()
    for name in filter(None, names):
        found |= members(name) if name.startswith("@") else {name}
    return found


def allowed(unit: Path) -> set[str]:
    """Return the system calls that the unit leaves."""
    words = settings(unit, "SystemCallFilter")
    denied_from = next(at for at, word in enumerate(words) if word.startswith("~"))
    granted = set[str]().union(*map(members, words[:denied_from]))
    denied = [word.removeprefix("~") for word in words[denied_from:]]
    return granted - set[str]().union(*map(members, denied))


def confine(unit: Path) -> None:
    """Take it all away from this process, for good."""
    calls, families = allowed(unit), settings(unit, "RestrictAddressFamilies")
    os.umask(int(settings(unit, "UMask")[0], 8))
    for key, limit in _LIMITS.items():
        for value in map(int, settings(unit, key)):
            most = min(value, resource.getrlimit(limit)[1])  # only root may raise it
            resource.setrlimit(limit, (most, most))
    own, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    filters = ctypes.c_void_p(seccomp.seccomp_init(_EPERM))
    for name in calls - {"socket"}:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # there are some of other machines
            assert seccomp.seccomp_rule_add(filters, _ALLOW, number, 0) == 0, name
    for family in families:
        same = _Compare(0, _EQUAL, _FAMILIES[family], 0)
        number = seccomp.seccomp_syscall_resolve_name(b"socket")
        assert seccomp.seccomp_rule_add(filters, _ALLOW, number, 1, same) == 0
    assert own.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if "yes" in settings(unit, "MemoryDenyWriteExecute"):
        assert own.prctl(_MDWE, 1, 0, 0, 0) == 0, "this kernel cannot deny it"
    assert seccomp.seccomp_load(filters) == 0


def is_possible() -> bool:
    """Whether this machine has what is needed."""
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return int(ctypes.CDLL(None).prctl(_MDWE_ASKED, 0, 0, 0, 0)) >= 0


def refusals() -> list[str]:
    """Try what must not work any more; return what is refused."""
    found = []
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        found.append("memory")
    try:
        ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0)
        if ctypes.get_errno():
            found.append("ptrace")
    except OSError:
        found.append("ptrace")
    try:
        os.chroot("/")
    except PermissionError:
        found.append("chroot")
    return found


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.write(2, f"refused: {' '.join(refusals())}\n".encode())
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - it is to take this one's place
