#!/usr/bin/env python3
"""What a binary of flyball is made of, as a CycloneDX 1.5 document on standard output.

    .ci/sbom.py TARGET        # e.g. x86_64-unknown-linux-musl

Every crate that `cargo metadata` finds for this target, what is needed only for tests left out, with its version, licence, checksum
(that of Cargo.lock) and what it depends on. The document says the same for the same Cargo.lock and commit: its time is SOURCE_DATE_EPOCH.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def spdx(text):
    """Crates wrote `MIT/Apache-2.0` before SPDX expressions were asked for."""
    return re.sub(r"\s*/\s*", " OR ", text)


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}


def reached(nodes, root):
    """The ids that are built into the program or build it."""
    found, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        for dep in nodes[node]["deps"]:
            if any(kind["kind"] in (None, "build") for kind in dep["dep_kinds"]):
                waiting.append(dep["pkg"])
    return found


def document(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    told = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = {p["id"]: p for p in told["packages"]}
    nodes = {n["id"]: n for n in told["resolve"]["nodes"]}
    root = told["resolve"]["root"]
    inside, sums = reached(nodes, root), checksums()

    def ref(package):
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package, kind):
        made = {"type": kind, "bom-ref": ref(package), "name": package["name"], "version": package["version"], "purl": ref(package)}
        if package["license"]:
            made["licenses"] = [{"expression": spdx(package["license"])}]
        if package["description"]:
            made["description"] = " ".join(package["description"].split())
        if package["repository"]:
            made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        if checksum := sums.get((package["name"], package["version"])):
            made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return made

    others = sorted((packages[i] for i in inside if i != root), key=lambda p: (p["name"], p["version"]))
    edges = []
    for node in sorted(inside, key=lambda i: ref(packages[i])):
        wanted = {ref(packages[dep["pkg"]]) for dep in nodes[node]["deps"] if dep["pkg"] in inside}
        edges.append({"ref": ref(packages[node]), "dependsOn": sorted(wanted)})
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", 0)), datetime.UTC)
    own = component(packages[root], "application")
    lock = (ROOT / "Cargo.lock").read_text()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, target + when.isoformat() + lock)}",
        "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": own,
            "properties": [{"name": "cargo:target", "value": target}],
        },
        "components": [component(p, "library") for p in others],
        "dependencies": edges,
    }


def wrong_in(bom):
    """What the schema demands and a hand may forget."""
    refs = [c["bom-ref"] for c in bom["components"]] + [bom["metadata"]["component"]["bom-ref"]]
    if len(refs) != len(set(refs)):
        yield "a bom-ref stands twice"
    for component in bom["components"]:
        for field in ("type", "name", "version", "purl", "licenses", "hashes"):
            if not component.get(field):
                yield f"{component['bom-ref']} has no {field}"
    for edge in bom["dependencies"]:
        for to in [edge["ref"], *edge["dependsOn"]]:
            if to not in refs:
                yield f"{edge['ref']} depends on {to}, which is not there"
    if not re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"]):
        yield "the serial number is none"
    if len(bom["components"]) < 50:
        yield "these cannot be all"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    bom = document(sys.argv[1])
    if wrong := list(wrong_in(bom)):
        sys.exit("\n".join(wrong))
    json.dump(bom, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
