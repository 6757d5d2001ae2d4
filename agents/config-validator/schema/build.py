#!/usr/bin/env python3
"""Builds kubernetes.json.zz: what config-validator needs of the Kubernetes API's own description.

    python3 build.py            # needs `go` (only to download modules) and nothing else

Sources, all Apache-2.0 (see NOTICE), fetched as Go modules:
- k8s.io/kubernetes: api/openapi-spec/swagger.json, the OpenAPI 2 document the API server publishes. Kept:
  the definitions (without descriptions) and the paths that create objects (they say which kinds exist
  and which are namespaced).
- k8s.io/api: types marked `+enum` in types.go (the published document leaves their values out) become
  `enum` of the fields of that type; zz_generated.prerelease-lifecycle.go of several releases says which
  API versions are deprecated or removed, since when, and what replaces them.

The result is an OpenAPI 2 document with one extra list, `x-lifecycle`, compressed with zlib. The same
loader reads a cluster's own `kubectl get --raw /openapi/v2`.
"""
import json
import pathlib
import re
import subprocess
import sys
import zlib

KUBERNETES = "v1.37.2"
API = "v0.37.2"
# Old releases still list the API versions that newer ones dropped from the source altogether.
OLD_APIS = ["v0.22.17", "v0.25.16", "v0.28.15", "v0.32.9"]
KEEP = {"type", "format", "$ref", "items", "properties", "additionalProperties", "required", "enum",
        "x-kubernetes-group-version-kind", "x-kubernetes-preserve-unknown-fields"}
GROUPS = {"core": "", "rbac": "rbac.authorization.k8s.io", "flowcontrol": "flowcontrol.apiserver.k8s.io",
          "apiserverinternal": "internal.apiserver.k8s.io"}
SHORT = {"apps", "autoscaling", "batch", "policy", "extensions"}


def module(name, version):
    out = subprocess.run(["go", "mod", "download", "-json", f"{name}@{version}"], check=True, capture_output=True)
    return pathlib.Path(json.loads(out.stdout)["Dir"])


def group_name(folder):
    return GROUPS.get(folder, folder if folder in SHORT else f"{folder}.k8s.io")


def slim(schema):
    """The schema without prose and without what only patches need."""
    kept = {k: v for k, v in schema.items() if k in KEEP}
    if "properties" in kept:
        kept["properties"] = {name: slim(value) for name, value in kept["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = slim(kept[key])
    return kept


def creating_paths(paths):
    """`POST` on a collection: not on a subresource (those have `{name}` in their path)."""
    for path, item in paths.items():
        gvk = item.get("post", {}).get("x-kubernetes-group-version-kind")
        if gvk and "{name}" not in path:
            yield path, {"post": {"x-kubernetes-group-version-kind": gvk}}


def enums(api):
    """(definition, field) -> values, read from the Go source."""
    fields = {}
    for types in sorted(api.glob("*/*/types.go")):
        package = f"io.k8s.api.{types.parent.parent.name}.{types.parent.name}"
        source = types.read_text()
        names = re.findall(r"(?m)^// \+enum\n(?:(?://.*)?\n)*type (\w+) string", source)
        values = {n: re.findall(rf'(?m)^\s*\w+\s+{n}\s*=\s*"([^"]*)"', source) for n in names}
        values = {n: v for n, v in values.items() if v}
        for struct, body in re.findall(r"(?ms)^type (\w+) struct \{\n(.*?)^\}", source):
            for kind, field in re.findall(r'(?m)^\s*\w+\s+(\S+)\s+`json:"(\w+)', body):
                fields[f"{package}.{struct}", field] = (package, kind, values)
    known = {(package, name): v for package, _, values in fields.values() for name, v in values.items()}
    for (struct, field), (package, kind, _) in fields.items():
        many = kind.startswith("[]")
        name = kind.lstrip("[]*")
        if "." in name:  # another package of the same version, by its usual alias: only core is used so
            alias, name = name.split(".", 1)
            package = "io.k8s.api.core.v1" if alias in ("v1", "corev1") else None
        if (package, name) in known:
            yield struct, field, many, known[package, name]


def add_enums(definitions, api):
    added = 0
    for struct, field, many, values in enums(api):
        target = definitions.get(struct, {}).get("properties", {}).get(field)
        if target and many:
            target = target.get("items")
        if target and target.get("type") == "string" and "$ref" not in target:
            target["enum"] = sorted(values)
            added += 1
    return added


def lifecycle(api):
    body = r"func \(in \*(\w+)\) APILifecycle(Deprecated|Removed)\(\) \(major, minor int\) \{\s+return (\d+), (\d+)"
    replaced = r'func \(in \*(\w+)\) APILifecycleReplacement\(\) .*?\{\s+return .*?Group: "(.*?)", Version: "(.*?)", Kind: "(.*?)"'
    for file in sorted(api.glob("*/*/zz_generated.prerelease-lifecycle.go")):
        group, version = group_name(file.parent.parent.name), file.parent.name
        text = file.read_text()
        entries = {}
        for kind, word, major, minor in re.findall(body, text):
            entries.setdefault(kind, {})[word.lower()] = f"{major}.{minor}"
        for kind, *gvk in re.findall(replaced, text):
            entries.setdefault(kind, {})["replacement"] = dict(zip(("group", "version", "kind"), gvk))
        for kind, entry in entries.items():
            yield (group, version, kind), entry


def main():
    kubernetes, api = module("k8s.io/kubernetes", KUBERNETES), module("k8s.io/api", API)
    swagger = json.loads((kubernetes / "api/openapi-spec/swagger.json").read_text())
    definitions = {name: slim(schema) for name, schema in swagger["definitions"].items()}
    added = add_enums(definitions, api)
    ages = {}
    for version in OLD_APIS + [API]:  # the newest release's word counts
        ages.update(lifecycle(module("k8s.io/api", version)))
    document = {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES},
        "definitions": definitions,
        "paths": dict(creating_paths(swagger["paths"])),
        "x-lifecycle": [dict(group=g, version=v, kind=k, **entry) for (g, v, k), entry in sorted(ages.items())
                        if not k.endswith("List")],
    }
    plain = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    packed = zlib.compress(plain, 9)
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("kubernetes.json.zz")
    target.write_bytes(packed)
    print(f"{target}: {len(definitions)} definitions, {len(document['paths'])} creatable collections, {added} enums, "
          f"{len(document['x-lifecycle'])} lifecycles, {len(plain)} -> {len(packed)} bytes")


if __name__ == "__main__":
    main()
