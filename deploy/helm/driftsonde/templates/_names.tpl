{{/* How things are called. Helpers that are about one service take (dict "root" $ "name" "detector"). */}}

{{- define "driftsonde.services" -}}
{{- list "detector" "retrainer" "notifier" | toJson -}}
{{- end -}}

{{- define "driftsonde.chartName" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{/* 48 characters: with the longest suffix of a Service or Pod it is still a label, of at most 63. */}}
{{- define "driftsonde.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "driftsonde.chartName" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "driftsonde.serviceName" -}}
{{ include "driftsonde.fullname" .root }}-{{ .name }}
{{- end -}}

{{- define "driftsonde.serviceAccountName" -}}
{{- $account := (index .root.Values .name).serviceAccount -}}
{{- $account.name | default (ternary (include "driftsonde.serviceName" .) "default" $account.create) -}}
{{- end -}}

{{- define "driftsonde.port" -}}
{{- get (dict "detector" 8080 "retrainer" 8081 "notifier" 8082) .name -}}
{{- end -}}

{{- define "driftsonde.image" -}}
{{- $image := (index .root.Values .name).image -}}
{{- with .root.Values.image.registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* What every pod of this release has, hooks included; policies select by it. */}}
{{- define "driftsonde.releaseLabels" -}}
app.kubernetes.io/name: {{ include "driftsonde.chartName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "driftsonde.selectorLabels" -}}
{{ include "driftsonde.releaseLabels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* For metadata of an object; of a component where `name` is given. */}}
{{- define "driftsonde.labels" -}}
{{ include "driftsonde.releaseLabels" .root }}
{{- with .name }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: driftsonde
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "driftsonde.configMapName" -}}
{{- .Values.existingConfigMap | default (printf "%s-config" (include "driftsonde.fullname" .)) -}}
{{- end -}}

{{/* The names that the NATS chart gives itself: its own rule, repeated because a subchart's helpers see the parent's values here. */}}
{{- define "driftsonde.natsName" -}}
{{- .Values.nats.nameOverride | default "nats" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "driftsonde.natsFullname" -}}
{{- $name := include "driftsonde.natsName" . -}}
{{- if .Values.nats.fullnameOverride -}}
{{- .Values.nats.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "driftsonde.natsLabels" -}}
app.kubernetes.io/name: {{ include "driftsonde.natsName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: nats
{{- end -}}
