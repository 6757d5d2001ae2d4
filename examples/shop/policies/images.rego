# Images come from the shop's own registry and say which build they are.
package shop.images

import rego.v1

registry := "registry.example.com/shop/"

containers contains container if {
	some field in ["containers", "initContainers"]
	some container in input.spec.template.spec[field]
}

deny contains msg if {
	some container in containers
	image := container.image
	not startswith(image, registry)
	msg := sprintf("container %s: image %s is not from %s", [container.name, image, registry])
}

deny contains msg if {
	some container in containers
	endswith(container.image, ":latest")
	msg := sprintf("container %s: image tag latest cannot be rolled back to", [container.name])
}
