import Testing

@testable import Tokenization

/// Methods of strings, dictionaries and lists, as Python's.
struct JinjaMethodTests {
    @Test func splits() throws {
        try expectRenderings([
            ("{{ s.split() }}", "['Hello', 'World', 'foo-bar']"),
            ("{{ s.split('o', 1) }}", "['Hell', ' World foo-bar']"),
            ("{{ s.rsplit('o', 1) }}", "['Hello World fo', '-bar']"),
            ("{{ sp.split() }}", "['x', 'y', 'z']"),
            ("{{ sp.split(' ') }}", "['', '', 'x', 'y', '', 'z', '']"),
            ("{{ sp.split(maxsplit=1) }}", "['x', 'y  z ']"),
            ("{{ sp.rsplit(none, 1) }}", "['  x y', 'z']"),
            ("{{ ''.split() }}", "[]"),
            ("{{ ''.split(',') }}", "['']"),
            ("{{ 'a,b,,c'.split(',') }}", "['a', 'b', '', 'c']"),
            ("{{ s.partition(' ') }}", "('Hello', ' ', 'World foo-bar')"),
            ("{{ s.rpartition('zz') }}", "('', '', 'Hello World foo-bar')"),
        ])
    }

    @Test func splitsLines() throws {
        try expectRenderings([
            ("{{ multi.splitlines() }}", "['a', 'b', 'c', '', 'd']"),
            ("{{ multi.splitlines(true) }}", "['a\\n', 'b\\r\\n', 'c\\n', '\\n', 'd']"),
            ("{{ 'a\\x0bb\\x1cc\\u2028d\\x85e'.splitlines() }}", "['a', 'b', 'c', 'd', 'e']"),
            ("{{ '\\n\\n'.splitlines() }}", "['', '']"),
            ("{{ 'a\\r'.splitlines(true) }}", "['a\\r']"),
        ])
    }

    @Test func strips() throws {
        try expectRenderings([
            ("{{ s.strip('Hd') }}", "ello World foo-bar"),
            ("{{ sp.strip() }}", "x y  z"),
            ("{{ sp.lstrip() }}", "x y  z "),
            ("{{ sp.rstrip() }}", "  x y  z"),
            ("{{ '\\u3000a\\xa0'.strip() }}", "a"),
            ("{{ s.removeprefix('Hello ') }}", "World foo-bar"),
            ("{{ s.removesuffix('bar') }}", "Hello World foo-"),
        ])
    }

    @Test func searches() throws {
        try expectRenderings([
            ("{{ s.startswith('He') }}", "True"),
            ("{{ s.startswith(('x', 'He')) }}", "True"),
            ("{{ s.startswith('l', 2, 3) }}", "True"),
            ("{{ s.endswith('bar') }}", "True"),
            ("{{ s.find('o', 5) }}", "7"),
            ("{{ s.rfind('o') }}", "14"),
            ("{{ s.find('zz') }}", "-1"),
            ("{{ u.find('Σ') }}", "5"),
            ("{{ s.count('o') }}", "4"),
            ("{{ 'aaa'.count('aa') }}", "1"),
        ])
    }

    @Test func replacesAndJoins() throws {
        try expectRenderings([
            ("{{ s.replace('o', '0', 1) }}", "Hell0 World foo-bar"),
            ("{{ 'aaa'.replace('', '-', 2) }}", "-a-aa"),
            ("{{ '-'.join(['a', 'b']) }}", "a-b"),
            ("{{ '-'.join(d) }}", "b-A-c"),
        ])
    }

    @Test func changesCaseAndWidth() throws {
        try expectRenderings([
            ("{{ s.title() }}", "Hello World Foo-Bar"),
            ("{{ 'it\\'s a-b 3x'.title() }}", "It'S A-B 3X"),
            ("{{ u.swapcase() }}", "SSi̇Ǆ ας STRASSE σ"),
            ("{{ s.capitalize() }}", "Hello world foo-bar"),
            ("{{ 'x'.center(4, '-') }}", "-x--"),
            ("{{ 'ab'.center(5, '-') }}", "--ab-"),
            ("{{ '-5'.zfill(4) }}", "-005"),
            ("{{ 'a\\tb'.expandtabs(4) }}", "a   b"),
        ])
    }

    @Test func tellsKindsOfText() throws {
        try expectRenderings([
            ("{{ 'ab1'.isalnum() }}", "True"),
            ("{{ '²'.isdigit() }}", "True"),
            ("{{ '²'.isdecimal() }}", "False"),
            ("{{ '½'.isnumeric() }}", "True"),
            ("{{ ''.isdigit() }}", "False"),
            ("{{ 'Ab'.istitle() }}", "True"),
            ("{{ '1'.islower() }}", "False"),
            ("{{ 'a b'.isidentifier() }}", "False"),
        ])
    }

    @Test func readsDictionariesAndLists() throws {
        try expectRenderings([
            ("{{ d.get('b') }}", "1"),
            ("{{ d.get('zz') }}", "None"),
            ("{{ d.get('zz', 5) }}", "5"),
            ("{{ d.keys() | list }}", "['b', 'A', 'c']"),
            ("{{ d.values() | list }}", "[1, 2, {'k': 'v'}]"),
            ("{{ 'b' in d.keys() }}", "True"),
            ("{{ d.items() | first }}", "('b', 1)"),
            ("{{ l.index(1) }}", "1"),
            ("{{ l.count(3) }}", "1"),
        ])
    }
}
