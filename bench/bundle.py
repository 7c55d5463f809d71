"""The one file in which Tare's measuring side travels to a lab host: a zip that a stock Python runs.

`python3 FILE agent` is the host's end of a campaign, and `python3 FILE worker` a slot worker. It unpacks itself beside
itself once, and looks at each start whether that is still what was unpacked. Byte for byte the same for the same code,
so that a host which has it is not sent it again.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_TIME = (2026, 1, 1, 0, 0, 0)
#: The oldest Python that a host may have.
OLDEST = (3, 11)
# Old Pythons must be able to read this.
_MAIN = """\
import sys
if sys.version_info < {oldest}:
    sys.stderr.write("this host's Python is %d.%d, and {shown} or newer is needed\\n" % sys.version_info[:2])
    sys.exit(4)
import compileall, os, runpy, shutil, tempfile, zipfile
file = os.path.abspath(sys.argv[0])
code = file + ".code"
def whole(archive):
    try:
        for name in archive.namelist():
            with open(os.path.join(code, name), "rb") as there:
                if there.read() != archive.read(name):
                    return False
        return True
    except OSError:
        return False
with zipfile.ZipFile(file) as archive:
    if not whole(archive):
        made = tempfile.mkdtemp(prefix=os.path.basename(code) + ".", dir=os.path.dirname(file))
        archive.extractall(made)
        compileall.compile_dir(made, quiet=2)
        os.sync()
        try:
            os.rename(made, code)
        except OSError:
            if whole(archive):
                shutil.rmtree(made)  # somebody else has unpacked it meanwhile
            else:
                os.rename(code, made + ".damaged")
                os.rename(made, code)
                shutil.rmtree(made + ".damaged", ignore_errors=True)
sys.path[0] = code
runpy.run_module("bench." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def make() -> bytes:
    """The file's content."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        main = _MAIN.format(oldest=OLDEST, shown=".".join(map(str, OLDEST)))
        archive.writestr(zipfile.ZipInfo("__main__.py", _TIME), main, zipfile.ZIP_DEFLATED)
        for path in sorted(_PACKAGE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name = str(Path("bench") / path.relative_to(_PACKAGE))
                archive.writestr(zipfile.ZipInfo(name, _TIME), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
