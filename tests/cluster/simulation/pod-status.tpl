{{/* Status of a pod as a kubelet writes it. stages.rs sets the variables in front of this text:
  $phase      phase of the pod
  $started    whether its containers have been created at all
  $run        whether the container at fault runs; all others run when $started
  $passed     whether its startup probe has passed, if it has one
  $readiness  whether it is ready then: "true", "false", or "probe" for ready only without a readiness probe
  $reason     why it waits, else ""; $message says more
  $exit       its exit code when it has ended, else ""; $exitReason says why
  $all        whether all containers share the fate of the one at fault
The container at fault is the first, or the one that an annotation names. */}}
{{ $now := Now }}
{{ $annotations := default dict .metadata.annotations }}
{{ $target := default (index .spec.containers 0).name (index $annotations "kubelet.mesh/container") }}
{{ $statuses := dict }}{{ range .status.containerStatuses }}{{ $statuses = set $statuses .name . }}{{ end }}
{{ $conditions := dict }}{{ range .status.conditions }}{{ $conditions = set $conditions .type . }}{{ end }}
{{ $podReady := $started }}
observedGeneration: {{ .metadata.generation }}
phase: {{ $phase }}
startTime: {{ default $now .status.startTime | Quote }}
{{ with NodeIPWith .spec.nodeName }}
hostIP: {{ . | Quote }}
hostIPs:
- ip: {{ . | Quote }}
{{ end }}
{{ if and $started (not .status.podIP) }}
{{ with PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ . | Quote }}
podIPs:
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
{{ if .spec.initContainers }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  restartCount: 0
  ready: {{ $started }}
  {{ if not $started }}
  started: false
  state:
    waiting:
      reason: PodInitializing
  {{ else if eq (default "" .restartPolicy) "Always" }}
  started: true
  state:
    running:
      startedAt: {{ $now | Quote }}
  {{ else }}
  started: false
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ end }}
{{ end }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
{{ $mine := or $all (eq .name $target) }}
{{ $old := default dict (index $statuses .name) }}
{{ $state := default dict $old.state }}
{{ $waited := default "" (default dict $state.waiting).reason }}
{{ $runs := and $started (or $run (not $mine)) }}
{{ $restarts := atoi (toString (default "0" $old.restartCount)) }}
{{ if and $runs (or (hasKey $state "terminated") (eq $waited "CrashLoopBackOff")) }}{{ $restarts = add1 $restarts }}{{ end }}
{{ $ready := and $runs (or (not $mine) (eq $readiness "true") (and (eq $readiness "probe") (not .readinessProbe))) }}
{{ if not $ready }}{{ $podReady = false }}{{ end }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  restartCount: {{ $restarts }}
  ready: {{ $ready }}
  started: {{ and $runs (or $passed (not $mine) (not .startupProbe)) }}
  {{ if $runs }}
  state:
    running:
      startedAt: {{ default $now (default dict $state.running).startedAt | Quote }}
  {{ else if and $mine $exit }}
  state:
    terminated:
      exitCode: {{ $exit }}
      reason: {{ $exitReason | Quote }}
      startedAt: {{ default $now (default dict $state.running).startedAt | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ else if and $mine $reason }}
  state:
    waiting:
      reason: {{ $reason | Quote }}
      message: {{ $message | Quote }}
  {{ else }}
  state:
    waiting:
      reason: ContainerCreating
  {{ end }}
  {{ if and $mine (hasKey $state "terminated") }}
  lastState: {{ toJson $state }}
  {{ else }}
  lastState: {{ toJson (default dict $old.lastState) }}
  {{ end }}
{{ end }}
{{ $is := ternary "True" "False" $podReady }}
{{ $why := ternary "" (ternary "PodCompleted" "ContainersNotReady" (eq $phase "Succeeded")) $podReady }}
conditions:
{{ range list (list "PodReadyToStartContainers" (ternary "True" "False" $started) "") (list "Initialized" "True" "") (list "ContainersReady" $is $why) (list "Ready" $is $why) }}
{{ $type := index . 0 }}
{{ $status := index . 1 }}
{{ $before := default dict (index $conditions $type) }}
- type: {{ $type }}
  status: {{ $status | Quote }}
  reason: {{ index . 2 | Quote }}
  lastTransitionTime: {{ ternary $before.lastTransitionTime $now (eq (default "" $before.status) $status) | Quote }}
{{ end }}
