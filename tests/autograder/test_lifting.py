"""Kernels are cut out of a notebook, or refused with a reason."""

import ast
import hashlib
import threading
from collections.abc import Sequence

import pytest

from autograder.kernel_language import FUNCTIONS, MATH, MEMBERS, TYPES
from autograder.lifting import Cells, LiftedKernel, Parameter, Refused
from tests.autograder.kernel_sources import KERNELS


def lift(cells: Sequence[str], name: str) -> LiftedKernel:
    return Cells(cells).lift(name)


PLAIN = """
@triton.jit
def k(x, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(x + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)
"""


def body(*lines: str, parameters: str = "x, n, B: tl.constexpr", above: str = "") -> str:
    """A cell with the kernel k."""
    return f"{above}\n@triton.jit\ndef k({parameters}):\n" + "\n".join(f"    {line}" for line in lines)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_as_people_write_them(name: str) -> None:
    lifted = lift(["import triton\nimport triton.language as tl", KERNELS[name]], name)
    assert lifted.name == name
    assert lifted.sha256 == hashlib.sha256(lifted.text.encode()).hexdigest()
    assert lift([lifted.text], name).text == lifted.text, "what comes out can be lifted again"
    functions = [node for node in ast.parse(KERNELS[name]).body if isinstance(node, ast.FunctionDef)]
    for function in functions:
        assert f"def {function.name}(" in lifted.text


def test_what_is_lifted_is_built_anew() -> None:
    cells = [
        "import torch\nSCALE = tl.constexpr(2)\nOTHER = 5\ntl = None\n%matplotlib inline",
        'LIMIT: tl.constexpr = -float("inf")\nSCALE = tl.constexpr(3)\nUNUSED = 1',
        "def wrapper(x):\n    SCALE, k = 1, 2\n    return [SCALE for SCALE in x]",
        '@triton.jit\ndef twice(a, b=4):\n    """def twice(a): pass"""\n    return a * b * SCALE  # a comment',
        '@triton.jit\ndef k(x, n: "int", B: tl.constexpr = 8) -> None:\n    "Text."\n    tl.store(x, twice(n) + LIMIT)',
        "@triton.jit\ndef unused(): pass\nimport os; os.environ['A'] = 'B'",
    ]
    lifted = lift(cells, "k")
    assert lifted.text == (
        "import triton\nimport triton.language as tl\n\n"
        "LIMIT: tl.constexpr = -float('inf')\nSCALE = tl.constexpr(3)\n\n\n"
        "@triton.jit\ndef twice(a, b=4):\n    return a * b * SCALE\n\n\n"
        "@triton.jit\ndef k(x, n, B: tl.constexpr=8):\n    tl.store(x, twice(n) + LIMIT)\n"
    )
    assert lifted.parameters == (
        Parameter("x", False, False), Parameter("n", False, False), Parameter("B", True, True, 8)
    )  # fmt: skip


def test_the_last_definition_counts() -> None:
    first, last = PLAIN, PLAIN.replace("+ 1", "+ 2")
    assert "+ 2" in lift([first, last], "k").text
    assert "+ 2" in lift(["k = None\nfor k in []: pass", first, last], "k").text, "what it was before is past"


REBOUND = {
    "assignment": "k = other",
    "two targets": "k = j = other",
    "unpacking": "k, j = other",
    "def without jit": "def k(x): pass",
    "async def": "async def k(x): pass",
    "class": "class k: pass",
    "import": "import k",
    "import as": "from m import j as k",
    "import of a part": "import k.j",
    "star": "from m import *",
    "del": "del k",
    "for": "for k in []: pass",
    "with": "with open('f') as k: pass",
    "except": "try: pass\nexcept E as k: pass",
    "walrus": "print(k := other)",
    "walrus in a comprehension": "[k := 1 for _ in []]",
    "walrus in a default": "def f(x=(k := 1)): pass",
    "augmented": "k += 1",
    "match": "match 1:\n    case k: pass",
    "match of the rest": "match 1:\n    case [*k]: pass\n    case {**j}: pass",
    "global in a function": "def f():\n    global k\n    k = other",
    "global in a method": "class C:\n    def f(self):\n        def g():\n            global k",
    "under if": "if True:\n    @triton.jit\n    def k(x): pass",
}


@pytest.mark.parametrize("case", REBOUND)
def test_a_kernel_that_gets_another_meaning(case: str) -> None:
    with pytest.raises(Refused):
        lift([PLAIN, REBOUND[case]], "k")


def test_global_counts_wherever_it_stands() -> None:
    with pytest.raises(Refused, match="another value"):
        lift([REBOUND["global in a function"], PLAIN], "k")


