# A rolling update keeps serving: more than one replica, and a probe that holds traffic back.
package shop.availability

import rego.v1

warn contains msg if {
	input.kind == "Deployment"
	object.get(input.spec, "replicas", 1) < 2
	msg := sprintf("Deployment %s has a single replica", [input.metadata.name])
}

deny contains msg if {
	input.kind == "Deployment"
	some container in input.spec.template.spec.containers
	not container.readinessProbe
	msg := sprintf("container %s has no readinessProbe: a broken release would get traffic", [container.name])
}
