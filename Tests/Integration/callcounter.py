"""Counts a running Weir's calls of the allocator and of Swift's retain and release; see callcounter.c."""

from __future__ import annotations

import bisect
import collections
import mmap
import os
import shutil
import struct
import subprocess

from pooler import Weir

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = ("malloc", "calloc", "realloc", "aligned_alloc", "free", "retain", "release")
STACKS_MAX, DEPTH = 512, 14
# After the counters: whether it is armed, where the program lies, how many stacks there are; then the stacks.
ARMED = 8 * len(KINDS)
STACKS = ARMED + 24
STACK_WORDS = 2 + DEPTH
FILE_BYTES = STACKS + STACKS_MAX * STACK_WORDS * 8

# Variables of Swift's run-time, and the names under which the library is told where they lie.
SWIFT_VARIABLES = {
    # (What the run-time calls for a changed `_swift_retain` is handed objects that it must not touch.)
    "_ZL21_swift_retain_adapter": "CALLCOUNTER_RETAIN",
    "_swift_release": "CALLCOUNTER_RELEASE",
    "_swift_retain_n": "CALLCOUNTER_RETAIN_N",
    "_swift_release_n": "CALLCOUNTER_RELEASE_N",
    "_swift_enableSwizzlingOfAllocationAndRefCountingFunctions_forInstrumentsOnly": "CALLCOUNTER_SWITCH",
}


def build(directory: str) -> str:
    """Compiles the library that is preloaded."""
    library = f"{directory}/callcounter.so"
    compiler = shutil.which("cc") or shutil.which("clang")
    assert compiler, "no C compiler"
    command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, f"{HERE}/callcounter.c"]
    subprocess.run(command, check=True)
    os.chmod(directory, 0o755)
    return library


class Symbols:
    """The program's own symbols, by address."""

    def __init__(self, program: str):
        out = subprocess.run(["nm", "--numeric-sort", program], check=True, capture_output=True, text=True).stdout
        found = [line.split() for line in out.splitlines() if len(line.split()) == 3]
        self.addresses = [int(address, 16) for address, _, _ in found]
        self.names = [name for _, _, name in found]

    def address(self, name: str) -> int | None:
        return self.addresses[self.names.index(name)] if name in self.names else None

    def at(self, address: int) -> str | None:
        place = bisect.bisect_right(self.addresses, address) - 1
        return self.names[place] if 0 <= place < len(self.names) - 1 else None


class CallCounter:
    """The counters of one Weir. Make it before Weir starts."""

    def __init__(self, weir: Weir, library: str, symbols: Symbols):
        self.symbols = symbols
        path = weir.path("calls")
        with open(path, "w+b") as file:
            file.truncate(FILE_BYTES)
            self.memory = mmap.mmap(file.fileno(), FILE_BYTES)
        weir.environment |= {"LD_PRELOAD": library, "CALLCOUNTER_FILE": path}
        for variable, name in SWIFT_VARIABLES.items():
            address = symbols.address(variable)
            assert address is not None, f"Swift's run-time has no {variable} any more"
            weir.environment[name] = f"{address:x}"

    def counts(self) -> collections.Counter:
        """How many calls there have been so far."""
        return collections.Counter(dict(zip(KINDS, struct.unpack_from(f"={len(KINDS)}Q", self.memory))))

    def arm(self, armed: bool) -> None:
        """Whether calls leave behind where they come from; there is room for the first ones."""
        struct.pack_into("=Q", self.memory, ARMED, int(armed))

    def forget_stacks(self) -> None:
        struct.pack_into("=Q", self.memory, ARMED + 16, 0)

    def stacks(self) -> str:
        """Where the calls came from while it was armed, the most frequent first."""
        base, count = struct.unpack_from("=QQ", self.memory, ARMED + 8)
        seen: collections.Counter = collections.Counter()
        for place in range(min(count, STACKS_MAX)):
            kind, depth, *words = struct.unpack_from(f"={STACK_WORDS}Q", self.memory, STACKS + place * STACK_WORDS * 8)
            names = [self.symbols.at(word - base) for word in words[:depth]]
            seen[(KINDS[kind], *(name for name in names if name))] += 1
        lines = [f"{count} x {' < '.join(stack)}" for stack, count in seen.most_common(12)]
        demangler = shutil.which("swift-demangle")
        if not demangler:
            return "\n".join(lines)
        plain = subprocess.run([demangler, "--simplified"], input="\n".join(lines), capture_output=True, text=True)
        return plain.stdout
