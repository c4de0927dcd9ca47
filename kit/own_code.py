"""Code of the user's own: a Python file beside a competition, or one that makes a network, run as it is now."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class _FromSource(SourceFileLoader):
    """Compiles the file each time: cached bytecode is told apart by second and size, and an edit may change neither."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def run_file(path: Path, *, module_name: str) -> ModuleType:
    """Run a Python file as the module `module_name` and return it; no bytecode is written beside the file."""
    spec = importlib.util.spec_from_file_location(module_name, path, loader=_FromSource(module_name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # where dataclasses and torch.compile look up what a file has defined
    spec.loader.exec_module(module)
    return module
