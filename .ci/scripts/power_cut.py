"""What a power cut can leave on the disk, rebuilt from a trace of system calls.

SIGKILL leaves everything that was written in the page cache; a power cut leaves only what was synced, and of the rest any
part. From a trace this rebuilds the folders that could be found afterwards (after Pillai et al. 2014): data that no fsync
covers is dropped or torn, names that no fsync of their folder covers are kept or lost.
"""

import os
import re
from pathlib import Path

CALLS = ("openat,write,pwrite64,lseek,ftruncate,fsync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,"
         "close,dup,dup2,dup3,fcntl")
LINE = re.compile(r"^(\d+) +(.*)$")
CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
FD = re.compile(r"^(?:-100|AT_FDCWD|\d+)(?:<([^>]*)>)?$")


def strace(log):
    """The prefix of a command line that is traced with every byte that it writes."""
    return ["strace", "-f", "-y", "-xx", "-s", "16777216", "-o", str(log), "-e", f"trace={CALLS}"]


def decode(text):
    """A string as `strace -xx` writes it."""
    return bytes.fromhex(text.strip('"').replace("\\x", ""))


def arguments(text):
    """The arguments of a call, cut at commas outside quotes and brackets."""
    parts, depth, quoted, start = [], 0, False, 0
    for index, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "<[{":
            depth += 1
        elif not quoted and letter in ">]}":
            depth -= 1
        elif letter == "," and not quoted and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return parts + [text[start:].strip()]


def calls(log):
    """Successful calls in the order in which they ended: name, arguments, result, process."""
    pending = {}
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        match = LINE.match(line)
        if not match:
            continue
        process, text = match.groups()
        if text.endswith("<unfinished ...>"):
            pending[process] = text[: -len("<unfinished ...>")].rstrip()
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if resumed:
            text = pending.pop(process, "") + resumed.group(1)
        match = CALL.match(text)
        if match and int(match.group(3)) >= 0:
            yield match.group(1), arguments(match.group(2)), int(match.group(3))


