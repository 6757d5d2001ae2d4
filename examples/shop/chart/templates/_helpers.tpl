{{- define "shop.labels" -}}
{{ include "shop.selector" . }}
app.kubernetes.io/part-of: shop
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "shop.selector" -}}
app.kubernetes.io/name: web
{{- end }}

{{- define "shop.version" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
