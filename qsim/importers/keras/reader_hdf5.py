"""Groups, attributes and arrays of a Keras HDF5 file, with errors that name the file (format: reader_hdf5_format)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qsim.errors import ModelError, QsimError
from qsim.importers.keras.reader_hdf5_format import Array, Hdf5Error, Hdf5File, Stored


@contextmanager
def damaged(where: str) -> Iterator[None]:
    """Turn an Hdf5Error, or whatever zipfile and the operating system raise, into one ModelError that names the file.

    zipfile raises a dozen unrelated exception types (BadZipFile, OSError, NotImplementedError, struct.error, ...)
    depending on which byte is wrong, and documents few of them: hence every Exception.
    """
    try:
        yield
    except QsimError:
        raise
    except Hdf5Error as error:
        raise ModelError(
            f"{where} is no HDF5 file that Keras writes, or is damaged: {error}. Save the model again, or restore the "
            "file from an undamaged copy."
        ) from error
    except Exception as error:
        text = str(error).strip().split("\n")[0] or type(error).__name__
        raise ModelError(f"{where} is truncated or corrupt: {text}.") from error


def open_hdf5(data: bytes, where: str) -> Group:
    """The root group of an HDF5 file's bytes; ModelError if they are none or are damaged."""
    with damaged(where):
        file = Hdf5File(data)
        return Group(file, file.root, where, "")


class Group:
    """An HDF5 group. Every access raises ModelError where the file is damaged. path: from the root, for messages."""

    def __init__(self, file: Hdf5File, address: int, where: str, path: str) -> None:
        self._file, self._where, self.path = file, where, path
        with damaged(where):
            members = file.members(address)
            if members is None:
                raise Hdf5Error(f"{path or '/'} is no group")
            self._own = address
            self._members: dict[str, int | None] = members
            self._attributes: dict[str, Stored] = file.attributes(address)

    def names(self) -> tuple[str, ...]:
        """Names of the members, sorted."""
        return tuple(sorted(self._members))

    def _address(self, name: str) -> int | None:
        if name not in self._members:
            return None
        address = self._members[name]
        if address is None:
            raise ModelError(f"{self._where}: {self.path}/{name} is a link to elsewhere, which is not followed.")
        return address

    def group(self, name: str) -> Group | None:
        """A member group by name; None where there is none."""
        address = self._address(name)
        if address is None:
            return None
        with damaged(self._where):
            if self._file.members(address) is None:
                return None
            return Group(self._file, address, self._where, f"{self.path}/{name}")

    def descend(self, path: str) -> Group | None:
        """A group by its path below this one."""
        found: Group | None = self
        for part in [p for p in path.split("/") if p]:
            found = found.group(part) if found else None
        return found

    def has_arrays(self) -> bool:
        """Whether any array lies in this group or below, except the state of random generators."""
        waiting, seen = [self], {self._own}
        while waiting:
            group = waiting.pop()
            for name in group.names():
                address = group._members[name]
                if address is None or address in seen or name == "seed_generator":
                    continue
                seen.add(address)
                below = group.group(name)
                if below is not None:
                    waiting.append(below)
                elif group.dataset(name) is not None:
                    return True
        return False

    def text(self, name: str) -> str | None:
        """A text attribute, or None."""
        found = self.texts(name)
        return found[0] if found else None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An attribute that is a list of texts, also where Keras split it into name0, name1, ...; None if absent."""
        with damaged(self._where):
            if name in self._attributes:
                return tuple(self._file.texts(self._attributes[name]))
            chunks: list[str] = []
            i = 0
            while f"{name}{i}" in self._attributes:
                chunks += self._file.texts(self._attributes[f"{name}{i}"])
                i += 1
            return tuple(chunks) if i else None

    def dataset(self, path: str) -> Dataset | None:
        """An array by its path below this group, or None."""
        parts = [p for p in path.split("/") if p]
        holder = self.descend("/".join(parts[:-1]))
        address = holder._address(parts[-1]) if holder is not None and parts else None
        if address is None:
            return None
        with damaged(self._where):
            described = self._file.array_type(address)
        if described is None:
            return None
        return Dataset(self._file, address, described[1], self._where, f"{self.path}/{path}")


class Dataset:
    """One stored array. ``shape`` is known before any value is read."""

    def __init__(self, file: Hdf5File, address: int, shape: tuple[int, ...], where: str, path: str) -> None:
        self._file, self._address, self.shape, self._where, self.path = file, address, shape, where, path

    def read(self) -> Array:
        """The values, read-only; bfloat16 as float32. ModelError for values that are no numbers or an absurd size."""
        with damaged(f"{self._where}, {self.path}"):
            values = self._file.array(self._address)
            values.setflags(write=False)
            return values
