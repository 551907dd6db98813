"""What is taken from a package's sources, on packages made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.lds import docstrings
from bench.lds.docstrings import NotEnough, Project

GOOD = "Walk along every edge of the given terrain until either the far border or some obstacle has been reached."
OTHER = "Sort incoming parcels by weight, so that heavy ones come first and fragile ones never lie below any other."


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    root = tmp_path / "parcels"
    root.mkdir()
    (root / "__init__.py").write_text("raise RuntimeError('imported')\n")
    return root


def found(count: int) -> list[tuple[str, str]]:
    return docstrings.draw([Project("parcels", "parcels", "MIT")], count)[0]


def function(name: str, docstring: str, indent: str = "") -> str:
    return f'{indent}def {name}():\n{indent}    """{docstring}"""\n'


def test_first_paragraphs_of_public_things_under_their_qualified_names(package: Path) -> None:
    split = GOOD.replace("until", "until\n        ")
    (package / "a.py").write_text(f"class Depot:\n{function('walk', split + chr(10) * 2 + 'More.', '    ')}")
    (package / "b.py").write_text(function("sort", OTHER))
    assert sorted(found(2)) == [("Depot.walk", GOOD), ("sort", OTHER)]


@pytest.mark.parametrize(
    "docstring",
    (
        "Too short.",
        "Too long, " * 40 + "indeed.",
        GOOD.removesuffix("."),
        GOOD[0].lower() + GOOD[1:],
        GOOD.replace("terrain", "terrain[x]"),
        GOOD.replace("terrain", "x = y"),
        GOOD.replace("terrain", "3.14159 2.71828 1.41421"),
        GOOD.replace("given terrain", "https//a.b"),
    ),
)
def test_what_does_not_read_as_prose_is_left_out(package: Path, docstring: str) -> None:
    (package / "a.py").write_text(function("walk", docstring))
    with pytest.raises(NotEnough, match="parcels has 0"):
        found(1)


def test_a_term_that_gives_its_text_away_is_left_out(package: Path) -> None:
    (package / "a.py").write_text(function("walk_edges_of_given_terrain_until_border_or_obstacle_reached", GOOD))
    with pytest.raises(NotEnough):
        found(1)


@pytest.mark.parametrize("place", ("_hidden/a.py", "tests/a.py", "vendor/a.py", "test_a.py"))
def test_what_is_not_the_projects_own_public_code_is_left_out(package: Path, place: str) -> None:
    (package / place).parent.mkdir(exist_ok=True)
    (package / place).write_text(function("walk", GOOD))
    with pytest.raises(NotEnough):
        found(1)


def test_private_names_and_files_that_are_not_python_are_left_out(package: Path) -> None:
    (package / "a.py").write_text(function("_walk", GOOD) + f"class _Depot:\n{function('walk', GOOD, '    ')}")
    (package / "b.py").write_text("{{ template }} is not")
    with pytest.raises(NotEnough):
        found(1)


def test_texts_that_say_nearly_the_same_count_once_also_between_projects(package: Path) -> None:
    (package / "a.py").write_text(function("walk", GOOD) + function("stroll", GOOD.replace("Walk", "Stroll")))
    (package / "b.py").write_text(function("sort", OTHER))
    assert len(found(2)) == 2
    with pytest.raises(NotEnough, match="has 2"):
        found(3)
    twice = [Project("one", "parcels", "MIT"), Project("two", "parcels", "MIT")]
    assert {text for drawn in docstrings.draw(twice, 1) for _, text in drawn} >= {OTHER}
    with pytest.raises(NotEnough, match="two has 0"):
        docstrings.draw(twice, 2)


def test_marks_of_restructured_text_are_taken_off(package: Path) -> None:
    marked = GOOD.replace("terrain", ":class:`~maps.Terrain` or :py:meth:`the map <maps.get>` of ``x``")
    (package / "a.py").write_text(function("walk", marked))
    assert found(1)[0][1] == GOOD.replace("terrain", "`maps.Terrain` or `maps.get` of `x`")


def test_no_file_gives_more_than_a_few(package: Path) -> None:
    texts = (
        "Plant apple and birch beside cedar, daisy below elder, where rain falls often enough for all five of them.",
        "Fern grows without sun; grape and hazel need much of it, iris little, jute none during its first months.",
        "Kale resists frost. Lilac, maple, nettle do so when old; olive trees must stay indoors from autumn onwards.",
        OTHER,
    )
    (package / "a.py").write_text("".join(function(f"plant{n}", text) for n, text in enumerate(texts)))
    (package / "b.py").write_text(function("walk", GOOD))
    assert {term for term, _ in found(4)} == {"plant0", "plant1", "plant2", "walk"}


def test_a_missing_package_is_named() -> None:
    with pytest.raises(NotEnough, match="not installed"):
        docstrings.draw([Project("absent", "no_such_package", "MIT")], 1)


def test_every_projects_licence_is_one_that_can_be_kept() -> None:
    kept = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "MIT-CMU"}
    assert {project.licence for project in docstrings.PROJECTS} <= kept
