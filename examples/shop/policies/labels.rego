# Every object says what it is and what it belongs to, so that costs and incidents find their owner.
package shop.labels

import rego.v1

required := ["app.kubernetes.io/name", "app.kubernetes.io/part-of"]

deny contains msg if {
	some label in required
	labels := object.get(input.metadata, "labels", {})
	object.get(labels, label, "") == ""
	msg := sprintf("%s %s has no label %s", [input.kind, input.metadata.name, label])
}
