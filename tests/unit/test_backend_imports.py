"""What import-linter has no contract for: a backend's file stands alone, but for the shared ones."""

from __future__ import annotations

import grimp


def test_backends_import_each_other_only_through_shared_files() -> None:
    graph = grimp.build_graph("bench", cache_dir=None)
    package = "bench.backends"
    found = graph.find_children(package)
    assert f"{package}.base" in found
    for module in found:
        name = module.rpartition(".")[2]
        if name.startswith("_") or name == "base":
            continue
        others = graph.find_modules_directly_imported_by(module) & found
        wrong = {other for other in others if not other.rpartition(".")[2].startswith(("_", "base"))}
        assert not wrong, f"{module} imports {sorted(wrong)}: share it in {package}._something"
