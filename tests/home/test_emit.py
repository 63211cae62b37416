"""``export --emit``: every kind in its own build tool, or checked against its schema."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mcu_export.emit import EMITS
from mcu_export.errors import UsageError
from tests.home.conftest import KWS, ROOT, Tool, export_kws

MAIN = '#include "kws.h"\nint main(void) { kws_run(); return kws_output()[0] < -127; }\n'
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with all kinds of --emit; do not change it."""
    return export_kws(tmp_path_factory.mktemp("emit") / "kws", emit=tuple(EMITS))


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(everything: Path, tmp_path: Path) -> Path:
    """A firmware with the export in the folder ``kws``."""
    shutil.copytree(everything, tmp_path / "kws")
    (tmp_path / "main.c").write_text(MAIN)
    return tmp_path


@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_cmake_builds_the_folder(project: Path, generator: str) -> None:
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(firmware C)\n"
        "add_subdirectory(kws)\nadd_executable(app main.c)\n"
        "target_link_libraries(app PRIVATE kws)\n"
    )
    run("cmake", "-G", generator, "-S", ".", "-B", "build", cwd=project)
    run("cmake", "--build", "build", cwd=project)
    run(project / "build/app", cwd=project)


def test_the_cmake_package_exports_when_needed(repository: Path, mcu_export_command: str) -> None:
    (repository / "main.c").write_text(MAIN)
    (repository / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(firmware C)\n"
        "find_package(mcu-export REQUIRED)\n"
        'mcu_export_add_model(kws MODEL kws.keras SAMPLES "calibration.npz:features[:4]"\n'
        "  OPTIONS --scheme q15 --calibration mse)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE kws)\n"
    )
    package = f"-Dmcu-export_DIR={ROOT / 'firmware/cmake'}"
    tool = f"-DMCU_EXPORT={mcu_export_command}"
    run("cmake", "-G", "Ninja", "-S", ".", "-B", "build", package, tool, cwd=repository)
    assert "Exporting kws" in run("cmake", "--build", "build", cwd=repository)
    run(repository / "build/app", cwd=repository)
    assert "no work to do" in run("cmake", "--build", "build", cwd=repository)
    (repository / "calibration.npz").touch()
    again = run("cmake", "--build", "build", cwd=repository)
    assert "Exporting kws" in again
    assert "Building C object" not in again


def test_meson_builds_the_folder(project: Path) -> None:
    (project / "meson.build").write_text(
        "project('firmware', 'c')\nsubdir('kws')\n"
        "executable('app', 'main.c', dependencies: kws_dep)\n"
    )
    run("meson", "setup", "build", cwd=project)
    run("ninja", "-C", "build", cwd=project)
    run(project / "build/app", cwd=project)


def test_the_zephyr_module_builds_with_zephyrs_functions(project: Path) -> None:
    """Zephyr itself is too large; its functions are stated in CMake, as documented."""
    module = (project / "kws/zephyr/module.yml").read_text()
    assert re.search(
        r"^name: kws\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig$", module, re.M
    )
    kconfig = (project / "kws/zephyr/Kconfig").read_text()
    assert re.search(r'^config MODEL_KWS\n\tbool "[^"\n]+"\n\thelp\n\t  \S', kconfig, re.M)
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(firmware C)\n"
        "macro(zephyr_library_named name)\n  set(ZEPHYR_CURRENT_LIBRARY ${name})\n"
        "  add_library(${name} STATIC)\nendmacro()\n"
        "macro(zephyr_library_sources)\n"
        "  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})\nendmacro()\n"
        "macro(zephyr_include_directories)\n"
        "  target_include_directories(${ZEPHYR_CURRENT_LIBRARY} PUBLIC ${ARGN})\nendmacro()\n"
        "set(CONFIG_MODEL_KWS y)\nadd_subdirectory(kws/zephyr)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE kws)\n"
    )
    run("cmake", "-G", "Ninja", "-S", ".", "-B", "build", cwd=project)
    run("cmake", "--build", "build", cwd=project)


