"""The bytes of the Panda protocol, version 1, written from SPEC.md and EVENTS.md alone.

A kind of value knows how to read itself, how to write itself, and how the vectors show it: identifiers in their text form,
opaque bytes in hex, numbers of 64 bits as decimal strings. In memory identifiers are text too, and numbers are numbers.
"""

VARINT_MAX = (1 << 62) - 1
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
USER, DEVICE, GROUP, DIRECT, SESSION = 0x11, 0x21, 0x31, 0x41, 0x51


class Refused(Exception):
    """Bytes that the specification refuses, with the name of the code that it gives them."""

    def __init__(self, code, reason, above_limit=False):
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.above_limit = above_limit


def malformed(reason):
    return Refused("malformed", reason)


class Reader:
    def __init__(self, data):
        self.data = bytes(data)
        self.at = 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise malformed("the bytes end inside a value")
        self.at += count
        return self.data[self.at - count : self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)


class Unsigned:
    def __init__(self, size, allowed=None):
        self.size = size
        self.allowed = allowed

    def read(self, reader):
        value = int.from_bytes(reader.take(self.size), "big")
        if self.allowed is not None and value not in self.allowed:
            raise malformed(f"{value} is outside of its range")
        return value

    def write(self, value):
        return value.to_bytes(self.size, "big")

    def shown(self, value):
        return str(value) if self.size == 8 else value


class Varint:
    def read(self, reader):
        first = reader.take(1)[0]
        size = 1 << (first >> 6)
        value = int.from_bytes(bytes([first & 0x3F]) + reader.take(size - 1), "big")
        if size != self.size(value):
            raise malformed("a number is not in its shortest form")
        return value

    def write(self, value):
        if not 0 <= value <= VARINT_MAX:
            raise ValueError(f"{value} cannot be written")
        size = self.size(value)
        return (value | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")

    @staticmethod
    def size(value):
        return 1 if value < 1 << 6 else 2 if value < 1 << 14 else 4 if value < 1 << 30 else 8

    def shown(self, value):
        return str(value)


U8, U16, U64, VARINT = Unsigned(1), Unsigned(2), Unsigned(8), Varint()


class Bool:
    def read(self, reader):
        return bool(Unsigned(1, (0, 1)).read(reader))

    def write(self, value):
        return bytes([value])

    def shown(self, value):
        return value


class Fixed:
    """So many opaque bytes."""

    def __init__(self, size):
        self.size = size

    def read(self, reader):
        return reader.take(self.size)

    def write(self, value):
        assert len(value) == self.size
        return value

    def shown(self, value):
        return value.hex()


class Counted:
    """What a length or count and its limit stand before."""

    def __init__(self, most):
        self.most = most

    def count(self, reader):
        count = VARINT.read(reader)
        if count > self.most:
            raise Refused("malformed", f"{count} is above the limit of {self.most}", above_limit=True)
        return count


class Bytes(Counted):
    def read(self, reader):
        return reader.take(self.count(reader))

    def write(self, value):
        return VARINT.write(len(value)) + value

    def shown(self, value):
        return value.hex()


class Text(Counted):
    def read(self, reader):
        try:
            return reader.take(self.count(reader)).decode()
        except UnicodeDecodeError:
            raise malformed("text is not UTF-8") from None

    def write(self, value):
        return VARINT.write(len(value.encode())) + value.encode()

    def shown(self, value):
        return value


class List(Counted):
    def __init__(self, most, item):
        super().__init__(most)
        self.item = item

    def read(self, reader):
        return [self.item.read(reader) for _ in range(self.count(reader))]

    def write(self, value):
        return VARINT.write(len(value)) + b"".join(map(self.item.write, value))

    def shown(self, value):
        return list(map(self.item.shown, value))


class Option:
    def __init__(self, item):
        self.item = item

    def read(self, reader):
        return self.item.read(reader) if Unsigned(1, (0, 1)).read(reader) else None

    def write(self, value):
        return b"\0" if value is None else b"\1" + self.item.write(value)

    def shown(self, value):
        return None if value is None else self.item.shown(value)


class Identifier:
    def __init__(self, *firsts):
        self.firsts = firsts

    def read(self, reader):
        data = reader.take(16)
        if data[0] not in self.firsts:
            raise malformed("an identifier is of another kind")
        return text_of(data)

    def write(self, value):
        return bytes_of(value)

    def shown(self, value):
        return value


def text_of(data):
    number = int.from_bytes(data, "big")
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def bytes_of(text):
    if len(text) != 26 or any(letter not in ALPHABET for letter in text) or ALPHABET.index(text[0]) > 7:
        raise malformed(f"{text!r} is no identifier")
    number = 0
    for letter in text:
        number = number << 5 | ALPHABET.index(letter)
    return number.to_bytes(16, "big")


class Record:
    """Fields, one after the other."""

    def __init__(self, **fields):
        self.fields = fields

    def read(self, reader):
        return {name: kind.read(reader) for name, kind in self.fields.items()}

    def write(self, value):
        assert set(value) == set(self.fields), f"{set(value)} is not {set(self.fields)}"
        return b"".join(kind.write(value[name]) for name, kind in self.fields.items())

    def shown(self, value):
        return {name: kind.shown(value[name]) for name, kind in self.fields.items()}


class Pair:
    def __init__(self, first, second):
        self.kinds = (first, second)

    def read(self, reader):
        return [kind.read(reader) for kind in self.kinds]

    def write(self, value):
        return b"".join(kind.write(part) for kind, part in zip(self.kinds, value))

    def shown(self, value):
        return [kind.shown(part) for kind, part in zip(self.kinds, value)]


class Either:
    """A first byte says which of some named kinds follows: {"token": ...} or {"ticket": ...}."""

    def __init__(self, **cases):
        self.cases = list(cases.items())

    def read(self, reader):
        name, kind = self.cases[Unsigned(1, range(len(self.cases))).read(reader)]
        return {name: kind.read(reader)}

    def write(self, value):
        index, kind = self.case(value)
        return bytes([index]) + kind.write(value[self.cases[index][0]])

    def shown(self, value):
        index, kind = self.case(value)
        return {self.cases[index][0]: kind.shown(value[self.cases[index][0]])}

    def case(self, value):
        return next((index, kind) for index, (name, kind) in enumerate(self.cases) if name in value)
