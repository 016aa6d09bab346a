{{/* How many replicas a service has, and who decides. SQLite serves one replica, so nothing scales it. */}}

{{- define "driftsonde.scaledBy" -}}
{{- if eq .root.Values.database.type "sqlite" -}}none{{- else -}}{{ (index .root.Values .name).scaling.by }}{{- end -}}
{{- end -}}

{{/* The number that DRIFTSONDE_REPLICAS tells: more than one are refused with SQLite. */}}
{{- define "driftsonde.mostReplicas" -}}
{{- $service := index .root.Values .name -}}
{{- if eq (include "driftsonde.scaledBy" .) "none" }}{{ int $service.replicas }}{{ else }}{{ int $service.scaling.max }}{{ end -}}
{{- end -}}

{{/* The queue whose length tells how much work waits; empty where there is none. */}}
{{- define "driftsonde.queueUrl" -}}
{{- if eq .name "detector" -}}
{{- .root.Values.detector.queueUrl -}}
{{- else if eq .root.Values.bus.type "sns" -}}
{{- .root.Values.bus.sns.queueUrl | replace "{service}" .name -}}
{{- end -}}
{{- end -}}