def test_the_platformio_manifest_has_its_fields(everything: Path) -> None:
    """Fields and types of https://docs.platformio.org/en/latest/manifests/library-json."""
    manifest = json.loads((everything / "library.json").read_text())
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,100}", manifest["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    assert set(manifest) <= {
        *("name", "version", "description", "frameworks", "platforms", "headers", "build"),
    }
    assert set(manifest["build"]) <= {"srcDir", "includeDir", "srcFilter", "flags"}
    assert manifest["build"]["srcFilter"] == "-<*> +<kws.c>"
    assert (everything / manifest["headers"]).is_file()


def test_the_arduino_library_has_its_fields(everything: Path) -> None:
    """Fields of the Arduino library specification, format 1.0 (a folder without src)."""
    lines = (everything / "library.properties").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    needed = "name version author maintainer sentence paragraph category url architectures"
    assert set(needed.split()) | {"includes"} == set(fields)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\- ]{0,62}", fields["name"])
    assert fields["category"] == "Data Processing"
    assert (everything / fields["includes"]).is_file()
    sketch = '#include "kws.h"\nvoid setup() { kws_run(); }\n'
    command = ["g++", "-fsyntax-only", "-x", "c++", "-", f"-I{everything}"]
    subprocess.run(command, input=sketch, text=True, check=True)


def test_the_csolution_layer_names_files_that_exist(everything: Path) -> None:
    """Keys of the CMSIS-Toolbox's YAML format for a clayer."""
    text = (everything / "kws.clayer.yml").read_text()
    keys = set(re.findall(r"^\s*(?:- )?([a-z-]+):", text.split("\nlayer:")[1], re.M))
    assert keys == {"type", "description", "add-path", "groups", "group", "files", "file"}
    for file in re.findall(r"- file: (\S+)", text):
        assert (everything / file).is_file()


@pytest.mark.parametrize("scheme", ["q7", "int8"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_cpp_header_runs(tmp_path: Path, compiler: str, scheme: str) -> None:
    folder = export_kws(tmp_path / "kws", emit=("cpp",), scheme=scheme)
    (tmp_path / "main.cpp").write_text(
        '#include "kws.hpp"\n#include <cstdio>\n#include <iterator>\n'
        "int main()\n{\n    for (kws::input_t &value : kws::input()) {\n        value = 1;\n    }\n"
        '    static_assert(sizeof(kws::output_array) == 12 * sizeof(kws::output_t), "");\n'
        '    static_assert(kws::input_size == 490, "");\n    kws::run();\n    int sum = 0;\n'
        "    for (const kws::output_t value : kws::output()) {\n        sum += value;\n    }\n"
        '    std::printf("%d\\n", sum == 0);\n    return 0;\n}\n'
    )
    flags = ["-std=c++11", *WARNINGS, f"-I{folder}"]
    model = [compiler, *flags, "-x", "c++", "-c", folder / "kws.c", "-o", "kws.o"]
    run(*map(str, model), cwd=tmp_path)
    run(compiler, *flags, "main.cpp", "kws.o", "-o", "app", cwd=tmp_path)
    assert run(tmp_path / "app", cwd=tmp_path) == "0\n"


def test_emitted_files_are_part_of_the_export(tmp_path: Path, tool: Tool) -> None:
    arguments = ("export", str(KWS / "kws.keras"), "-o", "x", "--emit", "cmake", "--emit", "zephyr")
    arguments += ("--samples", f"{KWS}/calibration.npz:features[:4]", "--depfile", "x/d")
    arguments += ("--calibration", "mse")
    assert tool(*arguments).returncode == 0
    (tmp_path / "x/zephyr/Kconfig").unlink()
    checked = tool(*arguments, "--check")
    assert checked.returncode == 9
    assert "zephyr/Kconfig" in checked.stderr


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use cpp, cmake"):
        export_kws(tmp_path, emit=("bazel",))