LOCAL = {
    "a variable of a function": "def f():\n    k = 1\n    for k in []: pass\n    import k",
    "of a class": "class C:\n    k = 1",
    "a parameter": "def f(k, *, j=1): pass\nlambda k: k",
    "of a comprehension": "[k for k in []]\n{k: k for k in []}",
    "an annotation alone": "k: object",
    "an attribute": "module.k = 1\nd['k'] = 1",
    "use": "print(k); k[(1,)](1)",
}


@pytest.mark.parametrize("case", LOCAL)
def test_a_name_that_is_another_one(case: str) -> None:
    lift([PLAIN, LOCAL[case]], "k")


LANGUAGE = {
    "import": ("import os", "Import is not part"),
    "from import": ("from os import system", "ImportFrom is not part"),
    "lambda": ("f = lambda: 0", "a @triton.jit function of its own"),
    "inner def": ("def f(): pass", "write the inner function"),
    "class": ("class C: pass", "ClassDef is not part"),
    "list comprehension": ("y = [i for i in range(3)]", "use a loop"),
    "generator": ("y = sum(i for i in range(3))", "use a loop"),
    "f-string": ("y = f'{x}'", "a kernel has no texts"),
    "string": ("y = 'os'", "a text can stand only where"),
    "string as an argument": ("tl.load('os')", "a text can stand only where"),
    "string in a keyword": ("tl.load(x, mask='os')", "a text can stand only where"),
    "code in a text": ("tl.load(x, eviction_policy='__import__(\"os\")')", "is no value of `eviction_policy`"),
    "bytes": ("y = b'os'", "a text can stand only where"),
    "ellipsis": ("y = x[...]", "a text can stand only where"),
    "stub": ("...", "write the kernel in its place"),
    "raise": ("raise NotImplementedError()", "if this is the stub"),
    "assert": ("assert n", "use tl.static_assert"),
    "try": ("try: pass\n    except: pass", "Try is not part"),
    "with": ("with x: pass", "With is not part"),
    "global": ("global n", "Global is not part"),
    "nonlocal": ("nonlocal n", "Nonlocal is not part"),
    "del": ("del n", "Delete is not part"),
    "yield": ("yield n", "is not part"),
    "yield as a value": ("y = yield n", "Yield is not part"),
    "await": ("y = await n", "Await is not part"),
    "break": ("while n: break", "Break is not part"),
    "walrus": ("y = (z := n)", "NamedExpr is not part"),
    "power": ("y = n ** n", "multiply"),
    "matrix product": ("y = x @ x", "MatMult is not part"),
    "in": ("y = n in x", "In is not part"),
    "is a number": ("y = B is 8", "use ==; only a parameter"),
    "is not a number": ("if n is not 8: pass", "use !=; only a parameter"),
    "a variable is None": ("y = n\n    if y is None: pass", "only a parameter that is never assigned"),
    "a parameter that is assigned": ("n = 1\n    if n is None: pass", "only a parameter that is never assigned"),
    "is in a chain": ("y = n is None is None", "only a parameter that is never assigned"),
    "dictionary": ("y = {}", "Dict is not part"),
    "starred": ("tl.load(*x)", "write the arguments out"),
    "two stars": ("tl.load(**x)", "write the arguments out"),
    "slice": ("y = x[1:2]", "Slice is not part"),
    "store into an element": ("x[0] = 1", "memory is written with tl.store"),
    "store into an attribute": ("tl.load = 1", "memory is written with tl.store"),
    "add to an attribute": ("tl.load += 1", "AugAssign is not part"),
    "two targets": ("y = z = n", "assign to one name"),
    "starred target": ("*y, z = n, n", "memory is written with tl.store"),
    "annotation": ("y: print(1) = n", "an annotation of a variable"),
    "loop over a tuple": ("for i in (1, 2): pass", "a loop runs over one of range"),
    "loop over what a call gives": ("for i in tl.arange(0, 4): pass", "a loop runs over one of range"),
    "loop with else": ("for i in range(3): pass\n    else: pass", "For is not part"),
    "print": ("print(n)", "`print` is neither"),
    "eval": ("eval(n)", "`eval` is neither"),
    "getattr": ("getattr(x, n)", "`getattr` is neither"),
    "builtins": ("__builtins__", "calls nothing"),
    "import function": ("__import__(n)", "two underscores"),
    "torch": ("torch.add(x, x)", "`.add` is not among"),
    "numpy, which the interpreter has": ("np.add(x, x)", "`.add` is not among"),
    "the interpreter's own": ("interpreter_semantic = n", "has a meaning of its own"),
    "another tl": ("tl = n", "has a meaning of its own"),
    "tl as a value": ("y = tl", "cannot stand alone"),
    "range as a value": ("y = range", "cannot stand alone"),
    "tl.extra": ("tl.extra.cuda.libdevice.exp(x)", "`.libdevice` is not"),
    "tl.core": ("y = tl.core", "`tl.core` is not"),
    "tl.math as a value": ("y = tl.math", "`tl.math` is not"),
    "of tl.math": ("tl.math.core", "calls nothing"),
    "a module in tl.math": ("y = tl.math.core", "`tl.math.core` is not"),
    "inline assembly": ("tl.inline_asm_elementwise(x)", "`tl.inline_asm_elementwise` is not"),
    "printing on the device": ("tl.device_print(x)", "`tl.device_print` is not"),
    "printing in the compiler": ("tl.static_print(x)", "`tl.static_print` is not"),
    "builder": ("tl.load(x, _semantic=n)", "do not begin with an underscore"),
    "class of a tensor": ("y = x.__class__", "`.__class__` is not"),
    "handle of a tensor": ("y = x.handle", "`.handle` is not"),
    "data of a handle": ("y = tl.load(x).handle.data", "`.data` is not"),
    "call of a variable": ("y = x\n    y(1)", "call functions of `tl`"),
    "call of a parameter": ("n(1)", "call functions of `tl`"),
    "call of a call": ("tl.load(x)(1)", "call functions of `tl`"),
    "call of an element": ("x[0](1)", "call functions of `tl`"),
    "float of a text": ("y = float('1_0')", "call functions of `tl`"),
    "a large number": (f"y = {1 << 64}", "more than 64 bits"),
    "complex": ("y = 1j", "a text can stand only where"),
    "deep": (f"y = {'-' * 60}n", "nested more than 40"),
    "deep blocks": ("\n    ".join("    " * depth + "if n:" for depth in range(60)) + "pass", "40 deep"),
    "long": ("\n    ".join(["y = n + n"] * 1000), "longer than is read"),
    "behind a constant that is never true": ("if B == 0:\n        import os\n        os.abort()", "Import is not part"),
    "after a return": ("return\n    import os", "Import is not part"),
}  # fmt: skip


