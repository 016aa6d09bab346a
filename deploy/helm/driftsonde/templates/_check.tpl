{{/* What values.schema.json cannot say, because it depends on other values or on the cluster. All of it at once, each with its key. */}}

{{- define "driftsonde.check" -}}
{{- $wrong := list -}}
{{- $values := .Values -}}
{{- $sqlite := eq $values.database.type "sqlite" -}}
{{- if and (not $values.config) (not $values.existingConfigMap) -}}
{{- $wrong = append $wrong "config: is empty; give driftsonde.yaml below this key, or name a ConfigMap in existingConfigMap" -}}
{{- end -}}
{{- if and $values.config $values.existingConfigMap -}}
{{- $wrong = append $wrong "existingConfigMap: is given beside config; one of the two would be ignored" -}}
{{- end -}}
{{- if not $values.aws.region -}}{{- $wrong = append $wrong "aws.region: is empty" -}}{{- end -}}
{{- if not $values.detector.queueUrl -}}
{{- $wrong = append $wrong "detector.queueUrl: is empty; the URL of the SQS queue that S3 notifies" -}}
{{- end -}}
{{- if and (ge (int $values.graceSeconds) 60) (not $values.detector.settings.lease) -}}
{{- $wrong = append $wrong "graceSeconds: the detector's lease is 60s and must be longer; set detector.settings.lease too" -}}
{{- end -}}
{{- if not $values.detector.deadLetterUrl -}}
{{- $wrong = append $wrong "detector.deadLetterUrl: is empty; the URL of the SQS queue for what can never be read" -}}
{{- end -}}
{{- if and (not $sqlite) (not $values.database.existingSecret) -}}
{{- $wrong = append $wrong "database.existingSecret: is empty; the secret with one URL for each service, or set database.type: sqlite" -}}
{{- end -}}
{{- if and (eq $values.bus.type "nats") (not $values.nats.enabled) -}}
{{- $wrong = append $wrong "nats.enabled: is false, but bus.type is nats" -}}
{{- end -}}
{{- if and (ne $values.bus.type "nats") $values.nats.enabled -}}
{{- $wrong = append $wrong (printf "nats.enabled: is true, but bus.type is %s, so nobody would use it" $values.bus.type) -}}
{{- end -}}
{{- if and (eq $values.bus.type "external") (eq (empty $values.bus.external.url) (empty $values.bus.external.existingSecret)) -}}
{{- $wrong = append $wrong "bus.external: needs either url or existingSecret" -}}
{{- end -}}
{{- if eq $values.bus.type "sns" -}}
{{- if not $values.bus.sns.topicArn -}}{{- $wrong = append $wrong "bus.sns.topicArn: is empty" -}}{{- end -}}
{{- range $key := list "queueUrl" "deadLetterUrl" -}}
{{- if not (contains "{service}" (get $values.bus.sns $key)) -}}
{{- $wrong = append $wrong (printf "bus.sns.%s: needs {service} in it: each service has a queue of its own" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := include "driftsonde.services" . | fromJsonArray -}}
{{- $service := index $values $name -}}
{{- $by := include "driftsonde.scaledBy" (dict "root" $ "name" $name) -}}
{{- if and $sqlite (gt (int $service.replicas) 1) -}}
{{- $wrong = append $wrong (printf "%s.replicas: SQLite serves one replica; use database.type: postgresql for more" $name) -}}
{{- end -}}
{{- if gt (int $service.scaling.min) (int $service.scaling.max) -}}
{{- $wrong = append $wrong (printf "%s.scaling.min: is more than max" $name) -}}
{{- end -}}
{{- if and (eq $by "keda") (not (include "driftsonde.queueUrl" (dict "root" $ "name" $name))) (ne $name "detector") -}}
{{- $wrong = append $wrong (printf "%s.scaling.by: keda counts a queue, and this service has one only with bus.type: sns" $name) -}}
{{- end -}}
{{- if and (eq $by "keda") (not ($.Capabilities.APIVersions.Has "keda.sh/v1alpha1")) -}}
{{- $wrong = append $wrong (printf "%s.scaling.by: is keda, but the cluster has no keda.sh/v1alpha1; install KEDA, or set hpa or none (for helm template: --api-versions keda.sh/v1alpha1)" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (or (ne $values.monitoring.monitor.kind "none") $values.monitoring.alerts.enabled) (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
{{- $wrong = append $wrong "monitoring: a monitor or alerts are asked for, but the cluster has no monitoring.coreos.com/v1; install the Prometheus operator, or set monitor.kind: none and alerts.enabled: false (for helm template: --api-versions monitoring.coreos.com/v1)" -}}
{{- end -}}
{{- with $wrong -}}
{{- fail (printf "\n\nThese values cannot work:\n  - %s\n" (join "\n  - " .)) -}}
{{- end -}}
{{- end -}}
