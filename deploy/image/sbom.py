"""Prints the bill of materials of the program, CycloneDX 1.6: each crate that is linked into it.

    sbom.py SOURCE TARGET
"""

import json
import subprocess
import sys

source, target = sys.argv[1:]
command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"]
metadata = json.loads(subprocess.run(command, cwd=source, check=True, stdout=subprocess.PIPE).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}


def linked(node):
    """The ids of the normal dependencies: neither build scripts nor tests are in the program."""
    kinds = lambda dependency: [kind["kind"] for kind in dependency["dep_kinds"]]
    return [dependency["pkg"] for dependency in node["deps"] if None in kinds(dependency)]


def component(package, kind):
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    described = {"type": kind, "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl}
    if package["license"]:
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return described


root = next(package["id"] for package in metadata["packages"] if package["name"] == "egret")
reached, waiting = set(), [root]
while waiting:
    package = waiting.pop()
    if package not in reached:
        reached.add(package)
        waiting += linked(nodes[package])

components = {package: component(packages[package], "library") for package in reached}
components[root]["type"] = "application"
reference = lambda package: components[package]["bom-ref"]
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": components[root]},
        "components": sorted((c for p, c in components.items() if p != root), key=lambda c: c["purl"]),
        "dependencies": sorted(
            ({"ref": reference(p), "dependsOn": sorted({reference(d) for d in linked(nodes[p])})} for p in reached),
            key=lambda dependency: dependency["ref"],
        ),
    },
    sys.stdout,
    indent=1,
)