@pytest.mark.parametrize("case", LANGUAGE)
def test_what_is_not_part_of_a_kernel(case: str) -> None:
    lines, reason = LANGUAGE[case]
    with pytest.raises(Refused, match=reason) as caught:
        lift([body(lines)], "k")
    assert "of its cell: " in str(caught.value)


def test_a_parameter_may_be_none() -> None:
    lift([body("if n is not None:", "    tl.store(x, n)", "if n is None: tl.store(x, 0)")], "k")


PARAMETERS = {
    "star": ("*x", "plain names"),
    "two stars": ("**x", "plain names"),
    "by name only": ("*, x", "plain names"),
    "by position only": ("x, /", "plain names"),
    "a default that is a call": ("x=print(1)", "the default of a parameter is a number"),
    "a default that is a text": ("x='a'", "the default of a parameter is a number"),
    "dunder": ("__x", "two underscores"),
    "tl": ("tl", "has a meaning of its own"),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters(case: str) -> None:
    parameters, reason = PARAMETERS[case]
    with pytest.raises(Refused, match=reason):
        lift([body("pass", parameters=parameters)], "k")


DECORATORS = {
    "autotune": ("@triton.autotune(configs=[], key=[])\n@triton.jit", "choose in the code that starts the kernel"),
    "heuristics": ("@triton.heuristics({})\n@triton.jit", "the judge passes the constants itself"),
    "arguments": ("@triton.jit(debug=True)", "without arguments"),
    "another name": ("@jit", "write it out"),
    "a call": ("@(lambda f: f)", "a kernel has @triton.jit alone"),
    "one of the student": ("@triton.jit\n@mine", "a kernel has @triton.jit alone"),
    "twice": ("@triton.jit\n@triton.jit", "or several"),
    "none": ("", "has no @triton.jit"),
}


@pytest.mark.parametrize("case", DECORATORS)
def test_decorators(case: str) -> None:
    decorators, reason = DECORATORS[case]
    with pytest.raises(Refused, match=reason):
        lift([PLAIN.replace("@triton.jit", decorators)], "k")


CONSTANTS = {
    "a text": "C = 'a'",
    "a call": "C = int(5)",
    "an expression": "C = 2 * 3",
    "a list": "C = [1]",
    "tl.constexpr of a call": "C = tl.constexpr(print())",
    "another annotation": "C: int = 5",
    "bound in a block": "if True:\n    C = 5",
    "unpacked": "C, D = 5, 6",
    "changed later": "C = 5\nC += 1",
    "nowhere": "",
    "a plain function": "def C(): pass",
    "a module": "import torch as C",
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_constants_that_are_no_numbers(case: str) -> None:
    with pytest.raises(Refused, match="C"):
        lift([body("tl.store(x, C)", above=CONSTANTS[case])], "k")


def test_a_variable_with_the_name_of_what_is_outside() -> None:
    helper = "@triton.jit\ndef h(a):\n    return a + C\n"
    with pytest.raises(Refused, match="k assigns to `C`"):
        lift([body("C = 1", "h(C)", above="C = tl.constexpr(1)\n" + helper)], "k")


def test_a_refusal_says_what_where_and_what_to_do() -> None:
    with pytest.raises(Refused) as caught:
        lift([PLAIN, body("y = n", "assert y > 0  # surely")], "k")
    assert str(caught.value) == (
        "Assert is not part of a lifted kernel: use tl.static_assert (line 5 of its cell: assert y > 0  # surely)"
    )


def test_a_kernel_that_is_not_there() -> None:
    with pytest.raises(Refused, match=r"^no cell defines the kernel k$"):
        lift(["x = 1"], "k")
    with pytest.raises(Refused, match="2 cells were not read, since they hold a line that begins with %"):
        lift(["%%time\n" + PLAIN, "def k(:"], "k")


HOSTILE = {
    "operators": "-" * 90_000 + "1",
    "brackets": "(" * 5000 + ")" * 5000,
    "attributes": "a" + ".b" * 40_000,
    "sum": "+".join("1" * 40_000),
    "branches": "if a: pass\n" + "elif b: pass\n" * 7000,
    "blocks": "\n".join(" " * depth + "if a:" for depth in range(99)),
    "null": "\0",
    "surrogate": "x = '\udc80'",
    "long": "x = 1\n" * 100_000,
    "digits": "x = " + "9" * 5000,
    "f-string": 'f"' + "{1}" * 30_000 + '"',
    "combining characters": "a" + "\u0301\u0323" * 40_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_cells_that_are_made_to_break_the_reader(case: str) -> None:
    lift([PLAIN, HOSTILE[case]], "k")
    thread = threading.Thread(target=lambda: lift([PLAIN, HOSTILE[case]], "k"))
    thread.start()
    thread.join()


def test_a_cell_that_is_longer_than_is_read() -> None:
    lift([PLAIN + "#" * 90_000], "k")
    with pytest.raises(Refused, match="1 cells were not read"):
        lift([PLAIN + "#" * 100_000], "k")


def test_what_is_read_of_many_cells() -> None:
    """Those with a kernel, then those that stand last."""
    long = "#" * 30_000
    uses = body("tl.store(x, C)")
    assert "C = 3" in lift([uses, "C = 1" + long, "C = 2" + long, "C = 3" + long], "k").text
    with pytest.raises(Refused, match=r"`C` is neither .* 2 cells were not read, .* or are too long"):
        lift([uses, "C = 1" + long, *["D = 2" + long] * 4], "k")


def test_letters_that_become_others() -> None:
    """Python takes the first letter for an e, and the name for no keyword: written down it would be one."""
    trick = body("if n:", "    pass", "\N{MATHEMATICAL BOLD SMALL E}lse: tl.constexpr = 5")
    with pytest.raises(Refused, match="a name with other letters than a to z"):
        lift([trick], "k")
    lifted = lift(
        [body("tl.store(x, n)  # \N{GREEK SMALL LETTER PI}"), "s = 'Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\u00dfe'"],
        "k",
    )
    assert lifted.text.isascii()


def test_a_text_that_means_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ast.unparse
    monkeypatch.setattr(ast, "unparse", lambda node: plain(node).replace("+ 1", "+ 2"))
    with pytest.raises(Refused, match="would mean something else"):
        lift([PLAIN], "k")


def test_too_many_parts() -> None:
    chain = "\n".join(f"@triton.jit\ndef f{n}(a):\n    return f{n + 1}(a)" for n in range(60))
    with pytest.raises(Refused, match="more than 40 other"):
        lift([chain, "@triton.jit\ndef f60(a):\n    return a"], "f0")


def test_the_lists_name_functions_of_triton_and_no_modules() -> None:
    tl = pytest.importorskip("triton.language")
    for name in FUNCTIONS | TYPES:
        assert type(getattr(tl, name)).__name__ in ("function", "JITFunction", "dtype", "type"), name
    for name in MATH:
        assert type(getattr(tl.math, name)).__name__ in ("function", "JITFunction"), name
    kinds = {attribute for kind in (tl.tensor, tl.dtype, tl.pointer_type) for attribute in dir(kind)}
    assert kinds | {"shape", "dtype", "type", "element_ty"} >= MEMBERS
