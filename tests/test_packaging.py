"""What a package index and the repository's own pages say of the package; nothing is built for it."""

import re
from pathlib import Path

import pytest
import yaml
from alone import setup_arguments
from packaging.version import Version

from tools.links import config, settings

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def said():
    return setup_arguments()


def test_every_link_of_the_description_leads_somewhere(said):
    "An index shows the text away from the repository: a relative link or picture would be broken there."
    text, s = said["long_description"], settings()
    targets = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    assert [t for t in targets if not re.match(r"https://|#", t)] == []
    at = f"{s['user']}/{s['repo']}"
    files = {"blob": [], "raw": []}
    for target in targets:
        if m := re.fullmatch(rf"https://github\.com/{at}/blob/{s['branch']}/([^#]+)(#.*)?", target):
            files["blob"].append(m[1])
        elif m := re.fullmatch(rf"https://raw\.githubusercontent\.com/{at}/{s['branch']}/(.+)", target):
            files["raw"].append(m[1])
    assert all((ROOT / name).is_file() for names in files.values() for name in names)
    assert len(files["blob"]) > 20
    assert {Path(name).suffix for name in files["raw"]} <= {".png", ".gif", ".svg", ".webp"}
    assert files["raw"], "the README has a picture"


def test_the_description_differs_from_the_readme_by_its_links_alone(said):
    def words(text):
        return re.sub(r"https?://[^)\s\"]+/(?=[\w.-]+[)\"])|(?<=\()(?:[\w.-]+/)+(?=[\w.-]+\))", "", text)

    assert words(said["long_description"]) == words((ROOT / "README.md").read_text(encoding="utf-8"))


def test_versions_of_python_are_those_that_are_tested(said):
    cfg = config()
    listed = cfg["python_versions"].split()
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert listed[0] == cfg["min_python"]
    assert listed == sorted(listed, key=Version)
    assert {*tested} <= {*listed}
    assert {f"Programming Language :: Python :: {v}" for v in listed} <= {*said["classifiers"]}


def test_project_urls_name_this_repository(said):
    s = settings()
    assert {"Documentation", "Source", "Changelog", "Issues"} <= said["project_urls"].keys()
    for url in said["project_urls"].values():
        assert re.match(rf"https://(github\.com/{s['user']}|{s['user']}\.github\.io)/{s['repo']}(/|$)", url)


def test_the_citation_is_of_this_version():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["version"] == config()["version"]
    assert cff["license"] == "Apache-2.0"
    assert cff["repository-code"] == config()["git_url"]


def test_the_changelog_has_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(config()['version'])}\b", text, re.M)


def test_a_release_is_built_checked_and_published_without_a_password():
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["needs"] == "build"
    assert "secrets." not in text
    assert "twine check --strict" in str(jobs["build"])


@pytest.mark.parametrize("name", ["bug.yml", "question.yml"])
def test_issue_forms_can_be_read(name):
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / name).read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    for field in form["body"]:
        assert field["type"] in {"markdown", "textarea", "input", "dropdown"}
        assert field["type"] == "markdown" or field["attributes"]["label"]
