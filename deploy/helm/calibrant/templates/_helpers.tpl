{{/* Names and labels that several templates use. */}}

{{/* The name of everything: the release's, with the chart's in it. */}}
{{- define "calibrant.name" -}}
{{- $name := ternary .Release.Name (printf "%s-calibrant" .Release.Name) (contains "calibrant" .Release.Name) -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/* What pods are found by; it never changes. */}}
{{- define "calibrant.selector" -}}
app.kubernetes.io/name: calibrant
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "calibrant.labels" -}}
{{ include "calibrant.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "calibrant.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ .Values.image.tagSuffix }}
{{- end }}
