# Nobody gets everything.
package shop.access

import rego.v1

deny contains msg if {
	input.kind in {"Role", "ClusterRole"}
	some rule in input.rules
	some field in ["apiGroups", "resources", "verbs"]
	"*" in rule[field]
	msg := sprintf("%s %s allows every one of its %s", [input.kind, input.metadata.name, field])
}
