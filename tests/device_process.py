"""A process that compiles a kernel for a card that is not there, or finds it on the disk. Run by test_device_code.py.

Of the driver there are stand-ins: for which card it is, its version, and instead of loading a kernel its instructions
are made. Prints a digest of them, and how often NVIDIA's compiler was asked.
"""

import contextlib
import hashlib
import re
import sys

from numba import cuda
from numba.cuda import codegen, dispatcher
from numba.cuda.cudadrv import driver, nvvm

from tests.conftest import TRAP
from thermosim.case.load import load_case
from thermosim.engines.cuda.kernel import identity, signature, template_of
from thermosim.kernels.device_code import device_kernel
from thermosim.plan.outline import plan


class Card:
    compute_capability = (int(sys.argv[1]), 0)


asked, true = [], nvvm.compile_ir


def compile_ir(ir, **options):
    asked.append(options)
    return true(ir, **options)


nvvm.compile_ir = compile_ir
dispatcher.get_current_device = cuda.get_current_device = Card
driver.get_version = lambda: (13, 0)
codegen.CUDACodeLibrary._ensure_cc = lambda self, cc: cc or (*Card.compute_capability, "")
codegen.CUDACodeLibrary.get_cubin = lambda self, cc=None: self.get_asm_str()  # for the linker there must be a driver
dispatcher._Kernel.bind = lambda self: self._codelibrary.get_cubin()

block = plan(load_case(TRAP, {"model.dimension": int(sys.argv[2])} if len(sys.argv) > 2 else {}))[0].block()
code, complete = identity(block)
assert complete
kernel = device_kernel(template_of(block), signature(), code)
(made,) = kernel.overloads.values()
assert made.argument_types
assert len(made.entry_name) > 10
assert kernel.compile(made.argument_types) is made
with contextlib.suppress(RuntimeError):  # compiling is over: it would be with contraction, or another kernel's code
    kernel.compile(made.argument_types[::-1])
    raise SystemExit("compiled at a launch")
nameless = re.sub(r"_Z\w+", "", made.inspect_asm(None))  # names count what was compiled before
print(hashlib.sha256(nameless.encode()).hexdigest(), len(asked))
