{{/* What pods have in common. All of it meets the Pod Security profile "restricted". */}}

{{- define "driftsonde.podSecurity" -}}
automountServiceAccountToken: false
# A Service called driftsonde would otherwise set DRIFTSONDE_PORT to tcp://… in every pod of the namespace.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "driftsonde.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "driftsonde.databaseEnv" -}}
- name: DRIFTSONDE_DATABASE_URL
  {{- if eq .root.Values.database.type "sqlite" }}
  value: sqlite:////var/lib/driftsonde/{{ .name }}.db
  {{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.database.existingSecret }}
      key: {{ index .root.Values.database.keys .name }}
  {{- end }}
{{- end -}}

{{- define "driftsonde.busEnv" -}}
{{- $bus := .root.Values.bus -}}
- name: DRIFTSONDE_BUS_URL
  {{- if eq $bus.type "sns" }}
  value: {{ printf "sns://%s?queue=%s&dead_letters=%s" $bus.sns.topicArn $bus.sns.queueUrl $bus.sns.deadLetterUrl | replace "{service}" .name | quote }}
  {{- else if eq $bus.type "nats" }}
  value: nats://{{ include "driftsonde.natsFullname" .root }}:4222
  {{- else if $bus.external.existingSecret }}
  valueFrom:
    secretKeyRef:
      name: {{ $bus.external.existingSecret }}
      key: {{ $bus.external.key }}
  {{- else }}
  value: {{ $bus.external.url | quote }}
  {{- end }}
{{- end -}}

{{/* A variable from an existing secret; nothing where none is named. Takes (dict "variable" … "from" …). */}}
{{- define "driftsonde.secretEnv" -}}
{{- if .from.existingSecret }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .from.existingSecret }}
      key: {{ .from.key }}
{{- end }}
{{- end -}}

{{- define "driftsonde.plainEnv" -}}
{{- if .value }}
- name: {{ .variable }}
  value: {{ .value | quote }}
{{- end }}
{{- end -}}

{{- define "driftsonde.env" -}}
{{- $service := index .root.Values .name -}}
- name: DRIFTSONDE_CONFIG
  value: /etc/driftsonde/driftsonde.yaml
- name: DRIFTSONDE_HOST
  value: 0.0.0.0
- name: DRIFTSONDE_PORT
  value: {{ include "driftsonde.port" . | quote }}
- name: DRIFTSONDE_DEPLOYMENT
  value: {{ .root.Values.deployment | quote }}
- name: DRIFTSONDE_LOG_LEVEL
  value: {{ .root.Values.logLevel }}
- name: DRIFTSONDE_GRACE
  value: {{ int .root.Values.graceSeconds }}s
- name: DRIFTSONDE_REPLICAS
  value: {{ include "driftsonde.mostReplicas" . | quote }}
- name: AWS_REGION
  value: {{ .root.Values.aws.region | quote }}
{{ include "driftsonde.databaseEnv" . }}
{{ include "driftsonde.busEnv" . }}
{{- if eq .name "detector" }}
{{- include "driftsonde.plainEnv" (dict "variable" "DRIFTSONDE_QUEUE_URL" "value" $service.queueUrl) }}
{{- include "driftsonde.plainEnv" (dict "variable" "DRIFTSONDE_DEAD_LETTER_URL" "value" $service.deadLetterUrl) }}
{{- else if eq .name "retrainer" }}
{{- include "driftsonde.plainEnv" (dict "variable" "DRIFTSONDE_JOB_STATES_URL" "value" $service.jobStatesUrl) }}
{{- include "driftsonde.plainEnv" (dict "variable" "DRIFTSONDE_PUBLIC_URL" "value" $service.publicUrl) }}
{{- include "driftsonde.secretEnv" (dict "variable" "DRIFTSONDE_API_TOKEN" "from" $service.apiToken) }}
{{- include "driftsonde.secretEnv" (dict "variable" "DRIFTSONDE_APPROVAL_SECRET" "from" $service.approvalSecret) }}
{{- else }}
{{- include "driftsonde.secretEnv" (dict "variable" "DRIFTSONDE_API_TOKEN" "from" $service.apiToken) }}
{{- end }}
{{- range $setting, $value := $service.settings }}
- name: DRIFTSONDE_{{ upper $setting }}
  value: {{ include "driftsonde.number" $value | quote }}
{{- end }}
{{- with $service.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Numbers of values are floats here, and 10000000 would be written as 1e+07. */}}
{{- define "driftsonde.number" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* The CA of the database's server, for services and for their migrations. */}}
{{- define "driftsonde.caMount" -}}
{{- if .Values.database.caSecret }}
- name: database-ca
  mountPath: /run/secrets/database
  readOnly: true
{{- end }}
{{- end -}}

{{- define "driftsonde.caVolume" -}}
{{- with .Values.database.caSecret }}
- name: database-ca
  secret:
    secretName: {{ . }}
{{- end }}
{{- end -}}

{{- define "driftsonde.volumeMounts" -}}
- name: config
  mountPath: /etc/driftsonde
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- include "driftsonde.caMount" .root }}
{{- if eq .root.Values.database.type "sqlite" }}
- name: state
  mountPath: /var/lib/driftsonde
{{- end }}
{{- if and (eq .name "notifier") .root.Values.notifier.channelSecret }}
- name: channels
  mountPath: /run/secrets/driftsonde
  readOnly: true
{{- end }}
{{- end -}}

{{- define "driftsonde.volumes" -}}
- name: config
  configMap:
    name: {{ include "driftsonde.configMapName" .root }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- include "driftsonde.caVolume" .root }}
{{- if eq .root.Values.database.type "sqlite" }}
- name: state
  persistentVolumeClaim:
    claimName: {{ include "driftsonde.serviceName" . }}
{{- end }}
{{- if and (eq .name "notifier") .root.Values.notifier.channelSecret }}
- name: channels
  secret:
    secretName: {{ .root.Values.notifier.channelSecret }}
    # Octal 440: fsGroup makes the files readable for the service, and for nobody else.
    defaultMode: 288
{{- end }}
{{- end -}}

{{- define "driftsonde.topologySpread" -}}
{{- if .root.Values.topologySpread.enabled -}}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "driftsonde.selectorLabels" $ | nindent 8 }}
    # Each version is spread by itself, not beside the pods that it replaces.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}
