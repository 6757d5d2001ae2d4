{{/* Status of a node as its kubelet writes it; stages.rs sets $ready in front of this text. */}}
{{ $now := Now }}
{{ $conditions := dict }}{{ range .status.conditions }}{{ $conditions = set $conditions .type . }}{{ end }}
phase: Running
conditions:
{{ range NodeConditions }}
{{ $before := default dict (index $conditions .type) }}
{{ $failed := and (eq .type "Ready") (not $ready) }}
{{ $status := ternary "False" .status $failed }}
- type: {{ .type }}
  status: {{ $status | Quote }}
  reason: {{ ternary "KubeletNotReady" .reason $failed | Quote }}
  message: {{ ternary "container runtime is down" .message $failed | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ ternary $before.lastTransitionTime $now (eq (default "" $before.status) $status) | Quote }}
{{ end }}
nodeInfo:
  architecture: amd64
  bootID: {{ .metadata.uid | Quote }}
  containerRuntimeVersion: {{ printf "kwok://%s" Version }}
  kernelVersion: {{ printf "kwok-%s" Version }}
  kubeProxyVersion: {{ printf "kwok-%s" Version }}
  kubeletVersion: {{ printf "kwok-%s" Version }}
  machineID: {{ .metadata.uid | Quote }}
  operatingSystem: linux
  osImage: {{ printf "kwok-%s" Version }}
  systemUUID: {{ .metadata.uid | Quote }}
