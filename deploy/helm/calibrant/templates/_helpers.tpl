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

{{/* The settings as environment: toJson, as large numbers would come out as 3.3e+07 otherwise. */}}
{{- define "calibrant.settings" -}}
{{- range $name, $value := .Values.settings }}
CALIBRANT_{{ $name | upper }}: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}