class File:
    """The content of a file, and as much of it as was synced."""

    def __init__(self):
        self.content, self.synced = bytearray(), b""

    def write(self, offset, data):
        if len(self.content) < offset:
            self.content.extend(bytes(offset - len(self.content)))
        self.content[offset:offset + len(data)] = data

    def torn(self, block):
        """What was synced, and of what was not as much as fills whole blocks, but not the last one."""
        kept = max(len(self.synced), (len(self.content) - 1) // block * block) if self.content else 0
        return bytes(self.content[:kept])


class Disk:
    """The names below a folder and the files behind them, as they are and as they were synced."""

    def __init__(self, root, without=()):
        self.root, self.without = os.path.abspath(root), without
        self.names, self.files = {}, {}
        # Changes of names since the last sync of the folder that they are in: (folders, function).
        self.unsynced, self.durable = [], {}

    def inside(self, path):
        return path is not None and (path == self.root or path.startswith(self.root + "/"))

    def change(self, folders, apply):
        apply(self.names)
        self.unsynced.append((folders, apply))

    def sync_folder(self, path):
        if "folders" in self.without:
            return
        later = []
        for folders, apply in self.unsynced:
            if path in folders:
                apply(self.durable)
            else:
                later.append((folders, apply))
        self.unsynced = later

    def sync_file(self, path):
        if "files" not in self.without and isinstance(self.names.get(path), File):
            self.names[path].synced = bytes(self.names[path].content)

    @staticmethod
    def drop(names, path):
        """Takes a name away; with a folder go the names in it, whether or not their own removal was synced."""
        for name in [name for name in names if name == path or name.startswith(path + "/")]:
            del names[name]

    @staticmethod
    def move(names, old, new, exchange):
        def taken(prefix):
            return {name: names.pop(name) for name in list(names) if name == prefix or name.startswith(prefix + "/")}
        first, second = taken(old), taken(new) if exchange else {}
        if not exchange:
            taken(new)
        for name, entry in first.items():
            names[new + name[len(old):]] = entry
        for name, entry in second.items():
            names[old + name[len(new):]] = entry

    def states(self):
        """What could be found now: (a word for it, {path: bytes, or None for a folder})."""
        def content(names, data):
            return {path: None if entry is None else data(entry) for path, entry in names.items()}
        yield "all names, synced data", content(self.names, lambda file: file.synced)
        yield "synced names, synced data", content(self.durable, lambda file: file.synced)
        # Changes of names reach the disk in their order, but any number of them may be missing.
        names = dict(self.durable)
        for number, (_, apply) in enumerate(self.unsynced[:-1]):
            apply(names)
            yield f"synced names and {number + 1} more, synced data", content(names, lambda file: file.synced)
            yield f"synced names and {number + 1} more, all data", content(names, lambda file: bytes(file.content))
        yield "all names, data torn at 512", content(self.names, lambda file: file.torn(512))
        yield "all names, data torn at 4096", content(self.names, lambda file: file.torn(4096))


def replay(log, root, working_folder, without=()):
    """Yields the disk after every call that changes it, with the call's name."""
    disk, descriptors = Disk(root, without), {}

    def path_of(folder, name):
        base = FD.match(folder)
        base = base.group(1) if base and base.group(1) else str(working_folder)
        name = decode(name).decode()
        return os.path.normpath(name if name.startswith("/") else os.path.join(base, name))

    def target(argument):
        match = re.match(r"^\d+<(.*)>$", argument)
        return bytes.fromhex(match.group(1).replace("\\x", "")).decode() if match else None

    for name, given, result in calls(log):
        changed = True
        if name == "openat":
            path, flags = path_of(given[0], given[1]), given[2]
            changed = False
            if disk.inside(path) and "O_DIRECTORY" not in flags:
                if "O_CREAT" in flags and path not in disk.names:
                    file = File()
                    disk.change({os.path.dirname(path)}, lambda names, path=path, file=file: names.update({path: file}))
                    changed = True
                if isinstance(disk.names.get(path), File):
                    if "O_TRUNC" in flags:
                        disk.names[path].content.clear()
                    # The descriptor stays with the file, whatever its name becomes.
                    descriptors[result] = [disk.names[path], 0]
                else:
                    descriptors.pop(result, None)
            else:
                descriptors.pop(result, None)
        else:
            number = re.match(r"^(\d+)", given[0])
            handle = descriptors.get(int(number.group(1))) if number else None
            if name == "close":
                descriptors.pop(int(number.group(1)), None)
                changed = False
            elif name in ("dup", "dup2", "dup3", "fcntl"):
                changed = False
            elif name == "lseek":
                if handle:
                    handle[1] = result
                changed = False
            elif name == "write" and handle:
                handle[0].write(handle[1], decode(given[1])[:result])
                handle[1] += result
            elif name == "pwrite64" and handle:
                handle[0].write(int(given[3]), decode(given[1])[:result])
            elif name == "ftruncate" and handle:
                length = int(given[1])
                del handle[0].content[length:]
                handle[0].content.extend(bytes(length - len(handle[0].content)))
            elif name == "fsync":
                path = target(given[0])
                if handle:
                    if "files" not in without:
                        handle[0].synced = bytes(handle[0].content)
                elif disk.inside(path) or path == os.path.dirname(disk.root):
                    disk.sync_folder(path)
                else:
                    changed = False
            elif name in ("rename", "renameat", "renameat2"):
                if name == "rename":
                    old, new, flags = path_of("AT_FDCWD", given[0]), path_of("AT_FDCWD", given[1]), ""
                else:
                    old, new = path_of(given[0], given[1]), path_of(given[2], given[3])
                    flags = given[4] if name == "renameat2" else ""
                changed = disk.inside(old)
                if changed:
                    exchange = "RENAME_EXCHANGE" in flags
                    disk.change(
                        {os.path.dirname(old), os.path.dirname(new)},
                        lambda names, old=old, new=new, exchange=exchange: Disk.move(names, old, new, exchange))
            elif name in ("unlink", "unlinkat", "rmdir"):
                path = path_of(given[0], given[1]) if name == "unlinkat" else path_of("AT_FDCWD", given[0])
                changed = disk.inside(path)
                if changed:
                    disk.change({os.path.dirname(path)}, lambda names, path=path: Disk.drop(names, path))
            elif name in ("mkdir", "mkdirat"):
                path = path_of(given[0], given[1]) if name == "mkdirat" else path_of("AT_FDCWD", given[0])
                changed = disk.inside(path)
                if changed:
                    disk.change({os.path.dirname(path)}, lambda names, path=path: names.update({path: None}))
            else:
                changed = False
        if changed:
            yield name, disk


def lay_out(state, root, folder):
    """Writes a state of `root` into `folder`."""
    for path in sorted(state):
        place = folder / os.path.relpath(path, root)
        if state[path] is None:
            place.mkdir(parents=True, exist_ok=True)
        elif place.parent.is_dir():
            place.write_bytes(state[path])
